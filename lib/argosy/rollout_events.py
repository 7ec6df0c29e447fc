"""What a rollout tells while it goes: one value for each thing that happens, as a line for people and as JSON. Pure.

    {"event": "step-done", "at": "2026-01-31T12:00:05.120Z", "machine": "air-01", "step": "draining", "seconds": 5.0}

`event` and `at` are in all of them; the rest is what the class says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from argosy.rollout_record import Rollout, Step, stamp
from argosy.update_record import Update

CLUSTER = "cluster"
"""The subject of what concerns no single machine."""
_DOING = {
    Step.PREPARING: "pulling the images",
    Step.DRAINING: "draining",
    Step.INSTALLING: "installing",
    Step.CHECKING: "checking",
    Step.UNDRAINING: "going back into service",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`at`: when. `machine`: whom it concerns; empty for the cluster."""

    at: datetime
    machine: str = ""

    @property
    def subject(self) -> str:
        return self.machine or CLUSTER

    @property
    def text(self) -> str:
        """What there is to say of it, on one line; empty for nothing."""
        return ""

    def to_json(self) -> dict[str, Any]:
        name = re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()
        told = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("at", "machine")}
        where = {"machine": self.machine} if self.machine else {}
        return {"event": name, "at": stamp(self.at), **where, **{key: _json(value) for key, value in told.items()}}


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
class Said(Event):
    """Something worth knowing, in words."""

    message: str

    @property
    def text(self) -> str:
        return self.message


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
class Checked(Event):
    """One check of a machine, whenever its result is another than before. `reason`: empty when it passes."""

    check: str
    reason: str = ""

    @property
    def text(self) -> str:
        return f"{self.check}: {self.reason}" if self.reason else f"{self.check}: passes"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed(Event):
    step: Step
    reason: str

    @property
    def text(self) -> str:
        return f"{self.step} failed: {self.reason}"


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


def _json(value: object) -> object:
    if isinstance(value, (Rollout, Update)):
        return value.to_json()
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, StrEnum) else value
