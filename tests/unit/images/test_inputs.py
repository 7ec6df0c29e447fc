"""What an image is made of: its Dockerfile's bases, its context, and one digest for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from argosy.images.context import WHEELHOUSE, BuildContext, context_digest, write_context
from argosy.images.inputs import Bases, declares, inputs_digest, parse_bases

OURS = {"PYTHON_IMAGE": "air/python:0.1.3"}
WHOLE: dict[str, Any] = {
    "packages": "p",
    "needs": {"PYTHON_IMAGE": "sha256:1"},
    "bases": {"debian:12": "sha256:2"},
    "labels": {"argosy.cluster": "test"},
    "machine": "amd64",
}


class TestBases:
    @pytest.mark.parametrize(
        ("dockerfile", "external"),
        [
            ("FROM debian:12\n", ("debian:12",)),
            ("from --platform=linux/amd64 debian:12 as one\nFROM one\n", ("debian:12",)),
            ("# FROM x\nFROM \\\n# a comment\n  debian:12\n", ("debian:12",)),
            ("ARG PYTHON_IMAGE\nFROM ${PYTHON_IMAGE}\n", ()),
            ("ARG PYTHON_IMAGE\nFROM $PYTHON_IMAGE AS made\nFROM scratch\nCOPY --from=made /a /b\n", ()),
            ('ARG TAG="12"\nFROM debian:${TAG}\n', ("debian:12",)),
            ("FROM debian:${TAG:-11}\n", ("debian:11",)),
            ("FROM debian:12\nCOPY --from=nginx:1 /a /b\nCOPY --from=0 /c /d\n", ("debian:12", "nginx:1")),
            ("FROM debian:12\nRUN curl https://example.com\nADD data.tar /\n", ("debian:12",)),
            ("FROM debian@sha256:ab\n", ("debian@sha256:ab",)),
            ("# syntax=docker/dockerfile:1\n# escape=`\nFROM `\n debian:12\n", ("debian:12",)),
            ("FROM debian:12\nRUN <<END python3\nfrom os import path\nEND\n", ("debian:12",)),
            ("FROM debian:12\nRUN --mount=type=bind,from=nginx:1,target=/x true\n", ("debian:12", "nginx:1")),
            ("FROM debian:12 AS x\nFROM scratch\nRUN --mount=from=x,target=/x true\n", ("debian:12",)),
            (f"FROM debian:12\nADD --checksum=sha256:{'0' * 64} https://example.com/a /a\n", ("debian:12",)),
        ],
    )
    def test_are_the_images_that_are_not_ours(self, dockerfile: str, external: tuple[str, ...]) -> None:
        assert parse_bases(dockerfile, OURS) == Bases(external)

    @pytest.mark.parametrize(
        "dockerfile",
        [
            "",
            "FROM ${NOWHERE}\n",
            "ARG TAG\nFROM debian:$TAG\n",
            "FROM debian:${TAG:+x}\n",
            "FROM debian:12\nADD https://example.com/a /a\n",
            "FROM debian:12\nADD --chown=1 git@example.com:a.git /a\n",
            "FROM debian:12\nARG FROM\nCOPY --from=$FROM /a /b\n",
            "# syntax=example.com/own:1\nFROM debian:12\n",
            "FROM debian:12\nRUN --mount=type=bind,from=$FROM,target=/x true\n",
        ],
    )
    def test_that_can_t_be_told_are_not_known(self, dockerfile: str) -> None:
        assert not parse_bases(dockerfile, OURS).known


class TestContext:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "Dockerfile").write_text("FROM scratch\n")
        (tmp_path / "data").write_text("one")
        return tmp_path

    def digest(self, folder: Path, files: Mapping[str, bytes | Path] | None = None) -> str:
        with write_context(BuildContext(folder, "images.web", files=files or {})) as stream:
            found = context_digest(stream)
            assert stream.tell() == 0
        return found

    @pytest.mark.parametrize(
        "change",
        [
            lambda folder: (folder / "data").write_text("two"),
            lambda folder: (folder / "data").rename(folder / "other"),
            lambda folder: (folder / "data").chmod(0o755),
            lambda folder: (folder / "Dockerfile").write_text("FROM scratch\nENV A=1\n"),
            lambda folder: (folder / "empty").mkdir(),
            lambda folder: (folder / "link").symlink_to("data"),
        ],
    )
    def test_of_another_context_is_another(self, folder: Path, change: Callable[[Path], object]) -> None:
        before = self.digest(folder)
        assert self.digest(folder) == before
        change(folder)
        assert self.digest(folder) != before

    def test_knows_files_that_are_added_but_not_the_bytes_of_packages(self, folder: Path) -> None:
        before = self.digest(folder)
        assert self.digest(folder, {"more": b"x"}) != before
        assert self.digest(folder, {f"{WHEELHOUSE}/a.whl": b"x"}) == before


class TestDigest:
    def test_is_the_same_for_the_same(self) -> None:
        found = inputs_digest("c", "Dockerfile", **WHOLE)
        assert found == inputs_digest("c", "Dockerfile", **WHOLE)
        assert found.startswith("sha256:")

    @pytest.mark.parametrize(
        "change",
        [
            {"packages": "q"},
            {"needs": {"PYTHON_IMAGE": "sha256:9"}},
            {"needs": {"OTHER": "sha256:1"}},
            {"bases": {"debian:12": "sha256:9"}},
            {"bases": {}},
            {"labels": {}},
            {"machine": "arm64"},
            {"arguments": {"A": ""}},
        ],
    )
    def test_is_another_for_another_input(self, change: dict[str, Any]) -> None:
        assert inputs_digest("c", "Dockerfile", **{**WHOLE, **change}) != inputs_digest("c", "Dockerfile", **WHOLE)
        assert inputs_digest("d", "Dockerfile", **WHOLE) != inputs_digest("c", "Dockerfile", **WHOLE)
        assert inputs_digest("c", "other", **WHOLE) != inputs_digest("c", "Dockerfile", **WHOLE)

    @pytest.mark.parametrize("change", [{"needs": {"A": ""}}, {"bases": {"debian:12": ""}}, {"machine": ""}])
    def test_is_none_when_an_input_is_not_known(self, change: dict[str, Any]) -> None:
        assert inputs_digest("c", "Dockerfile", **{**WHOLE, **change}) == ""


def test_a_build_argument_that_is_no_image_fills_the_name_of_one() -> None:
    dockerfile = "ARG SUITE\nARG PYTHON_IMAGE\nFROM ${PYTHON_IMAGE} AS one\nFROM debian:${SUITE}-slim\n"
    assert parse_bases(dockerfile, OURS, {"SUITE": "trixie"}) == Bases(("debian:trixie-slim",))
    assert not parse_bases(dockerfile, OURS).known


@pytest.mark.parametrize(
    ("dockerfile", "declared"),
    [
        ("ARG SUITE\nFROM debian:${SUITE}-slim\n", True),
        ("FROM debian:12\nARG A=1 SUITE=trixie\n", True),
        ("arg SUITE=x\nFROM debian:12\n", True),
        ("ARG SUITES\nFROM debian:12\n", False),
        ("# ARG SUITE\nFROM debian:12\n", False),
    ],
)
def test_only_a_dockerfile_that_takes_a_build_argument_gets_it(dockerfile: str, declared: bool) -> None:
    assert declares(dockerfile, "SUITE") == declared
