"""What a person sees: progress lines, tables, JSON, questions. Rich is imported only when a line is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from argosy.errors import Refused

if TYPE_CHECKING:
    from rich.console import Console

    from argosy.model import Step

Report = Callable[[str, str], None]
"""How an operation tells its progress: `report(subject, message)`, the subject being a machine, an image, a service."""

PALETTE = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")


PIPE_COLUMNS = 10_000
"""Into a file or a pipe nothing is folded: the reader decides."""


@cache
def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    width = None if (sys.stderr if stderr else sys.stdout).isatty() else PIPE_COLUMNS
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=width)


def report(subject: str, message: str) -> None:
    """Print one line of progress on stderr, so that stdout stays what the task was asked for."""
    from rich.text import Text

    colour = PALETTE[sum(subject.encode()) % len(PALETTE)]
    _console(stderr=True).print(Text(f"{subject:<12} ", style=colour) + Text(message))


def prefixed(subject: str, line: str) -> None:
    """Print one line of result on stdout after the name of the machine that it comes from."""
    from rich.text import Text

    colour = PALETTE[sum(subject.encode()) % len(PALETTE)]
    _console().print(Text(f"{subject:<12} ", style=colour) + Text(line))


def say(message: str) -> None:
    """Print one line of result on stdout, as it is."""
    print(message, flush=True)


def print_json(value: Any) -> None:
    """Print `value` as JSON on stdout: indented, keys in the order that they were given."""
    print(json.dumps(value, indent=2, default=str), flush=True)


def print_steps(steps: Iterable[Step], as_json: bool = False) -> None:
    """Print a plan, as `--dry-run` shows it: a line for each step, or JSON."""
    if as_json:
        print_json([{"subject": step.subject, "action": step.action} for step in steps])
        return
    for line in [str(step) for step in steps] or ["nothing to do"]:
        say(line)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], to_stderr: bool = False) -> None:
    """Print rows under their column titles; on stderr where stdout has something else to carry."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    _console(to_stderr).print(grid)


def will_ask(yes: bool) -> bool:
    """Return whether somebody is there to be asked, and wants to be."""
    return not yes and sys.stdin.isatty()


def confirm(question: str, yes: bool) -> None:
    """Ask before something that can't be taken back. Raises Refused unless the answer, or `--yes`, says so."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused(f"{question} Nobody is here to answer: give --yes")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise Refused("Nothing was done")
