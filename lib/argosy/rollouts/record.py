"""The record of a rollout, in etcd under /cluster/rollout and, when it has ended, /cluster/rollouts/ID. Pure.

{"id": "20260131T120000Z-1f3a", "release": {"version": "0.1.3", "image": "10.0.0.5:5000/air/installer@sha256:..."},
 "state": "running|stopped|rolling-back|done|rolled-back|aborted", "reason": "", "back": false, "whole": true,
 "options": {"batch": "1", "canary": true, "soak_seconds": 30, "rollback": false},
 "order": [["air-01"], ["air-02", "air-03"]], "started": "2026-01-31T12:00:00.000Z", "by": "alice@build-1",
 "machines": {"air-01": {"step": STEP, "since": "2026-01-31T12:00:05.120Z", "from": {"version", "image"},
                         "reason": "", "seconds": {"preparing": 3.1, "draining": 5.0}}}}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class Step(StrEnum):
    """Where a machine is: about to do this, or at it. `PREPARED`: its images are there, nothing was stopped yet.
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


UNDER_WAY = (Step.DRAINING, Step.INSTALLING, Step.CHECKING, Step.UNDRAINING)
"""In this order, each until it is done; a machine in one of them takes no requests."""
WORK = (Step.PREPARING, *UNDER_WAY)


class State(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    ROLLING_BACK = "rolling-back"
    DONE = "done"
    ROLLED_BACK = "rolled-back"
    ABORTED = "aborted"

    @property
    def ended(self) -> bool:
        return self in (State.DONE, State.ROLLED_BACK, State.ABORTED)


@dataclass(frozen=True, slots=True)
class Release:
    """A version of the installer image; `image`: the reference by which machines pull it, empty when not known."""

    version: str
    image: str = ""

    def __str__(self) -> str:
        return self.version or "nothing"


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

    step: Step
    since: datetime
    origin: Release
    touched: bool = False
    reason: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def installed(self) -> bool:
        """Whether an install has begun; until then the machine is as it was, at most drained."""
        return self.step in (Step.INSTALLING, Step.CHECKING, Step.UNDRAINING, Step.DONE) or (
            Step.INSTALLING in self.seconds
        )


@dataclass(frozen=True, slots=True)
class Rollout:
    """`order`: the batches, and the order of `machines`. `back`: it puts machines back on their old releases.

    `whole`: of all machines, not of a chosen one. `reason`: why it was stopped or aborted. `by`: who went on with it.
    """

    id: str
    release: Release
    state: State
    options: Options
    machines: Mapping[str, Progress]
    order: tuple[tuple[str, ...], ...]
    started: datetime
    by: str
    back: bool = False
    whole: bool = True
    reason: str = ""

    @property
    def names(self) -> Iterator[str]:
        """The machines in their order."""
        return (name for batch in self.order for name in batch)

    def target(self, name: str) -> Release:
        """Return the release that the machine shall have."""
        return self.machines[name].origin if self.back else self.release

    def at(self, *steps: Step) -> list[str]:
        """Return the machines that are at one of `steps`, in their order."""
        return [name for name in self.names if self.machines[name].step in steps]

    @property
    def unfinished(self) -> list[str]:
        """The machines that something is left to do at, in their order."""
        if self.back:
            return [name for name in self.names if self.machines[name].step not in (Step.PENDING, Step.ROLLED_BACK)]
        return [name for name in self.names if self.machines[name].step is not Step.DONE]

    @property
    def drained_only(self) -> list[str]:
        """The machines that are being drained and are otherwise as they were before."""
        return [name for name in self.at(Step.DRAINING) if not self.machines[name].installed]

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "release": _release_json(self.release),
            "state": str(self.state),
            "reason": self.reason,
            "back": self.back,
            "whole": self.whole,
            "options": {
                "batch": self.options.batch,
                "canary": self.options.canary,
                "soak_seconds": self.options.soak_seconds,
                "rollback": self.options.rollback,
            },
            "order": [list(batch) for batch in self.order],
            "started": stamp(self.started),
            "by": self.by,
            "machines": {name: _progress_json(it) for name, it in self.machines.items()},
        }

    def text(self) -> str:
        """Return the record as it is kept: JSON on one line."""
        return json.dumps(self.to_json(), separators=(",", ":"))


def parse_rollout(text: str) -> Rollout:
    """Return the record of a value in etcd. Raises ValueError, which says what is wrong, for one that is none."""
    try:
        found = json.loads(text)
        options = found["options"]
        rollout = Rollout(
            id=str(found["id"]),
            release=_release(found["release"]),
            state=State(found["state"]),
            options=Options(
                str(options["batch"]),
                bool(options["canary"]),
                float(options["soak_seconds"]),
                bool(options["rollback"]),
            ),
            machines={str(name): _progress(it) for name, it in found["machines"].items()},
            order=tuple(tuple(str(name) for name in batch) for batch in found["order"]),
            started=parse_stamp(found["started"]),
            by=str(found["by"]),
            back=bool(found.get("back")),
            whole=bool(found.get("whole", True)),
            reason=str(found.get("reason", "")),
        )
    except KeyError as error:
        raise ValueError(f"not the record of a rollout: it lacks {error}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"not the record of a rollout: {error}") from None
    if sorted(rollout.names) != sorted(rollout.machines):
        raise ValueError("not the record of a rollout: its order and its machines differ")
    return replace(rollout, machines={name: rollout.machines[name] for name in rollout.names})


def stamp(moment: datetime) -> str:
    """Return a moment as text, in UTC: 2026-01-31T12:00:00.120Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_stamp(text: str) -> datetime:
    """Return the moment of a text. Raises ValueError for one that is none, or has no zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)


def _release(found: Mapping[str, Any]) -> Release:
    return Release(str(found["version"]), str(found["image"]))


def _release_json(release: Release) -> dict[str, str]:
    return {"version": release.version, "image": release.image}


def _progress(found: Mapping[str, Any]) -> Progress:
    return Progress(
        Step(found["step"]),
        parse_stamp(found["since"]),
        _release(found["from"]),
        bool(found["touched"]),
        str(found.get("reason", "")),
        {str(step): float(seconds) for step, seconds in (found.get("seconds") or {}).items()},
    )


def _progress_json(progress: Progress) -> dict[str, Any]:
    return {
        "step": str(progress.step),
        "since": stamp(progress.since),
        "from": _release_json(progress.origin),
        "touched": progress.touched,
        "reason": progress.reason,
        "seconds": dict(progress.seconds),
    }
