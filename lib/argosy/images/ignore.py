r"""Pure. `.dockerignore` as Docker reads it: which paths of a build context stay at home.

Lines: a `#` in the first column begins a comment, blanks around a pattern go, and so does one leading slash; `!` takes
back. Patterns are regular expressions in the making: `**` is anything, `*` and `?` stop at a slash, `[a-z]` and `[^a]`
are one character, a backslash takes a meaning away (before a letter it is the expression's own: `\d` is a digit). The
last line that fits a path, or a folder above it, decides.

Sources: ignorefile.go and patternmatcher.go in https://github.com/moby/patternmatcher; filepath.Match says what is no
pattern: https://pkg.go.dev/path/filepath#Match
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""What Go trims: https://pkg.go.dev/unicode#IsSpace"""
_MEMBER = r"(?:\\.|[^\\\]\ud800-\udfff-])"
_PATTERN = re.compile(rf"(?:[^\\\[]|\\.|\[\^?+(?:{_MEMBER}(?:-{_MEMBER})?)+\])*", re.DOTALL)
_SPECIAL = re.compile(r"[*?\\\[\]]")
_PIECE = re.compile(r"\*\*/?(?P<end>\Z)?|\\.|.", re.DOTALL)
_POSIX = {"alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\x00-\x7f", "blank": r"\t ", "cntrl": r"\x00-\x1f\x7f"}
_POSIX |= {
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t-\r ",
}
_POSIX |= {"upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f"}
_MEMBERS = re.compile(r"\\.|\[:(?P<not>\^?)(?P<posix>[a-z]+):\]|.", re.DOTALL)
_CLASS = re.compile(r"\[(?P<not>\^?)(?P<members>\]?(?:\\.|\[:\^?[a-z]+:\]|[^\]])*)\]|\\.|.", re.DOTALL)


class BadPattern(ValueError):
    """What Docker refuses to build with."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """`text`: as cleaned, without its `!`."""

    text: str
    excepts: bool
    expression: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Matcher:
    patterns: Sequence[Pattern]

    def leaves_out(self, path: str, above: Sequence[bool] = ()) -> tuple[bool, Sequence[bool]]:
        """Return whether `path` stays at home, and which patterns fit it or a folder above it, as far as that was
        looked at: `above` for what is in it. At the top nothing is above."""
        left_out, fits = False, []
        for position, pattern in enumerate(self.patterns):
            fit = bool(above and above[position])
            if not fit and pattern.excepts == left_out:
                fit = bool(pattern.expression.search(path))
            left_out = (not pattern.excepts) if fit else left_out
            fits.append(fit)
        return left_out, fits

    def enters(self, folder: str) -> bool:
        """Return whether something in a folder that is left out may be taken back. Docker looks where one that takes
        back has a wildcard, or begins with the folder's own name; the classic builder's client had only the latter.

        https://github.com/tonistiigi/fsutil/blob/master/filter.go
        """
        return any(
            pattern.excepts and (_SPECIAL.search(pattern.text) or f"{pattern.text}/".startswith(f"{folder}/"))
            for pattern in self.patterns
        )

    def keeping(self, paths: Iterable[str]) -> Matcher:
        """Return the matcher that sends `paths`, too, as Docker does with the Dockerfile and the ignore file."""
        found = list(self.patterns)
        for path in paths:
            fits: Sequence[bool] = ()
            left_out = False
            for parent in [*reversed(_parents(path)), path]:
                left_out, fits = Matcher(found).leaves_out(parent, fits)
            if left_out:
                found.append(Pattern(path, True, re.compile(rf"^{re.escape(path)}\Z")))
        return Matcher(found)


def parse_ignore_file(data: bytes) -> Matcher:
    """Return what an ignore file says. Raises BadPattern, with the line, for what Docker refuses."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    patterns = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("#") or not (line := line.strip(_SPACE)):
            continue
        try:
            patterns.append(parse_pattern(line))
        except BadPattern as error:
            raise BadPattern(f"{number}: {error}") from None
    return Matcher(patterns)


def parse_pattern(line: str) -> Pattern:
    """Return the pattern of a line. Raises BadPattern."""
    excepts = line.startswith("!")
    path = line[1:].strip(_SPACE) if excepts else line
    if path:
        path = _clean(path)
        path = path[1:] if path[:1] == "/" and path != "/" else path
    path = _clean((("!" if excepts else "") + path).strip(_SPACE))
    excepts = path.startswith("!")
    path = path[1:] if excepts else path
    if not path:
        raise BadPattern("a lone ! takes nothing back")
    if not _PATTERN.fullmatch(path):
        raise BadPattern(f"{line!r} is not a pattern: a [ without its ], or a \\ at the end")
    try:
        return Pattern(path, excepts, re.compile(_expression(path), re.ASCII))
    except re.error as error:
        raise BadPattern(f"{line!r} is not a pattern: {error}") from None


def _clean(path: str) -> str:
    """Return the shortest form of a path, as Go's filepath.Clean: one slash is as good as two."""
    return posixpath.normpath(re.sub("^/+", "/", path))


def _parents(path: str) -> list[str]:
    parents = []
    while path := posixpath.dirname(path):
        parents.append(path)
    return parents


def _expression(pattern: str) -> str:
    """Return the regular expression of a pattern. Those that hold nothing but letters and one `**` at an end are
    compared as text, where a newline is a letter as any."""
    if not _SPECIAL.search(pattern):
        return rf"^{re.escape(pattern)}\Z"
    if pattern.startswith("**") and not _SPECIAL.search(suffix := pattern[2:]):
        return rf"{re.escape(suffix)}\Z" if not suffix.startswith("/") else rf"(?:/|^){re.escape(suffix[1:])}\Z"
    if pattern.endswith("**") and not _SPECIAL.search(pattern[:-2]):
        return f"^{re.escape(pattern[:-2])}"
    return _CLASS.sub(_python, f"^{_PIECE.sub(_piece, pattern)}") + r"\Z"


def _piece(found: re.Match[str]) -> str:
    """Return what moby makes of a piece of a pattern: a part of an expression of Go's. It means to escape `{`, `|` and
    `}`, too, and does not: its table has no room for them."""
    text = found[0]
    if text.startswith("**"):
        return ".*" if found["end"] is not None else "(.*/)?"
    return {"*": "[^/]*", "?": "[^/]"}.get(text, f"\\{text}" if text in ".+()$" else text)


def _python(found: re.Match[str]) -> str:
    """Return a piece of an expression of Go's as Python's. Within `[...]` Python takes other characters for its own."""
    if found["members"] is None:
        return {r"\z": r"\Z"}.get(_escape(found[0], "aAbBdDfnrsStvwWz"), found[0])
    return f"[{found['not']}{_MEMBERS.sub(_member, found['members'])}]"


def _member(found: re.Match[str]) -> str:
    if found["posix"]:
        if found["not"] or found["posix"] not in _POSIX:
            raise re.error(f"{found[0]} means nothing")
        return _POSIX[found["posix"]]
    text = _escape(found[0], "adDfnrsStvwW")
    return f"\\{text}" if text in "[]&~|" else text


def _escape(text: str, known: str) -> str:
    """Return `text`. Raises re.error for a backslash before a letter that is not one of `known`."""
    if text[0] == "\\" and (text[1].isalnum() or not text[1].isascii()) and text[1] not in known:
        raise re.error(f"{text} means nothing")
    return text
