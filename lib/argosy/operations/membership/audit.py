"""Leave a line in the cluster's audit trail for every change of its members."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from argosy.errors import ArgosyError, EtcdError, LockLost
from argosy.operations.clock import SystemClock
from argosy.operations.journal import Journal
from argosy.operations.membership.actions import Planned
from argosy.operations.membership.observing import Work


@contextmanager
def audited(work: Work, what: str, planned: Planned) -> Iterator[None]:
    """Note how `what` ended: `done`, or why not. A plan with nothing in it leaves no line."""
    outcome = "interrupted"
    try:
        yield
        outcome = "done"
    except ArgosyError as error:
        outcome = str(error)
        raise
    finally:
        if planned.actions:
            _note(work, what, outcome)


def _note(work: Work, what: str, outcome: str) -> None:
    try:
        Journal(work.store, work.holding).note(SystemClock().now(), what, outcome)
    except (LockLost, EtcdError) as error:
        # What was done is done: that the trail does not know it is told, and must not hide how it ended.
        work.report("history", f"{what} ({outcome}) could not be noted: {error}")
