"""Leave a line in the cluster's audit trail for every change of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from argosy.console import Report
from argosy.errors import ArgosyError, EtcdError, LockLost
from argosy.operations.clock import Clock, SystemClock
from argosy.operations.cluster_lock import ClusterLock
from argosy.operations.journal import Journal, Store


@contextmanager
def noted(store: Store, lock: ClusterLock, report: Report, what: str, clock: Clock | None = None) -> Iterator[None]:
    """Note how `what` ended: `done`, or why not."""
    outcome = "interrupted"
    try:
        yield
        outcome = "done"
    except ArgosyError as error:
        outcome = str(error)
        raise
    finally:
        try:
            Journal(store, lock).note((clock or SystemClock()).now(), what, outcome)
        except (LockLost, EtcdError) as error:
            # What was done is done: that the trail does not know it is told, and must not hide how it ended.
            report("history", f"{what} ({outcome}) could not be noted: {error}")
