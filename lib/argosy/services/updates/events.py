"""What an update of a scheduled service tells while it goes, beside what all work tells
(argosy.events). Pure.

{"event": "step-done", "at": "2026-01-31T12:00:05.120Z", "service": "web", "step": "starting", "seconds": 5.0}
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from argosy.events import Event
from argosy.update_plan import change
from argosy.update_record import State, Step, Update

_DOING = {
    Step.STARTING: "starting the new instances",
    Step.SHARING: "giving the new instances their share of the requests",
    Step.SOAKING: "watching the new instances",
    Step.OPENING: "giving the new instances all requests that they can take",
    Step.CLOSING: "giving the old instances no more requests",
    Step.EMPTYING: "waiting for the connections to the old instances to end",
    Step.REMOVING: "removing the old instances",
    Step.RESTARTING: "starting the old instances again",
    Step.REOPENING: "giving the old instances their requests again",
    Step.WITHDRAWING: "giving the new instances no more requests",
    Step.LEAVING: "waiting for the connections to the new instances to end",
    Step.DISCARDING: "removing the new instances",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(Event):
    """It begins, or goes on after somebody stopped."""

    update: Update
    resumed: bool = False

    @property
    def text(self) -> str:
        it = self.update
        verb = "goes on" if self.resumed else "begins"
        if it.back:
            return f"update {it.id} {verb}: back to generation {it.old.number}, since {it.reason}"
        return f"update {it.id} {verb}: generation {it.old.number} -> {it.new.number}: {change(it)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingToDo(Event):
    generation: int
    version: str

    @property
    def text(self) -> str:
        return f"generation {self.generation} ({self.version}) is just that: nothing to do"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBegan(Event):
    step: Step

    @property
    def text(self) -> str:
        return f"{_DOING[self.step]} ..."


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone(Event):
    step: Step
    seconds: float

    @property
    def text(self) -> str:
        return f"{self.step} took {self.seconds:.1f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaking(Event):
    until: datetime

    @property
    def text(self) -> str:
        return f"watching the new instances for {max(0.0, (self.until - self.at).total_seconds()):.0f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class GoingBack(Event):
    """The old instances serve on, and the new ones go."""

    reason: str

    @property
    def text(self) -> str:
        return "going back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Event):
    """It is over, or stopped for now. `state`: done, rolled-back or stopped; `generation`: the one in charge. `reason`:
    why it is stopped, or went back."""

    state: State
    generation: int
    seconds: float
    reason: str = ""

    @property
    def text(self) -> str:
        words = {
            State.DONE: f"generation {self.generation} serves",
            State.ROLLED_BACK: f"generation {self.generation} serves as before",
        }
        why = f": {self.reason}" if self.reason and not self.state.ended else ""
        return f"{words.get(self.state, str(self.state))} ({self.seconds:.0f} s){why}"
