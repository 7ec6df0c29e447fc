"""Dockerfiles as instructions, and what of them only BuildKit can build."""

from __future__ import annotations

import pytest

from argosy.images.dockerfile import NeedsBuildKit, needs_buildkit, parse_dockerfile


def instructions(text: str) -> list[tuple[int, str, str]]:
    """Return of each instruction its line, its keyword, and its flags and words."""
    found = parse_dockerfile(text).instructions
    return [(each.line, each.keyword, " ".join([*each.flags, *each.words])) for each in found]


def needs(text: str, *given: str) -> list[str]:
    """Return what the classic builder has not, each with its line."""
    return [f"{found.line}: {found.what}" for found in needs_buildkit(parse_dockerfile(text), given)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("from a\n\n  run x  y", [(1, "FROM", "a"), (3, "RUN", "x y")]),
        ("\ufeffFROM a\r\nRUN x\r\n", [(1, "FROM", "a"), (2, "RUN", "x")]),
        ("# RUN no\nFROM a # not a comment\n", [(2, "FROM", "a # not a comment")]),
        (
            "FROM a\nRUN one && \\\n# inside\n\n   two\nUSER b",
            [(1, "FROM", "a"), (2, "RUN", "one && two"), (6, "USER", "b")],
        ),
        ("FROM a\nRUN one \\  \n two", [(1, "FROM", "a"), (2, "RUN", "one two")]),
        ("RUN echo \\\\\nUSER b", [(1, "RUN", "echo \\\\"), (2, "USER", "b")]),
        ("# escape=`\nFROM a\nRUN dir `\n c:\\\nUSER b", [(2, "FROM", "a"), (3, "RUN", "dir c:\\"), (5, "USER", "b")]),
        ("FROM a\n# escape=`\nRUN x \\\n y", [(1, "FROM", "a"), (3, "RUN", "x y")]),
        ("# said\n# escape=`\nRUN x \\\n y", [(3, "RUN", "x y")]),
        ("RUN \\", [(1, "RUN", "")]),
        ("COPY --from=a --chown='1' /b /c", [(1, "COPY", "from=a chown=1 /b /c")]),
        ("RUN x --mount=y", [(1, "RUN", "x --mount=y")]),
    ],
)
def test_instructions(text: str, found: list[tuple[int, str, str]]) -> None:
    assert instructions(text) == found


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("RUN <<EOF\nFROM x\nEOF\nUSER b", [1, 4]),
        ("RUN <<EOF bash -e\n EOF\nEOF\nUSER b", [1, 4]),
        ("RUN <<-EOF\n\tFROM x\n\tEOF\nUSER b", [1, 4]),
        ("RUN cat <<'E O' x\nFROM y\nE O\nUSER b", [1, 4]),
        ('COPY <<"one" <<two /to/\nFROM x\none\nRUN y\ntwo\nUSER b', [1, 6]),
        ("ADD <<a /a\n# kept \\\na\nUSER b", [1, 4]),
        ("ONBUILD RUN <<EOF\nFROM x\nEOF\nUSER b", [1, 4]),
        ("RUN x \\\n <<EOF\nFROM x\nEOF\nUSER b", [1, 5]),
        ("RUN <<EOF\nnever ended", [1]),
        ('RUN ["sh", "<<EOF"]\nUSER b', [1, 2]),
        ("RUN echo $((1 << 3)) $((1<<3)) '<<EOF' a<<EOF <<<x\nUSER b", [1, 2]),
        ("ENV A <<EOF\nUSER b", [1, 2]),
    ],
)
def test_what_follows_a_heredoc_is_no_instruction(text: str, lines: list[int]) -> None:
    assert [each.line for each in parse_dockerfile(text).instructions] == lines


@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("# syntax=docker/dockerfile:1\nFROM a", "docker/dockerfile:1"),
        ("#Syntax = x/y \nFROM a", "x/y"),
        ("# check=skip=all\n# syntax=x\nFROM a", "x"),
        ("# a comment\n# syntax=x\nFROM a", ""),
        ("\n# syntax=x\nFROM a", ""),
        ("FROM a\n# syntax=x\n", ""),
    ],
)
def test_the_frontend_stands_before_everything_else(text: str, syntax: str) -> None:
    assert parse_dockerfile(text).syntax == syntax


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("RUN --mount=type=cache,target=/c x", ["1: RUN --mount"]),
        ("FROM a\nRUN --mount=type=ssh \\\n --mount=b --network=c x", ["2: RUN --mount", "2: RUN --network"]),
        ("RUN <<EOF\nx\nEOF", ["1: RUN with a heredoc"]),
        ("FROM a\nCOPY <<EOF /x\nRUN --mount=no\nEOF\nCOPY --link a b", ["2: COPY with a heredoc", "5: COPY --link"]),
        ("COPY --chmod=755 a b", ["1: COPY --chmod"]),
        ("COPY --exclude=*.md --exclude=x --parents a b", ["1: COPY --exclude", "1: COPY --parents"]),
        ("ADD --checksum=sha256:1 https://example.com/a /a", ["1: ADD --checksum"]),
        ("ADD https://example.com/a.git#v1 /a", ["1: ADD of a git repository"]),
        ("ADD git@example.com:a /a", ["1: ADD of a git repository"]),
        ("ADD https://example.com/a.gitx /a", []),
        ("FROM --platform=$BUILDPLATFORM a", ["1: FROM --platform=$BUILDPLATFORM"]),
        ("ARG P=linux/amd64\nFROM --platform=${P} a\nFROM --platform=linux/arm64 b", []),
        ("FROM a\nARG TARGETARCH\nARG TARGETVARIANT=v8", ["2: ARG TARGETARCH"]),
        ("ONBUILD COPY --link a b", ["1: COPY --link"]),
        ("# syntax=example.com/own:1\nFROM a", ["1: # syntax=example.com/own:1"]),
        ("# syntax=docker/dockerfile:1-labs\nFROM a", ["1: # syntax=docker/dockerfile:1-labs"]),
        ("# syntax=docker/dockerfile:1\nFROM a", []),
        ("# syntax=docker.io/docker/dockerfile:1.7\nFROM a", []),
        ("FROM a AS b\nCOPY --from=b --chown=1:1 x y\nHEALTHCHECK --interval=1s CMD x\nRUN x --mount=y", []),
        ("# RUN --mount=x\nFROM a\nRUN x \\\n# COPY --link\n y", []),
    ],
)  # fmt: skip
def test_what_only_buildkit_has_is_found_with_its_line(text: str, found: list[str]) -> None:
    assert needs(text) == found


def test_a_platform_that_is_given_as_an_argument_is_no_matter_of_buildkit() -> None:
    text = "FROM --platform=$TARGETPLATFORM a\nARG TARGETARCH"
    assert needs(text, "TARGETPLATFORM", "TARGETARCH") == []
    assert needs_buildkit(parse_dockerfile("ARG TARGETOS")) == [NeedsBuildKit(1, "ARG TARGETOS")]
