"""Which paths of a build context an ignore file leaves out. What is expected was asked of moby's own matcher."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from raised import raises

from argosy.errors import ConfigError
from argosy.images.context import included_paths
from argosy.images.ignore import BadPattern, parse_ignore_file, parse_pattern


def left_out(pattern: str, path: str) -> bool:
    matcher, found = parse_ignore_file(pattern.encode()), False
    fits: Sequence[bool] = ()
    for end in [*(position for position, char in enumerate(path) if char == "/"), len(path)]:
        found, fits = matcher.leaves_out(path[:end], fits)
    return found


FIT = {
    "build": ["build", "build/x/y"],
    "/build/": ["build"],
    "./a/../build": ["build"],
    "//a//b": ["a/b"],
    "*.pem": ["a.pem", ".pem", "a.pem/inside"],
    "*/temp*": ["a/temp", "a/temperature/x"],
    "*/*/temp*": ["a/b/temp1"],
    "temp?": ["temp1", "tempé"],
    "**": ["a", ".a", "a/b"],
    "**/": ["a", "a/b"],
    "**/.git": [".git", "a/b/.git", "a/.git/HEAD"],
    "**.pem": ["a.pem", "a/b.pem", ".pem"],
    "**/*.pem": ["a.pem", "a/b/c.pem"],
    "**/keys/**": ["keys/a", "x/keys/a"],
    "a**/*.txt": ["a/f.txt", "a/b/c/f.txt", "abc/f.txt"],
    "a/*.txt**": ["a/f.txt", "a/f.txt.bak"],
    "abc/**": ["abc/d", "abc/d/e"],
    "[^a].key": ["b.key", "ö.key"],
    "[a-cx].key": ["b.key", "x.key"],
    r"[\]a]": ["]", "a"],
    r"[x\-]": ["x", "-"],
    "a]": ["a]"],
    r"a\*b": ["a*b"],
    r"\#x": ["#x"],
    " #x": ["#x"],
    r"\!x": ["!x"],
    "[!]a": ["!a"],
    "a(b)|$+{c": ["a(b)|$+{c"],
    "dist/x-1.0+g08-none.whl": ["dist/x-1.0+g08-none.whl"],
    r"\d*": ["1x"],
    "[[:upper:]]*": ["Makefile"],
    "[a&&b]": ["&", "a"],
    "café*": ["café.txt"],
    "two words": ["two words"],
    "x\u00a0": ["x"],
}
FIT_NOT = {
    "makefile": ["Makefile"],
    "*.PEM": ["a.pem"],
    "*.pem": ["b/a.pem"],
    "temp?": ["temp", "temp/"],
    "abc/**": ["abc"],
    "abc.def": ["abcdef", "abcZdef"],
    "**/.foo": ["bar.foo"],
    "a/*.txt": ["a/b/f.txt"],
    "[^a].key": ["a.key", "bb.key"],
    "[!a]": ["b"],
    r"a\*b": ["ab", "axb"],
    "# x": ["# x", "x"],
    "../x": ["x"],
    "/": ["a"],
    ".": ["a"],
    r"\d*": ["dx"],
    "a": ["ab", "b/a"],
}


@pytest.mark.parametrize(("pattern", "path"), [(pattern, path) for pattern, paths in FIT.items() for path in paths])
def test_leaves_out(pattern: str, path: str) -> None:
    assert left_out(pattern, path)


@pytest.mark.parametrize(("pattern", "path"), [(pattern, path) for pattern, paths in FIT_NOT.items() for path in paths])
def test_sends(pattern: str, path: str) -> None:
    assert not left_out(pattern, path)


REFUSED = ["[", "a[", "[^", "[^]", "[^bc", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[Local-Only]/", "[[:foo:]]x"]
REFUSED += ["\\", "a\\", "a\\ ", "!", "!  ", "! /", r"\k", r"\é"]


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_docker_refuses_is_refused_with_its_line(pattern: str) -> None:
    with pytest.raises(BadPattern, match=r"^3: "):
        parse_ignore_file(f"# first\n\n{pattern}\nlast".encode())


@pytest.mark.parametrize("pattern", ["!!a", "!.", "]", "{a,b}", "[a]]", "^", "***", "[*]", "****/x"])
def test_what_docker_accepts_is_no_error(pattern: str) -> None:
    assert parse_pattern(pattern)


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sends(self, ignore: bytes | str, *paths: str) -> list[str]:
        """Return which files are sent, without the Dockerfile and the ignore file."""
        for path in ("Dockerfile", *paths):
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text("x")
        data = ignore.encode() if isinstance(ignore, str) else ignore
        (self.folder / ".dockerignore").write_bytes(data)
        sent = included_paths(self.folder)
        assert {".dockerignore", "Dockerfile"} <= {*sent}
        return [path for path in sent if path in paths]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.mark.parametrize(
    ("ignore", "sent"),
    [
        ("**/.git\n!.git/HEAD\n", [".git/HEAD", "keys/pub/a.pem", "keys/pub/b.pem", "src/main.py"]),
        ("**/keys\n!keys/pub/b.pem\n", [".git/HEAD", ".git/config", "keys/pub/b.pem", "src/main.py"]),
        ("*\n!src\n", ["src/main.py"]),
        ("*\n!src/\n", ["src/main.py"]),
        ("**\n!keys/pub/*.pem\n", ["keys/pub/a.pem", "keys/pub/b.pem"]),
        # Docker looks into a folder that is left out for a pattern with a wildcard, or that begins with its name,
        ("keys\n!**/b.pem\n", [".git/HEAD", ".git/config", "keys/pub/b.pem", "src/main.py"]),
        # and takes a file back by its folder only where the folder itself was left out.
        ("**/*.pem\n!keys\n", [".git/HEAD", ".git/config", "src/main.py"]),
        ("**/*.pem\n!keys/**\n", [".git/HEAD", ".git/config", "keys/pub/a.pem", "keys/pub/b.pem", "src/main.py"]),
        ("!src\n*\n", []),
        ("keys\n!keys/pub\n*/pub\n", [".git/HEAD", ".git/config", "src/main.py"]),
        ("keys\n! keys/pub/a.pem\n", [".git/HEAD", ".git/config", "keys/pub/a.pem", "src/main.py"]),
        ("", [".git/HEAD", ".git/config", "keys/pub/a.pem", "keys/pub/b.pem", "src/main.py"]),
    ],
)
def test_what_is_sent_of_a_project(project: Project, ignore: str, sent: list[str]) -> None:
    files = (".git/HEAD", ".git/config", "keys/pub/a.pem", "keys/pub/b.pem", "src/main.py")
    assert project.sends(ignore, *files) == sent


@pytest.mark.parametrize("ignore", [b"\xef\xbb\xbf.env\n", b"# caf\xe9\n.env\n", b".env\r\n", b"\n\n  .env  ", b".env"])
def test_bytes_of_the_world_s_editors_hide_no_pattern(project: Project, ignore: bytes) -> None:
    assert project.sends(ignore, ".env", "a") == ["a"]


def test_names_that_are_not_utf_8_are_compared_byte_by_byte(project: Project) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    assert project.sends(b"caf\xe9.txt", name, "b") == ["b"]
    assert project.sends(b"*.txt\n", name, "b") == ["b"]


def test_folders_of_what_is_sent_come_along_unless_they_are_left_out_themselves(project: Project) -> None:
    project.sends("*\n!src/main.py\n", "src/main.py")
    assert included_paths(project.folder) == [".dockerignore", "Dockerfile", "src/main.py"]


def test_a_dockerfile_in_a_folder_that_is_left_out_is_sent(project: Project) -> None:
    project.sends("docker\n*.md\n", "docker/web.Dockerfile", "docker/notes", "a")
    assert included_paths(project.folder, "docker/web.Dockerfile") == [
        ".dockerignore",
        "Dockerfile",
        "a",
        "docker/web.Dockerfile",
    ]


@pytest.mark.parametrize("name", ["./web.Dockerfile", "docker/../web.Dockerfile", ".//web.Dockerfile"])
def test_a_dockerfile_is_sent_however_its_path_is_written(project: Project, name: str) -> None:
    project.sends("*\n", "web.Dockerfile", "docker/a")
    assert included_paths(project.folder, name) == [".dockerignore", "web.Dockerfile"]


def test_an_ignore_file_that_can_not_be_read_is_an_error(project: Project) -> None:
    project.sends("", ".env")
    (project.folder / ".dockerignore").unlink()
    (project.folder / ".dockerignore").mkdir()
    with raises(ConfigError, f"{project.folder}/.dockerignore is no file"):
        included_paths(project.folder)


def test_links_to_folders_are_not_entered(project: Project) -> None:
    project.sends("", "src/main.py")
    (project.folder / "link").symlink_to("src")
    (project.folder / "round").symlink_to(".")
    assert [path for path in included_paths(project.folder) if path.startswith(("link", "round"))] == ["link", "round"]


def test_a_bad_pattern_is_an_error_with_file_and_line(project: Project) -> None:
    with raises(ConfigError, ".dockerignore:2: 'b[' is not a pattern"):
        project.sends("a\nb[\n")
