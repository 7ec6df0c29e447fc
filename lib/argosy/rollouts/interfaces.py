"""What a rollout's driver needs of the outside; the tests' simulator stands behind the same interfaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from argosy.cluster.driver import LockHolder
from argosy.cluster.release import Release
from argosy.rollouts.plan import Findings


class Preflight(Protocol):
    """Looks at the machines of a cluster, and changes nothing."""

    def names(self) -> Sequence[str]:
        """Return all machines of the cluster, in order."""

    def inspect(self, names: Sequence[str], release: Release | None) -> Findings:
        """Look at `names` before anything is touched. Raises Refused or HostsFailed naming all that stands against it.

        `release`: what will be installed; None when machines are put back on what they had.
        """

    def troubles(self) -> Mapping[str, str]:
        """Return which machines of the cluster are not well, and why. Quick: it asks etcd alone."""


class Machines(Preflight, Protocol):
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
        """End the work that is under way, soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator(LockHolder):
    """Somebody who rolls a release out, with all that they work with.

    `newest`: the newest release there is; `closed`: why no batch may begin at a moment, empty when one may;
    `max_parallel`: how many machines are worked on at once.
    """

    machines: Machines
    newest: Callable[[], Release]
    closed: Callable[[datetime], str]
    max_parallel: int = 32
