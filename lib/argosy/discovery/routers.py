"""Wait until the routers have taken a change in."""

from __future__ import annotations

import time
from dataclasses import dataclass

from argosy.clock import wait_until
from argosy.discovery import keys
from argosy.discovery.report import applied_revisions, live_machines
from argosy.errors import DeadlineExceeded
from argosy.etcd import Entry, Etcd
from argosy.schema import MACHINES, ROUTERS, parse_directory

LOOK_SECONDS = 0.5
"""Between two looks, should no watch say when to look."""
FOLLOW_UP_SECONDS = 3.0
"""How far behind etcd a router may be before that is a fault; it takes milliseconds when nothing is wrong."""


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
            told.append(f"not reported by {', '.join(self.silent)}: no agent is there; see inv discovery.list")
        return told


def wait_until_applied(store: Etcd, revision: int, deadline_seconds: float) -> Applied:
    """Wait until every live router has published `revision` or a later one.

    Live is who has a key under /routers/: the lease of one that died runs out meanwhile, so nobody waits for it.
    Raises DeadlineExceeded naming those that are behind.
    """
    started = time.monotonic()
    entries, behind = _wait(store, revision, deadline_seconds)
    if behind:
        late = ", ".join(f"{name} (at {at})" for name, at in behind.items())
        raise DeadlineExceeded(
            f"not applied in the time given by the router of {late}; {revision} is wanted. What was changed stays so: "
            "see inv cluster.logs agent"
        )
    routers = applied_revisions(entries)
    silent = [name for name in live_machines(parse_directory(entries)) if name not in routers]
    return Applied(revision, tuple(routers), tuple(silent), time.monotonic() - started)


def follow_up(store: Etcd, revision: int) -> None:
    """Give the live routers FOLLOW_UP_SECONDS to apply `revision`: who looks at them now may find a change under way.
    Which of them are behind still, the look itself tells."""
    _wait(store, revision, FOLLOW_UP_SECONDS)


def _wait(store: Etcd, revision: int, seconds: float) -> tuple[list[Entry], dict[str, int]]:
    """Wait until no live router is behind, or time is over; return what was read last, and who is behind, and where."""

    def look() -> tuple[list[Entry], dict[str, int]]:
        entries = keys.read(store, (MACHINES, ROUTERS))
        return entries, {name: at for name, at in applied_revisions(entries).items() if at < revision}

    with store.hint(ROUTERS) as hint:
        return wait_until(look, seconds, done=lambda seen: not seen[1], every=LOOK_SECONDS, pause=hint.wait)
