"""Pure. What a `.dockerignore` leaves out of a build context, as docker itself reads it.

https://docs.docker.com/build/concepts/context/#dockerignore-files, https://github.com/moby/patternmatcher
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

_WILD = re.compile(r"[*?\[\\]")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line. `fixed`: what it begins with before any wildcard; `excepts`: what it matches stays."""

    expression: re.Pattern[str]
    fixed: str
    excepts: bool


@dataclass(frozen=True, slots=True)
class IgnoreFile:
    patterns: tuple[Pattern, ...] = ()

    def leaves_out(self, path: str) -> bool:
        """Return whether the last line that matches `path`, or a folder above it, is no exception."""
        parts = path.split("/")
        above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        for pattern in reversed(self.patterns):
            if any(pattern.expression.fullmatch(each) for each in above):
                return not pattern.excepts
        return False

    def may_keep_below(self, folder: str) -> bool:
        """Return whether something in a folder that is left out may be an exception."""
        inside = f"{folder}/"
        return any(
            pattern.excepts and (pattern.fixed.startswith(inside) or inside.startswith(pattern.fixed))
            for pattern in self.patterns
        )


def parse_ignore(text: str, always: Iterable[str] = ()) -> IgnoreFile:
    """Return what the lines say. `always`: paths that stay, whatever they say. Raises ValueError for a bad pattern."""
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines() if not line.startswith("#")]
    patterns = [_pattern(line) for line in lines if line.strip("!").strip()]
    patterns += [Pattern(re.compile(re.escape(path)), path, excepts=True) for path in always]
    return IgnoreFile(tuple(patterns))


def _pattern(line: str) -> Pattern:
    path = posixpath.normpath(line.removeprefix("!").strip()).lstrip("/")
    try:
        return Pattern(re.compile(_expression(path)), _WILD.split(path)[0], line.startswith("!"))
    except re.error:
        raise ValueError(f"{line!r} is no pattern") from None


def _expression(path: str) -> str:
    """Return the regular expression for a path with wildcards."""
    written, rest = "", path
    while rest:
        if rest.startswith("**"):
            rest = rest[2:].removeprefix("/")
            written += "(.*/)?" if rest else ".*"
            continue
        sign, rest = rest[0], rest[1:]
        if sign == "\\" and rest:
            written, rest = written + re.escape(rest[0]), rest[1:]
        else:
            written += {"*": "[^/]*", "?": "[^/]"}.get(sign) or (sign if sign in "[]^-" else re.escape(sign))
    return written
