"""Pure. What is wanted of a scheduled service, in etcd under /cluster/scheduled/NAME.

{"name": "web", "generation": 7, "replicas": 4, "stopped": false,
 "definition": {...}, "image": {"reference": "10.0.0.5:5000/air/web@sha256:...", "version": "0.1.3"},
 "previous": null | {"generation": 6, "definition": {...}, "image": {...}},
 "since": "2026-01-31T12:00:00.000Z", "by": "alice@build-1"}

`replicas` is null for a global service. `definition` is as under `scheduled:`, without what is left at its default. A
generation is a number that only grows: one for each definition and image that the service was given.

/cluster/homes/NAME: {"machines": ["air-01"]}, the machines that have the named volumes of a service, where its
instances stay. Without the key they have not been placed yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field, PlainSerializer, model_validator

from argosy.cluster.stored import Moment, StoredRecord
from argosy.config.scheduled import ScheduledSettings
from argosy.text import json_object

PREFIX = "/cluster/scheduled/"
HOMES = "/cluster/homes/"
KEYS = ("name", "generation", "replicas", "stopped", "definition", "image", "previous", "since", "by")


def definition_json(definition: ScheduledSettings) -> dict[str, Any]:
    """Return a definition as it would stand under `scheduled:`, without what is left at its default."""
    found: dict[str, Any] = definition.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return found


def homes_text(machines: Iterable[str]) -> str:
    """Return the value of /cluster/homes/NAME."""
    return json.dumps({"machines": sorted(machines)})


def parse_homes(text: str) -> tuple[str, ...]:
    """Return the machines of a value of /cluster/homes/NAME. Raises ValueError."""
    machines = (json_object(text) or {}).get("machines")
    if not isinstance(machines, list) or not all(isinstance(machine, str) for machine in machines):
        raise ValueError("no list of the machines that have its volumes")
    return tuple(machines)


@dataclass(frozen=True, slots=True)
class ServiceImage:
    """`reference`: what machines pull, with its digest where we know it. `version`: ours, or a foreign image's tag."""

    reference: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Generation:
    """One version of what a service is: its definition and image."""

    number: Annotated[int, Field(alias="generation")]
    definition: Annotated[ScheduledSettings, PlainSerializer(definition_json)]
    image: ServiceImage


@dataclass(frozen=True, slots=True)
class ScheduledRecord(StoredRecord):
    """`replicas`: None for a global service; how many are wanted when it is not stopped. `previous`: what it was
    before, for a rollback. `since`, `by`: when this generation became the wanted one, and who saw to it."""

    WHAT: ClassVar[str] = "a scheduled service"

    name: str
    current: Generation
    replicas: int | None
    since: Moment
    by: str
    stopped: bool = False
    previous: Generation | None = None

    @property
    def generation(self) -> int:
        return self.current.number

    @property
    def definition(self) -> ScheduledSettings:
        return self.current.definition

    @property
    def image(self) -> ServiceImage:
        return self.current.image

    @property
    def key(self) -> str:
        return PREFIX + self.name

    @model_validator(mode="before")
    @classmethod
    def _nested(cls, found: Any) -> Any:
        """Find the keys of the present generation beside those of the service."""
        return {**found, "current": found} if isinstance(found, dict) else found

    def to_json(self) -> dict[str, Any]:
        found = StoredRecord.to_json(self)
        flat = {**found, **found["current"]}
        return {key: flat[key] for key in KEYS}
