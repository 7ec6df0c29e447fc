"""The record of an update of a scheduled service, in etcd under /cluster/updates/NAME and, when it has ended,
/cluster/update-history/NAME/ID. Pure.

{"id": "20260131T120000Z-1f3a", "name": "web", "step": STEP, "state": "running|stopped|going-back|done|rolled-back",
 "reached": STEP, "back": false, "reason": "", "trouble": "", "old": GENERATION, "new": GENERATION,
 "replicas": 4, "before": 4, "stopped": false,
 "options": {"order": "start-first", "share": 0.1, "soak_seconds": 30, "rollback": false},
 "since": "2026-01-31T12:00:05.120Z", "started": "2026-01-31T12:00:00.000Z", "by": "alice@build-1",
 "seconds": {"starting": 3.1}}

GENERATION is as in the service's own record (argosy.scheduled_record): {"generation", "definition", "image"}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from argosy.rollout_record import parse_stamp, stamp
from argosy.scheduled_record import Generation, generation_json, parse_generation


class Step(StrEnum):
    """What an update is at, or about to do. First the way on, then the way back; ENDING: all is done but the record."""

    STARTING = "starting"
    SHARING = "sharing"
    SOAKING = "soaking"
    OPENING = "opening"
    CLOSING = "closing"
    EMPTYING = "emptying"
    REMOVING = "removing"

    RESTARTING = "restarting"
    REOPENING = "reopening"
    WITHDRAWING = "withdrawing"
    LEAVING = "leaving"
    DISCARDING = "discarding"

    ENDING = "ending"


class State(StrEnum):
    """`STOPPED`: nobody is at it; the same again goes on."""

    RUNNING = "running"
    STOPPED = "stopped"
    GOING_BACK = "going-back"
    DONE = "done"
    ROLLED_BACK = "rolled-back"

    @property
    def ended(self) -> bool:
        return self in (State.DONE, State.ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class Options:
    """`stop_first`: the old instances are gone before the new ones start. `share`: of the requests that the new ones
    get at first, 0 for all at once; `soak_seconds`: for how long. `rollback`: it was asked for as a rollback."""

    stop_first: bool = False
    share: float = 0
    soak_seconds: float = 0
    rollback: bool = False


@dataclass(frozen=True, slots=True)
class Update:
    """`replicas`: how many instances the new generation has, None for a global service; `before`: the old one.

    `reached`: the furthest step on the way on that was begun. `back`: it puts the old generation in charge again, and
    `reason` says why; `trouble`: why it is stopped. `by`: who went on with it. `seconds`: what each step took, that is
    over.
    """

    id: str
    name: str
    old: Generation
    new: Generation
    replicas: int | None
    before: int | None
    options: Options
    step: Step
    reached: Step
    since: datetime
    started: datetime
    by: str
    stopped: bool = False
    state: State = State.RUNNING
    back: bool = False
    reason: str = ""
    trouble: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def wanted(self) -> Generation:
        """The generation that is to be in charge in the end."""
        return self.old if self.back else self.new

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "step": str(self.step),
            "state": str(self.state),
            "reached": str(self.reached),
            "back": self.back,
            "reason": self.reason,
            "trouble": self.trouble,
            "old": generation_json(self.old),
            "new": generation_json(self.new),
            "replicas": self.replicas,
            "before": self.before,
            "stopped": self.stopped,
            "options": {
                "order": "stop-first" if self.options.stop_first else "start-first",
                "share": self.options.share,
                "soak_seconds": self.options.soak_seconds,
                "rollback": self.options.rollback,
            },
            "since": stamp(self.since),
            "started": stamp(self.started),
            "by": self.by,
            "seconds": dict(self.seconds),
        }

    def text(self) -> str:
        """Return the record as it is kept: JSON on one line."""
        return json.dumps(self.to_json(), separators=(",", ":"))


def parse_update(text: str) -> Update:
    """Return the record of a value in etcd. Raises ValueError, which says what is wrong, for one that is none."""
    try:
        found = json.loads(text)
        options = found["options"]
        return Update(
            id=str(found["id"]),
            name=str(found["name"]),
            old=parse_generation(found["old"]),
            new=parse_generation(found["new"]),
            replicas=_count(found["replicas"]),
            before=_count(found["before"]),
            options=Options(
                options["order"] == "stop-first",
                float(options["share"]),
                float(options["soak_seconds"]),
                bool(options["rollback"]),
            ),
            step=Step(found["step"]),
            reached=Step(found["reached"]),
            since=parse_stamp(found["since"]),
            started=parse_stamp(found["started"]),
            by=str(found["by"]),
            stopped=bool(found["stopped"]),
            state=State(found["state"]),
            back=bool(found["back"]),
            reason=str(found["reason"]),
            trouble=str(found["trouble"]),
            seconds={str(step): float(seconds) for step, seconds in found["seconds"].items()},
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"not the record of an update: {where}: {first['msg']}") from None
    except KeyError as error:
        raise ValueError(f"not the record of an update: it lacks {error}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"not the record of an update: {error}") from None


def _count(found: object) -> int | None:
    return None if found is None else int(str(found))
