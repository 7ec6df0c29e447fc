"""A file of settings that can't be read is one line, with its place, and no traceback of Invoke's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from invoke.config import Config
from raised import raises

import argosy
import argosy.tasking  # which Invoke reads files through
from argosy.config.loading import load
from argosy.errors import ConfigError


def read(folder: Path, text: str) -> Config:
    (folder / "invoke.yaml").write_text(text)
    config = Config(project_location=folder, lazy=True)
    config.load_project()
    config.load_collection(argosy.ns.configuration())
    return config


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("system: quay\n\timages: {}\n", "invoke.yaml, line 2, column 1"),
        ("images: [web\n", "invoke.yaml, line 2, column 1"),
        ("hello\n", "invoke.yaml"),
        ("- system\n", "invoke.yaml"),
        ("system: a\0b\n", "invoke.yaml"),
        ("1: 2\n", "invoke.yaml"),
        ("system: quay\nssh: {port: 22,\n  port: 23}\n", "invoke.yaml, line 3, column 3"),
        ("x-a: &a {b: 1}\nx-b: {<<: *a, c: 1, c: 2}\n", "invoke.yaml, line 2, column 21"),
        ("x-a: 2026-13-45\n", "invoke.yaml, line 1, column 6"),
        ("system: quay\nx-a: [1, 0b_]\n", "invoke.yaml, line 2, column 10"),
        ("x-a: !!int one\n", "invoke.yaml, line 1, column 6"),
        ("x-a: !!bool maybe\n", "invoke.yaml, line 1, column 6"),
        ("x-a: !!timestamp today\n", "invoke.yaml, line 1, column 6"),
        (f"x-a: {'9' * 5000}\n", "invoke.yaml, line 1, column 6"),
        ("x-a: &a {b: *a}\n", "invoke.yaml, line 1, column 6"),
        ("ssh: &a [*a]\n", "invoke.yaml, line 1, column 6"),
        (f"x-a: {'[' * 3000}\n", "invoke.yaml"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    with raises(ConfigError, path=f"{tmp_path}/{place}"):
        read(tmp_path, text)


def test_a_key_may_stand_above_what_it_takes_over(tmp_path: Path) -> None:
    text = "x-b: &b {one: 1, two: 1}\nx-a: &a {<<: *b, one: 2}\nx-c: {<<: *a, one: 3}\nx-d: {<<: [*a, *b]}\n"
    assert read(tmp_path, text)["x-c"] == {"one": 3, "two": 1}


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("invoke.yml", "- system\n", ""),
        ("invoke.yml", "ssh: {a: 1, a: 2}\n", ", line 1, column 13"),
        ("invoke.json", "[1]", ""),
        ("invoke.json", '{"a" 1}', ", line 1, column 6"),
        ("invoke.json", '{"ssh": {"port": 1, "port": 2}}', ""),
        ("invoke.json", '{"a": "\xff"}', ""),
        ("invoke.json", f'{{"a": {"9" * 5000}}}', ""),
        ("invoke.json", f'{{"a": {"[" * 100_000}', ""),
    ],
)
def test_so_is_a_file_of_another_name(tmp_path: Path, name: str, text: str, place: str) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    config = Config(project_location=tmp_path, lazy=True)
    with raises(ConfigError, path=f"{tmp_path}/{name}{place}"):
        config.load_project()


def test_json_is_read(tmp_path: Path) -> None:
    (tmp_path / "invoke.json").write_text('{"ssh": {\t"port": 23}}')
    config = Config(project_location=tmp_path, lazy=True)
    config.load_project()
    config.load_collection(argosy.ns.configuration())
    assert config.ssh.port == 23


@pytest.mark.parametrize(
    ("text", "held"),
    [
        *[(text, True) for text in ("true", "Yes", "on", "1")],
        *[(text, False) for text in ("false", "NO", "off", "0", "")],
    ],
)
def test_true_and_false_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, held: bool
) -> None:
    monkeypatch.setenv("INVOKE_SWARM_ENABLED", text)
    config = read(tmp_path, "clusters: {here: {}}\n")
    config.load_shell_env()
    assert load(config).swarm.enabled is held


@pytest.mark.parametrize(("name", "text"), [("SWARM_ENABLED", "maybe"), ("SSH_PORT", "abc"), ("SSH_PORT", "")])
def test_what_a_variable_can_not_hold_is_told_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(f"INVOKE_{name}", text)
    config = read(tmp_path, "clusters: {here: {}}\n")
    with raises(ConfigError, path=f"INVOKE_{name}"):
        config.load_shell_env()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("images: web\n", "images"),
        ("ssh: 22\n", "ssh"),
        ("discovery: {ports: 80}\n", "discovery.ports"),
        ("system: {name: quay}\n", "system"),
    ],
)
def test_a_value_in_the_place_of_a_section_is_told_with_its_path(tmp_path: Path, text: str, path: str) -> None:
    with raises(ConfigError, path=path):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "images:\nregistry:\nclusters:\n"])
def test_sections_may_be_empty(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).clusters == {}


@pytest.mark.parametrize(
    ("service", "path", "shape"),
    [
        ({"machines": "air-01"}, "services.web.machines", "a list"),
        ({"volumes": ["data:/var"]}, "services.web.volumes.0", "{key: value}"),
        ({"check": {"tcp": 80}}, "services.web.check.tcp", "{key: value}"),
    ],
)
def test_a_key_of_another_shape_is_told_without_python_s_words(service: dict[str, Any], path: str, shape: str) -> None:
    document = {"images": {"web": {"context": "."}}, "services": {"web": {"image": "web", **service}}}
    with raises(ConfigError, shape, path=path):
        load({**document, "clusters": {"test": {}}})
