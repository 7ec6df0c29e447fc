"""What is to be said of a line of a unit file. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Remark:
    """`path`: the unit file, as it was given; `line`: from 1, or 0 for the whole file."""

    path: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}" if self.line else f"{self.path}: {self.reason}"


@dataclass(slots=True)
class Findings:
    """What was dropped or changed with a note, and what can't be translated, while one unit is gone through.

    Nothing is raised: whoever reads a refusal wants to know all of them.
    """

    path: str
    notes: list[Remark] = field(default_factory=list)
    refusals: list[Remark] = field(default_factory=list)
    _seen: set[Remark] = field(default_factory=set)

    def note(self, line: int, reason: str) -> None:
        self._add(self.notes, line, reason)

    def refuse(self, line: int, reason: str) -> None:
        self._add(self.refusals, line, reason)

    def _add(self, to: list[Remark], line: int, reason: str) -> None:
        remark = Remark(self.path, line, reason)
        if remark not in self._seen:
            self._seen.add(remark)
            to.append(remark)
