"""What a rollout's driver needs of the outside; the tests' simulator stands behind the same two seams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from argosy.events import Event
from argosy.operations import cluster_lock, journal
from argosy.operations.clock import Clock
from argosy.operations.cluster_lock import ClusterLock
from argosy.rollout_plan import Found
from argosy.rollout_record import Release

Events = Callable[[Event], None]
"""Where everything that happens is told. May be called by several threads."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found when all was well enough to begin. `members`: the machines that run etcd, of which `away` may be
    away at once."""

    found: tuple[Found, ...]
    members: tuple[str, ...] = ()
    away: int = 1


class Store(cluster_lock.Store, journal.Store, Protocol):
    """What of `argosy.etcd.Etcd` a rollout needs."""


class Looks(Protocol):
    """The machines of a cluster, looked at; nothing of it changes anything."""

    def names(self) -> Sequence[str]:
        """Return all machines of the cluster, in order."""

    def preflight(self, names: Sequence[str], release: Release | None) -> Preflight:
        """Look at `names` before anything is touched. Raises Refused or HostsFailed naming all that stands against it.

        `release`: what shall be installed; None when machines are put back on what they had.
        """

    def troubles(self) -> Mapping[str, str]:
        """Return which machines of the cluster are not well, and why. Quick: it asks etcd alone."""


class Machines(Looks, Protocol):
    """The same, changed: by name.

    All of `prepare` to `undrain` are idempotent, may be cut off at any moment, and raise ArgosyError when they fail;
    they check the lock before each effect. Several machines are worked on at the same time.
    """

    def prepare(self, name: str, release: Release) -> None:
        """Bring the release and its images to the machine; nothing there is stopped or started."""

    def drain(self, name: str) -> None:
        """Take the machine out of service and wait until nobody sends anything there.

        When that fails, a machine that was in service is in service again.
        """

    def install(self, name: str, release: Release) -> None:
        """Put the release on the machine and wait for the installer's result."""

    def check(self, name: str, release: Release) -> None:
        """Wait until the machine is up, runs the release, and passes every check, or raise Unhealthy."""

    def undrain(self, name: str) -> None:
        """Put the machine back in service."""

    def clean_up(self, name: str, keep: Sequence[Release]) -> None:
        """Remove the images on the machine that neither a release of `keep` nor a container uses."""

    def cancel(self) -> None:
        """End the work that goes on, soon."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who holds the lock, with all that they work with.

    `newest`: the newest release there is; `closed`: why no batch may begin at a moment, empty when one may;
    `max_parallel`: how many machines are worked on at once.
    """

    store: Store
    lock: ClusterLock
    machines: Machines
    events: Events
    clock: Clock
    newest: Callable[[], Release]
    closed: Callable[[datetime], str]
    max_parallel: int = 32

    @property
    def name(self) -> str:
        return f"{self.lock.holder.holder}@{self.lock.holder.host}"
