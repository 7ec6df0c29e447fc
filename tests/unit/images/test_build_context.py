"""The tar that an image is built from."""

from __future__ import annotations

import os
import socket
import tarfile
from pathlib import Path

import pytest
from raised import raises

from argosy.errors import ConfigError
from argosy.images.context import BuildContext, included_paths, write_context


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    (folder / "app" / "__pycache__").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM x\n")
    (folder / "app" / "main.py").write_text("print()\n")
    (folder / "app" / "__pycache__" / "main.pyc").write_bytes(b"\0")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    return folder


def tar_of(context: BuildContext) -> bytes:
    with write_context(context) as stream:
        return stream.read()


def members(context: BuildContext) -> dict[str, tarfile.TarInfo]:
    with write_context(context) as stream, tarfile.open(fileobj=stream) as archive:
        return {member.name: member for member in archive}


def context_of(folder: Path, **options: object) -> BuildContext:
    return BuildContext(folder, "images.web", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("inside", [True, False])
def test_a_dockerfile_is_named_from_its_context(sources: Path, inside: bool) -> None:
    (sources / ".dockerignore").write_text("x\n")
    (sources.parent / "Dockerfile").write_text("FROM x\n")
    name = str(sources / "Dockerfile") if inside else "../Dockerfile"
    with raises(ConfigError, "must be below the context", path="images.web.dockerfile"):
        write_context(context_of(sources, dockerfile=name))


def test_is_the_same_whatever_times_and_permissions_a_checkout_has(sources: Path) -> None:
    before = tar_of(context_of(sources))
    for path in [sources, *sources.rglob("*")]:
        os.utime(path, (1, 1))
        path.chmod(0o700 if path.is_dir() or path.name == "run.sh" else 0o600)
    assert tar_of(context_of(sources)) == before


def test_belongs_to_root_and_keeps_only_whether_a_file_may_be_executed(sources: Path) -> None:
    found = members(context_of(sources))
    assert {name: oct(member.mode) for name, member in found.items() if member.isreg()} == {
        "Dockerfile": "0o644",
        "app/__pycache__/main.pyc": "0o644",
        "app/main.py": "0o644",
        "run.sh": "0o755",
    }
    assert {(member.uid, member.gid, member.uname) for member in found.values()} == {(0, 0, "")}
    assert list(found) == sorted(found)


class TestIgnoreFile:
    def test_leaves_out_what_it_names(self, sources: Path) -> None:
        (sources / ".dockerignore").write_text("# made by Python\n**/__pycache__\n\n")
        assert "app/main.py" in included_paths(sources)
        assert not any("pyc" in path for path in included_paths(sources))

    def test_exceptions_work_as_docker_s_do(self, sources: Path) -> None:
        (sources / ".dockerignore").write_text("*\n!app\n**/__pycache__\n")
        assert included_paths(sources) == [".dockerignore", "Dockerfile", "app", "app/main.py"]

    def test_with_a_line_that_is_no_pattern_is_an_error_with_file_and_line(self, sources: Path) -> None:
        (sources / ".dockerignore").write_text("app[\n")
        with raises(ConfigError, ".dockerignore:1: 'app['"):
            write_context(context_of(sources))

    def test_of_the_dockerfile_wins(self, sources: Path) -> None:
        (sources / ".dockerignore").write_text("app\n")
        (sources / "other.Dockerfile").write_text("FROM y\n")
        (sources / "other.Dockerfile.dockerignore").write_text("run.sh\n")
        assert "app/main.py" in included_paths(sources, "other.Dockerfile")
        assert "run.sh" not in included_paths(sources, "other.Dockerfile")
        assert "app/main.py" not in included_paths(sources)

    def test_never_leaves_out_the_dockerfile(self, sources: Path) -> None:
        (sources / ".dockerignore").write_text("*\n")
        assert included_paths(sources) == [".dockerignore", "Dockerfile"]


def test_added_files_replace_the_folder_of_their_name_and_nothing_is_written_into_the_sources(
    sources: Path, tmp_path: Path
) -> None:
    wheel = tmp_path / "a.whl"
    wheel.write_bytes(b"wheel")
    (sources / "wheelhouse").mkdir()
    (sources / "wheelhouse" / "stale.whl").write_bytes(b"old")
    before = sorted(sources.rglob("*"))
    found = members(context_of(sources, files={"wheelhouse/a.whl": wheel, "release/release.json": b"{}"}))
    assert [name for name in found if name.startswith(("wheelhouse", "release"))] == [
        "release/release.json",
        "wheelhouse/a.whl",
    ]
    assert found["wheelhouse/a.whl"].size == 5
    assert sorted(sources.rglob("*")) == before


def test_links_stay_links_and_sockets_are_left_out(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sources / "link").symlink_to("app/main.py")
    (sources / "folder").symlink_to("app")
    os.link(sources / "run.sh", sources / "z.sh")
    monkeypatch.chdir(sources)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        found = members(context_of(sources))
    assert found["link"].issym()
    assert found["folder"].issym()
    assert found["z.sh"].isreg()
    assert found["z.sh"].size == found["run.sh"].size
    assert "socket" not in found


def test_a_missing_folder_or_dockerfile_is_an_error_with_its_path(sources: Path) -> None:
    with raises(ConfigError, "/nowhere", path="images.web.context"):
        write_context(context_of(Path("/nowhere")))
    with raises(ConfigError, "/sources/Other", path="images.web.dockerfile"):
        write_context(context_of(sources, dockerfile="Other"))
