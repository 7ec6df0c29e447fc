"""Pure. The record of an update of a scheduled service, in etcd under /cluster/updates/NAME and, when it has ended,
/cluster/update-history/NAME/ID.

{"id": "20260131T120000Z-1f3a", "name": "web", "step": STEP, "state": "running|stopped|going-back|done|rolled-back",
 "reached": STEP, "back": false, "reason": "", "trouble": "", "old": GENERATION, "new": GENERATION,
 "replicas": 4, "before": 4, "stopped": false,
 "options": {"order": "start-first", "share": 0.1, "soak_seconds": 30, "rollback": false},
 "since": "2026-01-31T12:00:05.120Z", "started": "2026-01-31T12:00:00.000Z", "by": "alice@build-1",
 "seconds": {"starting": 3.1}}

GENERATION is as in the service's own record (argosy.services.record): {"generation", "definition", "image"}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, PlainSerializer

from argosy.cluster.change import ChangeRecord
from argosy.cluster.stored import Moment
from argosy.services.record import Generation

UPDATES = "/cluster/updates/"
"""The record of the update of NAME that is in progress or was left."""


class UpdateStep(StrEnum):
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


StopFirst = Annotated[
    bool,
    Field(alias="order"),
    BeforeValidator(lambda order: order == "stop-first"),
    PlainSerializer(lambda stop_first: "stop-first" if stop_first else "start-first"),
]


@dataclass(frozen=True, slots=True)
class Options:
    """`stop_first`: the old instances are gone before the new ones start. `share`: of the requests that the new ones
    get at first, 0 for all at once; `soak_seconds`: for how long. `rollback`: it was asked for as a rollback."""

    stop_first: StopFirst = False
    share: float = 0
    soak_seconds: float = 0
    rollback: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Update(ChangeRecord):
    """`replicas`: how many instances the new generation has, None for a global service; `before`: the old one.

    `reached`: the furthest step forward that was begun. `back`: it puts the old generation in charge again, and
    `reason` says why; `trouble`: why it is stopped. `by`: who resumed it last. `seconds`: what each step took, that is
    over.
    """

    WHAT: ClassVar[str] = "an update"

    name: str
    step: UpdateStep
    reached: UpdateStep
    trouble: str = ""
    old: Generation
    new: Generation
    replicas: int | None
    before: int | None
    stopped: bool = False
    options: Options
    since: Moment
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        kind = "rollback" if self.options.rollback else "update"
        return f"{kind} of {self.name}: generation {self.old.number} -> {self.new.number}"

    @property
    def why(self) -> str:
        return self.trouble or self.reason

    @property
    def wanted(self) -> Generation:
        """The generation that is to be in charge in the end."""
        return self.old if self.back else self.new
