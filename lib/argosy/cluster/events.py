"""What work on the cluster tells while it goes: a value for each thing that happens, as a line for people and as JSON.

    {"event": "said", "at": "2026-01-31T12:00:05.120Z", "machine": "air-01", "message": "pulls 3 images"}

`event` and `at` are in all of them, `machine` and `service` where there is one; the rest is what the class says. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from argosy.rollout_record import stamp

CLUSTER = "cluster"
"""The subject of what concerns no single machine and no service."""
_ABOUT = ("machine", "service")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`at`: when. `machine`, `service`: what it concerns; both empty for the cluster as a whole."""

    at: datetime
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
        about = {key: value for key in _ABOUT if (value := getattr(self, key))}
        told = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("at", *_ABOUT)}
        return {"event": name, "at": stamp(self.at), **about, **{key: _json(value) for key, value in told.items()}}


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
class StepFailed(Event):
    step: StrEnum
    reason: str

    @property
    def text(self) -> str:
        return f"{self.step} failed: {self.reason}"


@runtime_checkable
class _Record(Protocol):
    def to_json(self) -> dict[str, Any]: ...


def _json(value: object) -> object:
    if isinstance(value, _Record):
        return value.to_json()
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, StrEnum) else value
