"""The templates of the release, put where the agent finds them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from installer_examples import machine, write_release

from argosy import atomic
from argosy.agent.templates import loading
from argosy.builds.release import render_release
from argosy.builds.templates import read_templates
from argosy.config.loading import load as load_settings
from argosy.errors import ConfigError
from argosy.model import Image
from argosy_installer import templates
from argosy_installer.machine import Machine
from argosy_installer.release import Release, load

ONE = {"conf.d/web.toml": b"[template]\n", "templates/web/web.conf.j2": b"\xff one\n"}
TWO = {"conf.d/web.toml": b"[template]\n", "templates/other.j2": b"two\n"}


@pytest.fixture
def here(tmp_path: Path) -> Machine:
    return machine(tmp_path / "machine")


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return load(write_release(tmp_path / "release", {"web": {"image": "web"}}), "air-01")


def install(here: Machine, release: Release, wanted: Mapping[str, bytes]) -> list[str]:
    said: list[str] = []
    templates.install(here, replace(release, templates=wanted), said.append)
    return said


def found(here: Machine) -> dict[str, bytes]:
    current = here.state / "templates/current"
    return {str(path.relative_to(current)): path.read_bytes() for path in current.rglob("*") if path.is_file()}


def test_a_release_brings_its_templates_and_a_second_run_changes_nothing(here: Machine, release: Release) -> None:
    assert install(here, release, ONE) == ["templates: 2 files written"]
    assert found(here) == ONE
    before = [(path, path.lstat().st_mtime_ns) for path in sorted(here.state.rglob("*"))]
    assert install(here, release, ONE) == []
    assert [(path, path.lstat().st_mtime_ns) for path in sorted(here.state.rglob("*"))] == before


def test_another_release_replaces_all_and_leaves_nothing_behind(here: Machine, release: Release) -> None:
    for wanted in (ONE, TWO, ONE, TWO):
        install(here, release, wanted)
        assert found(here) == wanted
        assert len(list((here.state / "templates").iterdir())) == 2, "the link and one folder"


def test_the_folder_itself_stays_since_a_container_has_it_mounted(here: Machine, release: Release) -> None:
    install(here, release, ONE)
    inode = (here.state / "templates").stat().st_ino
    install(here, release, TWO)
    assert (here.state / "templates").stat().st_ino == inode
    assert not (here.state / "templates/current").readlink().is_absolute()


def test_without_templates_nothing_is_made_and_what_was_there_goes(here: Machine, release: Release) -> None:
    assert install(here, release, {}) == []
    assert not here.state.exists()
    install(here, release, ONE)
    assert install(here, release, {}) == ["templates: 0 files written"]
    assert found(here) == {}


@pytest.mark.parametrize("damage", ["changed", "added", "removed", "emptied"])
def test_what_somebody_did_to_the_files_is_undone(here: Machine, release: Release, damage: str) -> None:
    install(here, release, ONE)
    current = here.state / "templates/current"
    if damage == "changed":
        (current / "conf.d/web.toml").write_text("mine")
    elif damage == "added":
        (current / "conf.d/mine.toml").write_text("mine")
    elif damage == "removed":
        (current / "templates/web/web.conf.j2").unlink()
    else:
        current.unlink()
    assert install(here, release, ONE) == ["templates: 2 files written"]
    assert found(here) == ONE


@pytest.mark.parametrize("call", ["write", "fsync", "symlink", "replace"])
def test_killed_at_any_point_the_old_files_are_whole_and_the_next_run_ends_right(
    here: Machine, release: Release, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(here, release, ONE)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if call == "write":
            patched.setattr(atomic, "write", killed)
        elif call == "fsync":
            patched.setattr(os, "fsync", killed)
        else:
            patched.setattr(Path, {"symlink": "symlink_to", "replace": "replace"}[call], killed)
        with pytest.raises(KeyboardInterrupt):
            install(here, release, TWO)
    assert found(here) == ONE
    install(here, release, TWO)
    assert found(here) == TWO
    assert len(list((here.state / "templates").iterdir())) == 2


def test_killed_after_the_turn_the_old_folder_goes_with_the_next_run(
    here: Machine, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(here, release, ONE)
    with monkeypatch.context() as patched:
        patched.setattr(templates, "_tidy", lambda _folder: None)
        install(here, release, TWO)
    assert len(list((here.state / "templates").iterdir())) == 3
    assert install(here, release, TWO) == []
    assert len(list((here.state / "templates").iterdir())) == 2


def test_the_agent_reads_what_the_library_rendered_and_the_installer_put(tmp_path: Path, here: Machine) -> None:
    source = tmp_path / "source/mine"
    for path, text in {
        "conf.d/web.toml": '[template]\nsrc = "a/web.j2"\ndest = "web/web.conf"\nkeys = ["/settings"]\n',
        "templates/a/web.j2": "{{ system }}\n",
        "templates/.hidden": "no",
        "templates/a/web.j2~": "no",
        "README.md": "no",
    }.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text)
    config = {
        "images": {"web": {"context": "web"}},
        "services": {"web": {"image": "web"}},
        "templates": "mine",
        "clusters": {"test": {}},
    }
    settings = load_settings(config, root=tmp_path / "source")
    read = read_templates(settings)
    assert sorted(read) == ["conf.d/web.toml", "templates/a/web.j2"]
    images = {name: Image(name, f"air/{name}", "0.1.3", f"sha256:{1:064x}") for name in settings.images}
    for path, content in render_release(settings, images, read).items():
        (tmp_path / "release" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "release" / path).write_bytes(content)
    templates.install(here, load(tmp_path / "release", "air-01"), lambda _line: None)
    loaded = loading.load(here.state / "templates", settings.files_path, {"system": "air"})
    assert loaded.problems == ()
    ((resource, template),) = loaded.resources
    assert str(resource.dest) == "/var/lib/air/files/web/web.conf"
    assert template.render({}) == b"air\n"


@pytest.mark.parametrize(
    ("files", "discovery", "said"),
    [
        ({}, True, "no folder"),
        ({"templates/a": ""}, True, r"no resource in .*: they are files conf\.d/NAME\.toml"),
        ({"conf.d/a.toml": "x = x"}, True, r"^mine/conf\.d/a\.toml: it is no TOML: .*line 1"),
        ({"conf.d/a.toml": "x", "conf.d/b.toml": "x"}, True, r"\(and 1 more\)"),
        (
            {"conf.d/a.toml": '[template]\nsrc = "a"\ndest = "/etc/a"\nkeys = ["/"]', "templates/a": ""},
            True,
            "a.toml:3:",
        ),
        (
            {"conf.d/a.toml": '[template]\nsrc = "a"\ndest = "a"\nkeys = ["/"]', "templates/a": "\n{% if %}"},
            True,
            r"^mine/templates/a:2: ",
        ),
        ({"conf.d/a.toml": ""}, False, r"turn discovery\.enabled on"),
    ],
)
def test_what_a_machine_would_refuse_never_becomes_a_release(
    tmp_path: Path, files: dict[str, str], discovery: bool, said: str
) -> None:
    for path, text in files.items():
        (tmp_path / "mine" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / path).write_text(text)
    config = {"templates": "mine", "discovery": {"enabled": discovery}, "clusters": {"test": {}}}
    with pytest.raises(ConfigError, match=said) as caught:
        read_templates(load_settings(config, root=tmp_path))
    assert "\n" not in str(caught.value)


def test_without_the_setting_there_are_no_templates(tmp_path: Path) -> None:
    assert read_templates(load_settings({"clusters": {"test": {}}}, root=tmp_path)) == {}
