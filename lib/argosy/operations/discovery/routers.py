"""Wait until the routers have taken a change in."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from argosy.discovery_report import applied_revisions, live_machines
from argosy.errors import DeadlineExceeded
from argosy.etcd import Entry, Etcd
from argosy.operations.discovery import keys
from argosy.schema import MACHINES, ROUTERS, parse_directory

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Applied:
    """Every live router has applied the revision. `silent`: live machines whose routers tell nothing."""

    revision: int
    routers: tuple[str, ...]
    silent: tuple[str, ...]
    seconds: float

    def lines(self) -> list[str]:
        """Return what to tell of it."""
        names = ", ".join(self.routers)
        told = [f"applied by {names} after {self.seconds:.1f} s"] if names else ["no router is live to apply it"]
        if self.silent:
            told.append(f"not told by {', '.join(self.silent)}: no agent is there; see inv discovery.list")
        return told


def wait_until_applied(store: Etcd, revision: int, deadline_seconds: float) -> Applied:
    """Wait until every live router has published `revision` or a later one.

    Live is who has a key under /routers/: the lease of one that died runs out meanwhile, so nobody waits for it.
    Raises DeadlineExceeded naming those that are behind.
    """
    started = time.monotonic()
    pause = threading.Event()
    while True:
        entries = keys.read(store, (MACHINES, ROUTERS))
        behind = {name: at for name, at in applied_revisions(entries).items() if at < revision}
        seconds = time.monotonic() - started
        if not behind:
            return _applied(entries, revision, seconds)
        if seconds >= deadline_seconds:
            late = ", ".join(f"{name} (at {at})" for name, at in behind.items())
            raise DeadlineExceeded(
                f"not applied within {deadline_seconds:g} s by the router of {late}; {revision} is wanted, and it "
                "stays so: see inv cluster.logs agent"
            )
        pause.wait(min(POLL_SECONDS, deadline_seconds - seconds))


def _applied(entries: Iterable[Entry], revision: int, seconds: float) -> Applied:
    listed = list(entries)
    routers = applied_revisions(listed)
    silent = [name for name in live_machines(parse_directory(listed)) if name not in routers]
    return Applied(revision, tuple(routers), tuple(silent), seconds)
