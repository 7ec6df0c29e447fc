r"""A unit file: its sections and assignments, as systemd itself reads them. Pure.

- A line that ends with a backslash (an odd number of them) goes on in the next; the backslash becomes a space.
- Lines that begin with `#` or `;` are comments, also between a line and its continuation.
- A key may be given again; what that means is the key's own affair (`values`, `last`). An empty value forgets the
  earlier ones.
- What systemd warns of and ignores (no `=`, no section, bytes that are no UTF-8) is a warning here, too. A section's
  header without its `]` makes it refuse the file, and us.

Sources: https://www.freedesktop.org/software/systemd/man/252/systemd.syntax.html, and where that is silent
config_parse() and read_line_full() in https://github.com/systemd/systemd/tree/v252/src (shared/conf-parser.c,
basic/fileio.c).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from argosy.fleet.remarks import Remark
from argosy.fleet.unit_name import UnitName
from argosy.fleet.words import WHITE_SPACE

_LINE_END = re.compile("(?:\n\r?|\r\n?)\0?|\0")
_UNSAFE = re.compile("[\x00-\x1f\x7f\\\\\"']")


@dataclass(frozen=True, slots=True)
class Assignment:
    """`section`: its name; `value`: with continuations joined; `line`: where it begins, from 1.

    `breaks`: positions in `value` where a further line of the file begins, and that line's number.
    """

    section: str
    key: str
    value: str
    line: int
    breaks: tuple[tuple[int, int], ...] = ()

    def line_at(self, position: int) -> int:
        """Return the line of the file that holds the character at `position` of the value."""
        index = bisect_right(self.breaks, position, key=lambda it: it[0])
        return self.breaks[index - 1][1] if index else self.line


@dataclass(frozen=True, slots=True)
class UnitFile:
    """`path`: as messages name it. `bad`: why systemd would not load it at all; empty when it would."""

    path: str
    name: UnitName
    assignments: tuple[Assignment, ...]
    warnings: tuple[Remark, ...] = ()
    bad: tuple[Remark, ...] = ()

    def values(self, section: str, *keys: str) -> list[Assignment]:
        """Return the assignments of a list-valued key (or of one that has several spellings), in their order; an empty
        one forgets those before it."""
        found: list[Assignment] = []
        for entry in self.assignments:
            if entry.section != section or entry.key not in keys:
                continue
            if entry.value:
                found.append(entry)
            else:
                found.clear()
        return found

    def last(self, section: str, key: str) -> Assignment | None:
        """Return the assignment that counts for a key with one value: the last; None when that is empty."""
        found = self.values(section, key)
        return found[-1] if found else None

    def sections(self) -> dict[str, list[Assignment]]:
        """Return all assignments by section."""
        found: dict[str, list[Assignment]] = {}
        for entry in self.assignments:
            found.setdefault(entry.section, []).append(entry)
        return found


@dataclass(slots=True)
class _Statement:
    """A line with its continuations. `parts`: the position at which each further line of the file begins, and its
    number."""

    line: int
    pieces: list[str] = field(default_factory=list)
    parts: list[tuple[int, int]] = field(default_factory=list)
    length: int = 0

    def add(self, text: str, number: int) -> None:
        if self.pieces:
            self.parts.append((self.length, number))
        self.pieces.append(text)
        self.length += len(text)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def parse_unit(text: str, name: UnitName, path: str = "") -> UnitFile:
    """Return what a unit file says. `text`: bytes that are no UTF-8 stand in it as lone surrogates
    (`data.decode("utf-8", "surrogateescape")`). Raises nothing."""
    path = path or str(name)
    section: str | None = None
    found: list[Assignment] = []
    warnings: list[Remark] = []
    bad: list[Remark] = []
    for statement in _statements(text):
        line = statement.text.strip(WHITE_SPACE)
        if not line:
            continue
        if not _is_utf8(line):
            warnings.append(Remark(path, statement.line, "it is not UTF-8, so it is ignored"))
        elif line[0] == "[":
            section = line[1:-1]
            if line[-1] != "]" or len(line) < 2 or _UNSAFE.search(section):
                bad.append(Remark(path, statement.line, f"{line} is no section's header"))
                break
        elif section is None:
            warnings.append(Remark(path, statement.line, "it stands before the first section, so it is ignored"))
        elif "=" not in line:
            warnings.append(Remark(path, statement.line, "it has no '=', so it is ignored"))
        elif line[0] == "=":
            warnings.append(Remark(path, statement.line, "it has no key before its '=', so it is ignored"))
        else:
            found.append(_assignment(section, statement))
    return UnitFile(path, name, tuple(found), tuple(warnings), tuple(bad))


def _statements(text: str) -> Iterator[_Statement]:
    """Yield the lines of the file with their continuations joined, without comments."""
    current: _Statement | None = None
    for number, line in enumerate(_LINE_END.split(text.removeprefix("\ufeff")), 1):
        begin = line.lstrip(WHITE_SPACE)[:1]
        if begin and begin in "#;":
            continue
        current = current or _Statement(number)
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            current.add(line[:-1] + " ", number)
            continue
        current.add(line, number)
        yield current
        current = None
    if current is not None:
        yield current


def _assignment(section: str, statement: _Statement) -> Assignment:
    key, _, rest = statement.text.partition("=")
    value = rest.lstrip(WHITE_SPACE)
    begin = statement.length - len(value)
    breaks = tuple((position - begin, number) for position, number in statement.parts)
    first = next((number for position, number in reversed(breaks) if position <= 0), statement.line)
    later = tuple(entry for entry in breaks if entry[0] > 0)
    return Assignment(section, key.strip(WHITE_SPACE), value.rstrip(WHITE_SPACE), first, later)


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)
