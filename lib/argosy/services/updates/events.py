"""Pure. What an update of a scheduled service tells while it goes, beside what all work tells
(argosy.cluster.events).

{"event": "step-done", "at": "2026-01-31T12:00:05.120Z", "service": "web", "step": "starting", "seconds": 5.0}
"""

from __future__ import annotations

from dataclasses import dataclass

from argosy.cluster.change import State
from argosy.cluster.events import Event
from argosy.services.updates.plan import change
from argosy.services.updates.record import Update, UpdateStep

_DOING = {
    UpdateStep.STARTING: "starting the new instances",
    UpdateStep.SHARING: "giving the new instances their share of the requests",
    UpdateStep.SOAKING: "watching the new instances",
    UpdateStep.OPENING: "giving the new instances all requests that they can take",
    UpdateStep.CLOSING: "giving the old instances no more requests",
    UpdateStep.EMPTYING: "waiting for the connections to the old instances to end",
    UpdateStep.REMOVING: "removing the old instances",
    UpdateStep.RESTARTING: "starting the old instances again",
    UpdateStep.REOPENING: "giving the old instances their requests again",
    UpdateStep.WITHDRAWING: "giving the new instances no more requests",
    UpdateStep.LEAVING: "waiting for the connections to the new instances to end",
    UpdateStep.DISCARDING: "removing the new instances",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(Event):
    """It begins, or is resumed."""

    update: Update
    resumed: bool = False

    @property
    def text(self) -> str:
        update = self.update
        verb = "resumes" if self.resumed else "begins"
        if update.back:
            return f"update {update.id} {verb}: back to generation {update.old.number}, since {update.reason}"
        return f"update {update.id} {verb}: generation {update.old.number} -> {update.new.number}: {change(update)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingToDo(Event):
    generation: int
    version: str

    @property
    def text(self) -> str:
        return f"generation {self.generation} ({self.version}) is just that: nothing to do"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBegan(Event):
    step: UpdateStep

    @property
    def text(self) -> str:
        return f"{_DOING[self.step]} ..."


@dataclass(frozen=True, slots=True, kw_only=True)
class GoingBack(Event):
    """The old instances continue to serve, and the new ones go."""

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
