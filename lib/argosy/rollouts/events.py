"""Pure. What a rollout tells while it goes, beside what all work tells (argosy.cluster.events).

{"event": "step-done", "at": "2026-01-31T12:00:05.120Z", "machine": "air-01", "step": "draining", "seconds": 5.0}
"""

from __future__ import annotations

from dataclasses import dataclass

from argosy.cluster.change import State
from argosy.cluster.events import Event
from argosy.rollouts.record import Rollout, RolloutStep

_DOING = {
    RolloutStep.PREPARING: "pulling the images",
    RolloutStep.DRAINING: "draining",
    RolloutStep.INSTALLING: "installing",
    RolloutStep.CHECKING: "checking",
    RolloutStep.UNDRAINING: "going back into service",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(Event):
    """It begins, or is resumed."""

    rollout: Rollout
    resumed: bool = False

    @property
    def text(self) -> str:
        rollout = self.rollout
        what = f"putting back what had release {rollout.release}" if rollout.back else f"to release {rollout.release}"
        batches = f"{len(rollout.machines)} machines in {len(rollout.order)} batches"
        return f"rollout {rollout.id} {'resumes' if self.resumed else 'begins'}: {what}, {batches}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingToDo(Event):
    release: str

    @property
    def text(self) -> str:
        return f"release {self.release} is everywhere already: nothing to do"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBegan(Event):
    """`release`: that the machine will have in the end."""

    step: RolloutStep
    release: str

    @property
    def text(self) -> str:
        release = f" release {self.release}" if self.step is RolloutStep.INSTALLING else ""
        return f"{_DOING[self.step]}{release} ..."


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingBack(Event):
    reason: str

    @property
    def text(self) -> str:
        return f"rolling back: {self.reason}" if self.reason else "rolling back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Event):
    """It is over, or stopped for now. `state`: done, rolled-back, stopped or aborted."""

    state: State
    release: str
    seconds: float
    reason: str = ""

    @property
    def text(self) -> str:
        words = {
            State.DONE: f"release {self.release} is installed",
            State.ROLLED_BACK: "all machines are back on their old releases",
        }
        return f"{words.get(self.state, self.state)} ({self.seconds:.0f} s){f': {self.reason}' if self.reason else ''}"
