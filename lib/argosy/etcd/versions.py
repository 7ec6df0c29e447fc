"""Pure. Which version of etcd may run beside others, or in their place.

etcd's own rules, which no force can bend (https://etcd.io/docs/v3.5/upgrades/upgrade_3_5/, "Mixed versions" and
"Rollback"): a cluster goes from one minor version to the next. While its members differ it speaks the lowest of them,
and may still go back to that. When all have the higher one there is no way back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from argosy.errors import Refused

_NUMBERS = re.compile(r"(?:etcd Version: )?(\d+)\.(\d+)\.(\d+)(?![\d.])")


class EtcdVersion(NamedTuple):
    major: int
    minor: int
    patch: int

    @property
    def series(self) -> Series:
        return Series(self.major, self.minor)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


class Series(NamedTuple):
    """Major and minor: what a cluster speaks."""

    major: int
    minor: int

    @property
    def next(self) -> Series:
        return Series(self.major, self.minor + 1)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


LEAST_BEFORE = {Series(3, 6): EtcdVersion(3, 5, 26)}
"""What every member must have at least before that series comes
(https://etcd.io/docs/v3.6/upgrades/upgrade_3_6/, https://github.com/etcd-io/etcd/issues/19557)."""


@dataclass(frozen=True, slots=True)
class RunningEtcd:
    """A member, and its machine. `version`: what it tells of itself, empty while it does not answer; `runs`: the digest
    of the image that its container runs, `chosen`: of the one that it is started with the next time."""

    machine: str
    version: str
    runs: str
    chosen: str
    healthy: bool = True
    learner: bool = False
    leader: bool = False


def parse_etcd_version(text: str) -> EtcdVersion | None:
    """Return the version that a member tells, or `etcd --version` prints; None when that is none."""
    found = _NUMBERS.match(text)
    return EtcdVersion(*map(int, found.groups())) if found else None


def refusal(running: Mapping[str, str], new: EtcdVersion) -> str:
    """Return why etcd `new` may not come to members that run others; empty when it may.

    `running`: machine -> the version that its member tells.
    """
    told = {name: parse_etcd_version(text) for name, text in running.items()}
    silent = [name for name, version in told.items() if version is None]
    if silent:
        return f"{', '.join(silent)}: which etcd runs there could not be known; bring it back, or remove it, first"
    known = {name: version for name, version in told.items() if version is not None}
    if not known:
        return ""
    lowest = min(version.series for version in known.values())
    if new.series in (lowest, lowest.next):
        return _too_early(known, new)
    those = [name for name, version in known.items() if version.series == lowest]
    if new.series < lowest:
        return (
            f"etcd {new} is older than what the cluster speaks, which is {lowest} on {', '.join(those)}, and etcd has "
            f"no way back: take an image that has etcd {lowest} or {lowest.next}"
        )
    return (
        f"etcd {new} would skip a minor version: {', '.join(those)} {'has' if len(those) == 1 else 'have'} {lowest}. "
        f"First bring every member to {lowest.next}: inv cluster.upgrade-etcd with an image that has it"
    )


def _too_early(running: Mapping[str, EtcdVersion], new: EtcdVersion) -> str:
    """Return why members must have a later patch first; empty when they have."""
    least = LEAST_BEFORE.get(new.series)
    early = [name for name, version in running.items() if least and version < least]
    if not early:
        return ""
    return (
        f"etcd {new} may follow {least} or later only, for before that a promoted learner could become one again: "
        f"{', '.join(early)} {'has' if len(early) == 1 else 'have'} an older one. First bring every member to {least} "
        "or later: inv cluster.upgrade-etcd with an image that has it"
    )


def plan_upgrade(members: Sequence[RunningEtcd], image: str, new: EtcdVersion | None) -> tuple[str, ...]:
    """Return the machines whose etcd has to be restarted with the image of digest `image`, in this order.

    Who leads goes last. All have to be healthy to begin with; where that has begun, one that has not come back goes
    first. `new`: what the image holds, None where nobody tells. Raises Refused when etcd would not bear it.
    """
    left = [member for member in members if (member.runs, member.chosen) != (image, image)]
    if not left:
        return ()
    learners = [member.machine for member in members if member.learner]
    if learners:
        raise Refused(f"{', '.join(learners)}: its etcd has no vote yet: wait until it has joined, or take it back")
    unwell = [member for member in members if not member.healthy]
    begun = [member for member in left if member.chosen == image or len({other.chosen for other in members}) > 1]
    if len(unwell) > 1 or any(member not in begun for member in unwell):
        names = ", ".join(member.machine for member in unwell)
        raise Refused(f"{names}: its etcd member is not well: bring it back before etcd is upgraded anywhere")
    running = {member.machine: member.version for member in members if member.healthy}
    if new is not None and (reason := refusal(running, new)):
        raise Refused(reason)
    return tuple(member.machine for member in sorted(left, key=lambda member: (member.healthy, member.leader)))
