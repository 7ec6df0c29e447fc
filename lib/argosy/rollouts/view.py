"""A rollout as somebody sees it go: a table on a terminal, lines elsewhere, or JSON, one event a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from argosy import console
from argosy.cluster.events import Checked, Event, Said, Soaking, StepDone, StepFailed
from argosy.rollouts.events import Ended, NothingToDo, Planned, RollingBack, StepBegan
from argosy.rollouts.record import WORK, Rollout, RolloutStep

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("machine", "release", "step", "for", "checks")
MOST_ROWS = 30
REFRESHES = 4
"""Of the table in a second."""
_COLOURS = {
    RolloutStep.DONE: "green",
    RolloutStep.ROLLED_BACK: "green",
    RolloutStep.FAILED: "red",
    RolloutStep.PENDING: "dim",
    RolloutStep.PREPARED: "dim",
}


@contextmanager
def shown(as_json: bool = False) -> Iterator[Callable[[Event], None]]:
    """Give what shows each event as it comes: JSON on stdout, else people's words on stderr."""
    if console.watched() and not as_json:
        with _live() as show:
            yield show
    else:
        yield lines(as_json)


def lines(as_json: bool = False) -> Callable[[Event], None]:
    """Return what shows the same, a line for each event wherever it goes."""
    return (lambda event: console.say(json.dumps(event.to_json()))) if as_json else _line


def _line(event: Event) -> None:
    if event.text:
        console.report(event.subject, event.text)


@dataclass
class _Row:
    release: str
    step: RolloutStep
    since: datetime
    reason: str = ""


class Board:
    """What the table shows, by the events so far. `watching`: what is done between two batches."""

    def __init__(self) -> None:
        self.title = ""
        self.watching = ""
        self._rows: dict[str, _Row] = {}
        self._checks: dict[str, dict[str, str]] = {}

    def apply(self, event: Event) -> None:
        """Take an event in."""
        match event:
            case Planned():
                self._plan(event.rollout)
                self.title = event.text
            case StepBegan() if event.machine in self._rows:
                self._move(event.machine, event.step, event.at)
                self.watching = ""
            case StepDone() if event.machine in self._rows:
                self._move(event.machine, RolloutStep(event.next), event.at)
            case StepFailed() if event.machine in self._rows:
                self._move(event.machine, RolloutStep.FAILED, event.at)
                self._rows[event.machine].reason = event.reason
            case Checked():
                self._checks.setdefault(event.machine, {})[event.check] = event.reason
            case Soaking() | RollingBack() | Ended():
                self.watching = event.text

    def rows(self, now: datetime) -> list[tuple[str, ...]]:
        """Return the cells under COLUMNS: of all machines, or where there are very many, of those that count now."""
        names = list(self._rows)
        if len(names) > MOST_ROWS:
            at_work = [name for name in names if self._rows[name].step in (*WORK, RolloutStep.FAILED)]
            names = at_work[:MOST_ROWS]
        return [self._cells(name, now) for name in names]

    def summary(self) -> str:
        """Return how many machines are at each step."""
        counts: dict[RolloutStep, int] = {}
        for row in self._rows.values():
            counts[row.step] = counts.get(row.step, 0) + 1
        return ", ".join(f"{counts[step]} {step}" for step in RolloutStep if step in counts)

    def step(self, name: str) -> RolloutStep:
        return self._rows[name].step

    def _plan(self, rollout: Rollout) -> None:
        for name in rollout.names:
            machine = rollout.machines[name]
            change = (
                f"{rollout.release} -> {machine.origin}" if rollout.back else f"{machine.origin} -> {rollout.release}"
            )
            self._rows[name] = _Row(change, machine.step, machine.since, machine.reason)

    def _move(self, name: str, step: RolloutStep, at: datetime) -> None:
        row = self._rows[name]
        row.step, row.since, row.reason = step, at, ""
        if step in WORK:
            self._checks.pop(name, None)

    def _cells(self, name: str, now: datetime) -> tuple[str, ...]:
        row, checks = self._rows[name], self._checks.get(name, {})
        seconds = f"{max(0.0, (now - row.since).total_seconds()):.0f} s" if row.step in WORK else ""
        failing = [f"{check}: {reason}" for check, reason in checks.items() if reason]
        passing = f"{len(checks) - len(failing)} of {len(checks)} pass" if checks else ""
        return name, row.release, str(row.step), seconds, row.reason or "; ".join([passing, *failing]).strip("; ")


@contextmanager
def _live() -> Iterator[Callable[[Event], None]]:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    board = Board()
    screen = Console(stderr=True, highlight=False)

    def draw() -> Group:
        if not board.title:
            return Group()
        lines = [Text(name) for name in (board.title, board.summary(), board.watching) if name]
        return Group(*lines[:2], _table(board), *lines[2:])

    with Live(console=screen, refresh_per_second=REFRESHES, get_renderable=draw, redirect_stdout=False) as live:

        def show(event: Event) -> None:
            board.apply(event)
            if isinstance(event, (Said, StepFailed, NothingToDo)):
                live.console.print(Text(f"{event.subject:<12} {event.text}"))

        yield show


def _table(board: Board) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for cells in board.rows(datetime.now(UTC)):
        colour = _COLOURS.get(board.step(cells[0]), "yellow")
        table.add_row(*(Text(cell, style=colour if index == 2 else "") for index, cell in enumerate(cells)))
    return table
