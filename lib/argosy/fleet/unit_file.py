r"""Pure. A unit file: its sections and assignments, as systemd itself reads them, and what is to be said of its lines.

- A line that ends with a backslash (an odd number of them) continues in the next; the backslash becomes a space.
- Lines that begin with `#` or `;` are comments, also between a line and its continuation.
- A key may be given again; what that means is the key's own affair (`values`, `last`). An empty value forgets the
  earlier ones.
- What systemd warns of and ignores (no `=`, no section, bytes that are not UTF-8) is a note here. A section's header
  without its `]` makes it refuse the file, and us.

Sources: https://www.freedesktop.org/software/systemd/man/252/systemd.syntax.html, and where that is silent
config_parse() and read_line_full() in https://github.com/systemd/systemd/tree/v252/src (shared/conf-parser.c,
basic/fileio.c).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from argosy.errors import ConfigError
from argosy.fleet.words import WHITE_SPACE, BadLine, UnitName, Word

_LINE_END = re.compile("(?:\n\r?|\r\n?)\0?|\0")
_HEADER = re.compile("\\[[^\x00-\x1f\x7f\\\\\"']*\\]")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, order=True)
class Remark:
    """`path`: the unit file, as it was given; `line`: from 1, or 0 for the whole file."""

    path: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}" if self.line else f"{self.path}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Assignment:
    """`value`: with continuations joined. `begins`: where in it each line of the file begins, and that line's number;
    the first may begin before it."""

    section: str
    key: str
    value: str
    begins: list[tuple[int, int]] = field(compare=False)

    @property
    def line(self) -> int:
        return self.line_at(0)

    def line_at(self, position: int) -> int:
        """Return the line of the file that holds the character at `position` of the value."""
        return self.begins[max(0, bisect_right(self.begins, position, key=lambda begin: begin[0]) - 1)][1]

    def words(self, *texts: str) -> list[Word]:
        """Return parts of the value with their lines."""
        return [Word(text, self.line_at(self.value.find(text))) for text in texts]


@dataclass(slots=True, eq=False)
class UnitFile:
    """`path`: as messages name it. `notes`: what is dropped or changed; `refusals`: why it can't be translated."""

    path: str
    name: UnitName
    assignments: list[Assignment] = field(default_factory=list)
    notes: set[Remark] = field(default_factory=set)
    refusals: set[Remark] = field(default_factory=set)

    def note(self, line: int, reason: str) -> None:
        self.notes.add(Remark(self.path, line, reason))

    def refuse(self, line: int, reason: str) -> None:
        self.refusals.add(Remark(self.path, line, reason))

    @contextmanager
    def errors(self, line: int, what: str, say: Callable[[int, str], None] | None = None) -> Iterator[None]:
        """Refuse, or `say`, what the block raises, so that all that is wrong with a unit is told at once."""
        try:
            yield
        except (ValueError, ConfigError) as error:
            (say or self.refuse)(error.line if isinstance(error, BadLine) else line, f"{what}: {error}")

    def values(self, sections: str, *keys: str) -> list[Assignment]:
        """Return the assignments of a list-valued key (or of one that has several spellings, or stands in several
        sections), in their order; an empty one forgets those before it."""
        found: list[Assignment] = []
        for entry in self.assignments:
            if entry.section in sections.split() and entry.key in keys:
                found.append(entry)
                if not entry.value:
                    found.clear()
        return found

    def last(self, sections: str, *keys: str) -> Assignment | None:
        """Return the assignment that counts for a key with one value: the last; None when that is empty."""
        return next(reversed(self.values(sections, *keys)), None)


def parse_unit(text: str, path: str) -> UnitFile:
    """Return what a unit file says. What is not a service's is refused. Raises nothing.

    `text`: bytes that are not UTF-8 stand in it as lone surrogates (`data.decode("utf-8", "surrogateescape")`).
    """
    unit = UnitFile(path, UnitName(path, None, ""))
    with unit.errors(0, "not a service"):
        unit.name = UnitName.parse(path.rpartition("/")[2])
        if unit.name.type != "service":
            raise ValueError(f"Swarm has nothing like a {unit.name.type}")
    section: str | None = None
    for whole, begins in _lines(text):
        line, number = whole.strip(WHITE_SPACE), begins[0][1]
        key, equals, rest = whole.partition("=")
        value = rest.lstrip(WHITE_SPACE)
        if not line:
            continue
        if _SURROGATE.search(line):
            unit.note(number, "not UTF-8: ignored")
        elif line[0] == "[":
            section = line[1:-1]
            if not _HEADER.fullmatch(line):
                unit.refuse(number, f"{line} is not a section's header")
                break
        elif section is None:
            unit.note(number, "before the first section: ignored")
        elif not equals or line[0] == "=":
            unit.note(number, "not KEY=VALUE: ignored")
        else:
            shifted = [(begin - len(whole) + len(value), number) for begin, number in begins]
            unit.assignments.append(Assignment(section, key.strip(WHITE_SPACE), value.rstrip(WHITE_SPACE), shifted))
    return unit


def _lines(text: str) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Yield the lines without comments, continuations joined; with each, where the lines of the file begin in it."""
    whole: list[str] = []
    begins: list[tuple[int, int]] = []
    length = 0
    for number, line in enumerate(_LINE_END.split(text.removeprefix("\ufeff")), 1):
        if line.lstrip(WHITE_SPACE).startswith(("#", ";")):
            continue
        continues = (len(line) - len(line.rstrip("\\"))) % 2
        whole.append(line[:-1] + " " if continues else line)
        begins.append((length, number))
        length += len(line)
        if not continues:
            yield "".join(whole), begins
            whole, begins, length = [], [], 0
    if whole:
        yield "".join(whole), begins
