"""Leave a line in the cluster's audit trail for every change of its members."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from argosy.operations.auditing import noted
from argosy.operations.membership.actions import Planned
from argosy.operations.membership.observing import Work


@contextmanager
def audited(work: Work, what: str, planned: Planned) -> Iterator[None]:
    """Note how `what` ended. A plan with nothing in it leaves no line."""
    if not planned.actions:
        yield
        return
    with noted(work.store, work.holding, work.report, what):
        yield
