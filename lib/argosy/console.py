"""What a person sees: progress lines, tables, JSON, questions. Rich is imported only when a line is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from argosy.commandline import pipes
from argosy.errors import ConfigError, Refused

if TYPE_CHECKING:
    from rich.console import Console

    from argosy.model import Step


PALETTE = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")


PIPE_COLUMNS = 10_000
"""Into a file or a pipe nothing is folded: the reader decides."""


@cache
def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    class Screen(Console):
        def on_broken_pipe(self) -> None:
            pipes.leave(self.file)

    width = None if (sys.stderr if stderr else sys.stdout).isatty() else PIPE_COLUMNS
    return Screen(stderr=stderr, highlight=False, soft_wrap=True, width=width)


def watched() -> bool:
    """Return whether progress goes to a terminal: elsewhere, in the log of a CI, each thing is told once."""
    return sys.stderr.isatty()


def report(subject: str, message: str) -> None:
    """Print one line of progress on stderr, so that stdout stays what the task was asked for."""
    prefixed(subject, message, to_stderr=True)


def prefixed(subject: str, line: str, to_stderr: bool = False) -> None:
    """Print one line of result on stdout after the name of the machine that it comes from."""
    from rich.text import Text

    colour = PALETTE[sum(subject.encode()) % len(PALETTE)]
    _console(to_stderr).print(Text(f"{subject:<12} ", style=colour) + Text(line))


def say(message: str) -> None:
    """Print one line of result on stdout, as it is."""
    with pipes.printing(sys.stdout):
        print(message, flush=True)


def print_json(value: Any) -> None:
    """Print `value` as JSON on stdout: indented, keys in the order that they were given."""
    say(json.dumps(value, indent=2, default=str))


def print_steps(steps: Iterable[Step], as_json: bool = False) -> None:
    """Print a plan, as `--dry-run` shows it: a line for each step, or JSON."""
    if as_json:
        print_json([step.to_json() for step in steps])
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


def show(as_json: bool, value: object, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print what a task found: `value` as JSON, or its rows under their column titles."""
    if as_json:
        print_json(value)
    else:
        table(columns, rows)


def answer(as_json: bool, value: object, message: str) -> None:
    """Print what a task did: `value` as JSON, or a line that says it."""
    if as_json:
        print_json(value)
    else:
        say(message)


def show_all(as_json: bool, value: object, found: Iterable[tuple[Sequence[str], Iterable[Sequence[object]]]]) -> None:
    """Print what a task found: `value` as JSON, or its tables, (columns, rows), with an empty line between two."""
    if as_json:
        print_json(value)
        return
    for number, (columns, rows) in enumerate(found):
        if number:
            say("")
        table(columns, rows)


def will_ask(yes: bool) -> bool:
    """Return whether somebody is there to be asked, and wants to be."""
    return not yes and _somebody_is_here()


def agreed(
    steps: Callable[[], Sequence[Step]], yes: bool, dry_run: bool, as_json: bool, *, may_be_down: bool = False
) -> bool:
    """Return whether to do a plan. In a dry run it is printed and not done; on a terminal it is printed, and asked for
    unless `yes` or there is nothing to do. `may_be_down`: elsewhere it is refused when the plan stops what serves."""
    if dry_run or will_ask(yes):
        found = steps()
        print_steps(found, as_json)
        if found and not dry_run:
            confirm("Go ahead?", yes)
    elif may_be_down and not yes:
        down = "; ".join(str(step) for step in steps() if step.down_seconds is not None)
        if down:
            confirm(f"{down}. Go ahead?", yes)
    return not dry_run


def confirm(question: str, yes: bool) -> None:
    """Ask before something that can't be taken back. Raises Refused unless the answer, or `--yes`, says so."""
    if yes:
        return
    if not _somebody_is_here():
        raise Refused(f"{question} Nobody is here to answer: give --yes")
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:
        answer = ""
        say("")
    if answer.strip().lower() not in ("y", "yes"):
        raise Refused("Nothing was done")


def ask_secret(question: str, otherwise: str, *, twice: bool = False) -> str:
    """Return what is typed, without showing it. `twice`: it is new, and typed again to be sure.

    Raises ConfigError when nobody is here, with how to give it `otherwise`, or when the two differ.
    """
    import getpass

    if not _somebody_is_here():
        raise ConfigError(f"nobody is here to be asked: {otherwise}", question)
    try:
        typed = getpass.getpass(f"{question}: ")
        if twice and getpass.getpass(f"{question}, once more: ") != typed:
            raise ConfigError("the two differ; nothing was done", question)
    except EOFError:
        raise Refused("Nothing was done") from None
    return typed


def _somebody_is_here() -> bool:
    # None where it was closed: `inv ... <&-`
    return sys.stdin is not None and sys.stdin.isatty()
