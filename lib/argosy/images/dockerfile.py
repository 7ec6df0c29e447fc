"""Pure. A Dockerfile as its instructions, and what in it only BuildKit can do.

Continued lines, comments, parser directives, flags and heredocs are taken as BuildKit's own parser takes them:
https://docs.docker.com/reference/dockerfile/, https://github.com/moby/buildkit/tree/master/frontend/dockerfile/parser
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

STANDARD = re.compile(r"(docker\.io/)?docker/dockerfile(:[\w.-]+)?(@sha256:[0-9a-f]{64})?", re.IGNORECASE)
"""The frontend that a BuildKit has built in; as an image it brings a newer one of the same language."""
PLATFORM_ARGUMENTS = frozenset(f"{side}{what}" for side in ("BUILD", "TARGET") for what in ("PLATFORM", "OS", "ARCH"))
PLATFORM_VARIANTS = frozenset({"BUILDVARIANT", "TARGETVARIANT"})
"""What BuildKit gives a Dockerfile that declares it; the classic builder leaves them empty."""

_DIRECTIVE = re.compile(r"#[ \t]*([A-Za-z][A-Za-z0-9]*)[ \t]*=[ \t]*(.+)")
_DIRECTIVES = ("syntax", "escape", "check")
_WORD = re.compile(r"""(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|[^\s])+""")
_HEREDOC = re.compile(r"""\d*<<(-?)(['"]?)([^<'"]+)\2""")
_HEREDOC_KEYWORDS = ("RUN", "COPY", "ADD")
_CLASSIC_FLAGS: dict[str, set[str]] = {
    "FROM": {"platform"},
    "RUN": set(),
    "COPY": {"from", "chown"},
    "ADD": {"chown"},
}
_GIT = re.compile(r"git@|(git|ssh)://|https?://\S+\.git(#\S*)?$")
_NAME = re.compile(r"\$\{?(\w+)")


@dataclass(frozen=True, slots=True)
class Instruction:
    """`line`: where it begins, from 1; `keyword`: in upper case; `flags`: what stands behind `--`, in order, `NAME` or
    `NAME=VALUE`; `words`: the rest, by white space; `heredoc`: lines follow that are its input, not instructions."""

    line: int
    keyword: str
    flags: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    heredoc: bool = False

    def values(self, flag: str) -> list[str]:
        """Return the values that a flag is given."""
        return [value for name, _, value in (text.partition("=") for text in self.flags) if name == flag]

    @property
    def inner(self) -> Instruction:
        """The instruction that ONBUILD keeps for later; of another it is itself."""
        return _instruction(self.line, " ".join(self.words), self.heredoc) if self.keyword == "ONBUILD" else self


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """`syntax`: the image of the frontend that it asks for, empty without one."""

    instructions: tuple[Instruction, ...]
    syntax: str = ""


@dataclass(frozen=True, slots=True)
class NeedsBuildKit:
    """`line`: of the Dockerfile; `what`: such as RUN --mount."""

    line: int
    what: str


def parse_dockerfile(text: str) -> Dockerfile:
    """Return the instructions of a Dockerfile. What can't be an instruction is one with an unknown keyword."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    directives = _directives(lines)
    return Dockerfile(tuple(_instructions(lines, directives.get("escape", "\\"))), directives.get("syntax", ""))


def needs_buildkit(dockerfile: Dockerfile, given: Collection[str] = ()) -> list[NeedsBuildKit]:
    """Return what the classic builder has not, in the order of lines. `given`: names of build arguments with values."""
    found = []
    syntax = dockerfile.syntax
    if syntax and (not STANDARD.fullmatch(syntax.split()[0]) or "-labs" in syntax):
        found.append(NeedsBuildKit(1, f"# syntax={syntax}"))
    for instruction in dockerfile.instructions:
        found += [NeedsBuildKit(instruction.line, what) for what in _beyond_classic(instruction.inner, given)]
    return found


def _beyond_classic(instruction: Instruction, given: Collection[str]) -> Iterator[str]:
    keyword = instruction.keyword
    for name in dict.fromkeys(flag.partition("=")[0] for flag in instruction.flags):
        if name not in _CLASSIC_FLAGS.get(keyword, {name}):
            yield f"{keyword} --{name}"
    if instruction.heredoc:
        yield f"{keyword} with a heredoc"
    if keyword == "ADD" and any(_GIT.match(word) for word in instruction.words):
        yield "ADD of a git repository"
    if keyword == "ARG":
        for name in instruction.words:
            if name in PLATFORM_ARGUMENTS | PLATFORM_VARIANTS and name not in given:
                yield f"ARG {name}"
    for platform in instruction.values("platform"):
        if any(name in PLATFORM_ARGUMENTS and name not in given for name in _NAME.findall(platform)):
            yield f"{keyword} --platform={platform}"


def _directives(lines: list[str]) -> dict[str, str]:
    """Return the parser directives: comments of a form of their own, before everything else."""
    found: dict[str, str] = {}
    for line in lines:
        match = _DIRECTIVE.fullmatch(line.strip())
        if not match or match[1].lower() not in _DIRECTIVES:
            break
        found.setdefault(match[1].lower(), match[2].strip())
    return found


def _instructions(lines: list[str], escape: str) -> Iterator[Instruction]:
    continued = re.compile(rf"(^|[^{re.escape(escape)}]){re.escape(escape)}[ \t]*$")
    numbered = iter(enumerate(lines, 1))
    for number, line in numbered:
        text = line.lstrip()
        if not text or text.startswith("#"):
            continue
        joined = continued.sub(r"\1", text)
        goes_on = joined != text
        while goes_on and (following := next(numbered, None)):
            if not following[1].strip() or following[1].lstrip().startswith("#"):
                continue
            piece = continued.sub(r"\1", following[1])
            goes_on = piece != following[1]
            joined += piece
        ends = list(_heredocs(_instruction(number, joined).inner))
        for chomp, end in ends:
            for _, inside in numbered:
                if (inside.lstrip("\t") if chomp else inside) == end:
                    break
        yield _instruction(number, joined, bool(ends))


def _instruction(line: int, text: str, heredoc: bool = False) -> Instruction:
    keyword, *rest = text.split(None, 1) or [""]
    words = _WORD.findall(rest[0]) if rest else []
    count = next((index for index, word in enumerate(words) if not word.startswith("--")), len(words))
    flags = tuple(word.removeprefix("--").replace('"', "").replace("'", "") for word in words[:count])
    return Instruction(line, keyword.upper(), flags, tuple(words[count:]), heredoc)


def _heredocs(instruction: Instruction) -> Iterator[tuple[bool, str]]:
    """Yield of each heredoc that follows whether tabs before its end don't count, and the line that ends it."""
    if instruction.keyword not in _HEREDOC_KEYWORDS or _is_json(" ".join(instruction.words)):
        return
    for word in instruction.words:
        if found := _HEREDOC.fullmatch(word):
            yield bool(found[1]), found[3]


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False
