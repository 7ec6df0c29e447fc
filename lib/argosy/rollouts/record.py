"""Pure. The record of a rollout, in etcd under /cluster/rollout and, when it has ended, /cluster/rollouts/ID.

{"id": "20260131T120000Z-1f3a", "release": {"version": "0.1.3", "image": "10.0.0.5:5000/air/installer@sha256:..."},
 "state": "running|stopped|rolling-back|done|rolled-back|aborted", "reason": "", "back": false, "whole": true,
 "options": {"batch": "1", "canary": true, "soak_seconds": 30, "rollback": false},
 "order": [["air-01"], ["air-02", "air-03"]], "started": "2026-01-31T12:00:00.000Z", "by": "alice@build-1",
 "machines": {"air-01": {"step": STEP, "since": "2026-01-31T12:00:05.120Z", "from": {"version", "image"},
                         "reason": "", "seconds": {"preparing": 3.1, "draining": 5.0}}}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from argosy.cluster.change import ChangeRecord, State
from argosy.cluster.release import Release
from argosy.cluster.stored import Moment


class RolloutStep(StrEnum):
    """Where a machine is: about to do this, or doing it. `PREPARED`: its images are there, nothing was stopped yet.
    `DONE`: on the new release and in service. `FAILED`: in a step, or after it was done; perhaps out of service."""

    PENDING = "pending"
    PREPARING = "preparing"
    PREPARED = "prepared"
    DRAINING = "draining"
    INSTALLING = "installing"
    CHECKING = "checking"
    UNDRAINING = "undraining"
    DONE = "done"
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"


UNDER_WAY = (RolloutStep.DRAINING, RolloutStep.INSTALLING, RolloutStep.CHECKING, RolloutStep.UNDRAINING)
"""In this order, each until it is done; a machine in one of them takes no requests."""
WORK = (RolloutStep.PREPARING, *UNDER_WAY)


@dataclass(frozen=True, slots=True)
class Options:
    """`batch`: `2` or `25%`. `rollback`: put all machines back when one fails."""

    batch: str = "1"
    canary: bool = False
    soak_seconds: float = 0
    rollback: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """One machine. `origin`: the release that it had; `touched`: this rollout has begun to change it (pulling images is
    no change); `seconds`: what each step took, that is over."""

    step: RolloutStep
    since: Moment
    origin: Annotated[Release, Field(alias="from")]
    touched: bool = False
    reason: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def installed(self) -> bool:
        """Whether an install has begun; until then the machine is as it was, at most drained."""
        return self.step in (
            RolloutStep.INSTALLING,
            RolloutStep.CHECKING,
            RolloutStep.UNDRAINING,
            RolloutStep.DONE,
        ) or (RolloutStep.INSTALLING in self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout(ChangeRecord):
    """`order`: the batches, and the order of `machines`. `back`: it puts machines back on their old releases.

    `whole`: of all machines, not of a chosen one. `reason`: why it was stopped or aborted. `by`: who resumed it last.
    """

    WHAT: ClassVar[str] = "a rollout"

    release: Release
    whole: bool = True
    options: Options
    order: tuple[tuple[str, ...], ...]
    machines: Mapping[str, Progress]

    @property
    def title(self) -> str:
        return f"rollout {self.id} to release {self.release}"

    @property
    def names(self) -> Iterator[str]:
        """The machines in their order."""
        return (name for batch in self.order for name in batch)

    def target(self, name: str) -> Release:
        """Return the release that the machine must have."""
        return self.machines[name].origin if self.back else self.release

    def at(self, *steps: RolloutStep) -> list[str]:
        """Return the machines that are at one of `steps`, in their order."""
        return [name for name in self.names if self.machines[name].step in steps]

    @property
    def unfinished(self) -> list[str]:
        """The machines that something is left to do at, in their order."""
        if self.back:
            return [
                name
                for name in self.names
                if self.machines[name].step not in (RolloutStep.PENDING, RolloutStep.ROLLED_BACK)
            ]
        return [name for name in self.names if self.machines[name].step is not RolloutStep.DONE]

    def releases_run(self) -> Iterator[Release]:
        """Yield the releases that machines had before it, and its own once it was everywhere."""
        yield from (progress.origin for progress in self.machines.values())
        if self.state is State.DONE:
            yield self.release

    @property
    def drained_only(self) -> list[str]:
        """The machines that are being drained and are otherwise as they were before."""
        return [name for name in self.at(RolloutStep.DRAINING) if not self.machines[name].installed]


def parse_rollout(text: str) -> Rollout:
    """Return the record of a value in etcd, its machines in the order of the batches. Raises ValueError."""
    rollout = Rollout.parse(text)
    if sorted(rollout.names) != sorted(rollout.machines):
        raise ValueError("not the record of a rollout: its order and its machines differ")
    return replace(rollout, machines={name: rollout.machines[name] for name in rollout.names})
