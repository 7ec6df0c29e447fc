"""Pure. What all recorded changes of a cluster have in common, be they rollouts or updates: states, and what happens
to each of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from argosy.cluster.stored import Moment, StoredRecord


class State(StrEnum):
    """`STOPPED`: nobody works on it; the same command resumes. `ROLLING_BACK`: of a rollout, `GOING_BACK`: of an
    update."""

    RUNNING = "running"
    STOPPED = "stopped"
    ROLLING_BACK = "rolling-back"
    GOING_BACK = "going-back"
    DONE = "done"
    ROLLED_BACK = "rolled-back"
    ABORTED = "aborted"

    @property
    def ended(self) -> bool:
        return self in (State.DONE, State.ROLLED_BACK, State.ABORTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRecord(StoredRecord):
    """A change that is made step by step, as it is recorded. `back`: it undoes what it has done; `reason`: why it was
    stopped, went back or was given up; `by`: who resumed it last."""

    id: str
    state: State
    back: bool = False
    reason: str = ""
    started: Moment
    by: str

    @property
    def title(self) -> str:
        """What it changes, for the audit trail."""
        raise NotImplementedError

    @property
    def why(self) -> str:
        """Why it has not come to its end, for the audit trail."""
        return self.reason


@dataclass(frozen=True, slots=True)
class Finish:
    """What to do next: close the record."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Has happened: nobody works on it any more."""

    reason: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """Has happened: somebody works on it again; what failed is tried again."""

    by: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Has happened: nothing is left to do."""


def seconds_between(since: datetime, now: datetime) -> float:
    """Return how long a step took, to the millisecond. The clock of who began it may be ahead: then none."""
    return math.floor(max(0.0, (now - since).total_seconds()) * 1000) / 1000
