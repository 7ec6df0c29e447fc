"""Pure. What work on the cluster tells while it goes: a value for each thing that happens, as a line and as JSON.

    {"event": "said", "at": "2026-01-31T12:00:05.120Z", "machine": "air-01", "message": "pulls 3 images"}

`event` and `at` are in all of them, `machine` and `service` where there is one; the rest is what the class says."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from argosy.cluster.stored import JsonValue, Moment
from argosy.report import Report

if TYPE_CHECKING:
    from argosy.clock import Clock

CLUSTER = "cluster"
"""The subject of what concerns no single machine and no service."""
_ABOUT = ("machine", "service", "machines", "next")
"""What stands in an event where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(JsonValue):
    """`at`: when. `machine`, `service`: what it concerns; both empty for the cluster as a whole."""

    at: Moment
    machine: str = ""
    service: str = ""

    @property
    def subject(self) -> str:
        return self.machine or self.service or CLUSTER

    @property
    def text(self) -> str:
        """What there is to say of it, on one line; empty for nothing."""
        return ""

    def to_json(self) -> dict[str, Any]:
        name = re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()
        told = JsonValue.to_json(self)
        return {"event": name, **{key: value for key, value in told.items() if value or key not in _ABOUT}}


Events = Callable[[Event], None]
"""Where everything that happens is told. May be called by several threads."""


def reporting(events: Events, clock: Clock) -> Report:
    """Return what tells a line of progress among the events."""
    return lambda subject, message: events(Said(at=clock.now(), machine=subject, message=message))


@dataclass(frozen=True, slots=True, kw_only=True)
class Said(Event):
    """Something worth knowing, in words."""

    message: str

    @property
    def text(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked(Event):
    """One check of a machine, an instance (`check`: its short name) or all of them, whenever its result is another than
    before. `reason`: empty when it passes."""

    check: str
    reason: str = ""

    @property
    def text(self) -> str:
        return f"{self.check}: {self.reason}" if self.reason else f"{self.check}: passes"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone(Event):
    """`next`: where the machine is now, in a rollout."""

    step: str
    next: str = ""
    seconds: float

    @property
    def text(self) -> str:
        ending = {"done": "; done", "rolled-back": "; back on its old release"}.get(self.next, "")
        return f"{self.step} took {self.seconds:.1f} s{ending}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaking(Event):
    """`machines`, or the new instances of the service, are watched until then."""

    machines: tuple[str, ...] = ()
    until: Moment

    @property
    def text(self) -> str:
        seconds = max(0.0, (self.until - self.at).total_seconds())
        return f"watching {', '.join(self.machines) or 'the new instances'} for {seconds:.0f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed(Event):
    step: str
    reason: str

    @property
    def text(self) -> str:
        return f"{self.step} failed: {self.reason}"
