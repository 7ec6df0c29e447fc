"""A file of settings that can't be read is one line, with its place, and no traceback of Invoke's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from invoke.config import Config
from raised import raises

import argosy
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
    ],
)
def test_what_is_no_yaml_is_told_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    with raises(ConfigError, path=f"{tmp_path}/{place}"):
        read(tmp_path, text)


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
