"""What a rollout tells while it goes, beside what all work tells (argosy.events). Pure.

{"event": "step-done", "at": "2026-01-31T12:00:05.120Z", "machine": "air-01", "step": "draining", "seconds": 5.0}
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from argosy.events import Event
from argosy.rollout_record import Rollout, Step

_DOING = {
    Step.PREPARING: "pulling the images",
    Step.DRAINING: "draining",
    Step.INSTALLING: "installing",
    Step.CHECKING: "checking",
    Step.UNDRAINING: "going back into service",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(Event):
    """It begins, or goes on after somebody stopped."""

    rollout: Rollout
    resumed: bool = False

    @property
    def text(self) -> str:
        it = self.rollout
        what = f"putting back what had release {it.release}" if it.back else f"to release {it.release}"
        batches = f"{len(it.machines)} machines in {len(it.order)} batches"
        return f"rollout {it.id} {'goes on' if self.resumed else 'begins'}: {what}, {batches}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingToDo(Event):
    release: str

    @property
    def text(self) -> str:
        return f"release {self.release} is everywhere already: nothing to do"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBegan(Event):
    """`release`: that the machine shall have in the end."""

    step: Step
    release: str

    @property
    def text(self) -> str:
        release = f" release {self.release}" if self.step is Step.INSTALLING else ""
        return f"{_DOING[self.step]}{release} ..."


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone(Event):
    """`next`: where the machine is now."""

    step: Step
    next: Step
    seconds: float

    @property
    def text(self) -> str:
        ending = {Step.DONE: "; done", Step.ROLLED_BACK: "; back on its old release"}.get(self.next, "")
        return f"{self.step} took {self.seconds:.1f} s{ending}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaking(Event):
    """`machines` are watched until then."""

    machines: tuple[str, ...]
    until: datetime

    @property
    def text(self) -> str:
        seconds = max(0.0, (self.until - self.at).total_seconds())
        return f"watching {', '.join(self.machines)} for {seconds:.0f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingBack(Event):
    reason: str

    @property
    def text(self) -> str:
        return f"rolling back: {self.reason}" if self.reason else "rolling back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Event):
    """It is over, or stopped for now. `state`: done, rolled-back, stopped or aborted."""

    state: str
    release: str
    seconds: float
    reason: str = ""

    @property
    def text(self) -> str:
        words = {
            "done": f"release {self.release} is installed",
            "rolled-back": "all machines are back on their old releases",
        }
        return f"{words.get(self.state, self.state)} ({self.seconds:.0f} s){f': {self.reason}' if self.reason else ''}"
