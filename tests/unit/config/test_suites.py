"""Debian's suites: which one a host's images are built on, and that nothing names one beside the list of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from argosy.config import suites
from argosy.config.loading import load
from argosy.errors import ConfigError

ROOT = Path(__file__).parents[3]
BUILT = sorted([*ROOT.glob("images/*/Dockerfile"), *ROOT.glob("example/*/Dockerfile"), ROOT / "installer/Dockerfile"])


def settings_with(**build: Any) -> Any:
    return load({"clusters": {"here": {"build": build}}})


@pytest.mark.parametrize(
    ("os_release", "suite"),
    [
        ('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_CODENAME=bookworm\nID=debian\n', "bookworm"),
        ('ID=debian\nVERSION_CODENAME="trixie"\n', "trixie"),
        ("ID=debian\nVERSION_CODENAME=forky\n", "trixie"),
        ("ID=debian\nVERSION_CODENAME=bullseye\n", "trixie"),
        ("ID=ubuntu\nVERSION_CODENAME=noble\nID_LIKE=debian\n", "trixie"),
        ("ID=somebody\nVERSION_CODENAME=bookworm\n", "trixie"),
        ("", "trixie"),
    ],
)
def test_a_host_s_images_are_of_its_own_suite_or_of_the_newest_stable(os_release: str, suite: str) -> None:
    assert suites.suite_of(os_release) == suite


def test_the_file_tells_the_shell_what_it_tells_argosy() -> None:
    def told(*words: str) -> str:
        command = [sys.executable, "-I", suites.__file__, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert told() == f"{suites.host_suite()}\n"
    assert told("--list").split() == list(suites.PYTHONS)


@pytest.mark.parametrize("suite", suites.PYTHONS)
def test_wheels_are_for_the_python_of_the_suite(suite: str) -> None:
    settings = settings_with(suite=suite)
    assert settings.build.suite == suite
    assert settings.images["agent"].wheels_python == suites.PYTHONS[suite]


def test_without_a_word_it_is_the_host_s() -> None:
    assert settings_with().build.suite == suites.host_suite()
    assert settings_with().images["agent"].wheels_python == suites.PYTHONS[suites.host_suite()]


def test_another_is_refused_with_its_path() -> None:
    with pytest.raises(ConfigError, match=r"clusters\.here\.build\.suite"):
        settings_with(suite="woody")


@pytest.mark.parametrize("path", BUILT, ids=lambda path: path.parent.name)
def test_no_dockerfile_names_a_suite_or_a_version_of_python(path: Path) -> None:
    text = path.read_text()
    assert not re.findall(rf"\b(?:{'|'.join(suites.PYTHONS)})-|python3\.\d", text)
    if re.search(r"^FROM debian", text, re.MULTILINE):
        assert text.count("ARG SUITE\nFROM debian:${SUITE}-slim\n") == 1


@pytest.mark.parametrize("path", BUILT, ids=lambda path: path.parent.name)
def test_bytecode_is_made_of_folders_that_are_there(path: Path) -> None:
    """`compileall` ends with 0 where it can't list a folder, and the image is silently slower."""
    text = path.read_text()
    for folders in re.findall(r"-m compileall .*unchecked-hash (.+?)(?: \\)?$", text, re.MULTILINE):
        for folder in folders.split():
            made = f"mkdir {folder} " in text or f" {folder}\n" in text.partition("compileall")[0]
            copied = re.search(rf"^COPY \S+ {re.escape(folder)}$", text, re.MULTILINE)
            assert f"test -d {folder.rstrip('/')}" in text or made or copied, folder
