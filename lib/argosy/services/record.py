"""What is wanted of a scheduled service, in etcd under /cluster/scheduled/NAME. Pure.

{"name": "web", "generation": 7, "replicas": 4, "stopped": false,
 "definition": {...}, "image": {"reference": "10.0.0.5:5000/air/web@sha256:...", "version": "0.1.3"},
 "previous": null | {"generation": 6, "definition": {...}, "image": {...}},
 "since": "2026-01-31T12:00:00.000Z", "by": "alice@build-1"}

`replicas` is null for a global service. `definition` is as under `scheduled:`, without what is left at its default. A
generation is a number that only grows: one for each definition and image that the service was given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from argosy.rollout_record import parse_stamp, stamp
from argosy.scheduled_settings import ScheduledSettings

PREFIX = "/cluster/scheduled/"


@dataclass(frozen=True, slots=True)
class ServiceImage:
    """`reference`: what machines pull, with its digest where we know it. `version`: ours, or a foreign image's tag."""

    reference: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Generation:
    """One version of what a service is: its definition and image."""

    number: int
    definition: ScheduledSettings
    image: ServiceImage


@dataclass(frozen=True, slots=True)
class ScheduledRecord:
    """`replicas`: None for a global service; how many are wanted when it is not stopped. `previous`: what it was
    before, for a rollback. `since`, `by`: when this generation became the wanted one, and who saw to it."""

    name: str
    current: Generation
    replicas: int | None
    since: datetime
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

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "generation": self.generation,
            "replicas": self.replicas,
            "stopped": self.stopped,
            "definition": definition_json(self.definition),
            "image": _image_json(self.image),
            "previous": generation_json(self.previous) if self.previous else None,
            "since": stamp(self.since),
            "by": self.by,
        }

    def text(self) -> str:
        """Return the record as it is kept: JSON on one line."""
        return json.dumps(self.to_json(), separators=(",", ":"))


def parse_record(text: str) -> ScheduledRecord:
    """Return the record of a value in etcd. Raises ValueError, which says what is wrong, for one that is none."""
    try:
        found = json.loads(text)
        replicas, previous = found["replicas"], found.get("previous")
        return ScheduledRecord(
            name=str(found["name"]),
            current=parse_generation(found),
            replicas=None if replicas is None else int(replicas),
            since=parse_stamp(found["since"]),
            by=str(found["by"]),
            stopped=bool(found.get("stopped")),
            previous=parse_generation(previous) if previous else None,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in ("definition", *first["loc"]))
        raise ValueError(f"not the record of a scheduled service: {where}: {first['msg']}") from None
    except KeyError as error:
        raise ValueError(f"not the record of a scheduled service: it lacks {error}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"not the record of a scheduled service: {error}") from None


def definition_json(definition: ScheduledSettings) -> dict[str, Any]:
    """Return a definition as it would stand under `scheduled:`, without what is left at its default."""
    found: dict[str, Any] = definition.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return found


def parse_generation(found: Mapping[str, Any]) -> Generation:
    """Return the generation of its JSON. Raises KeyError, TypeError, ValueError for what is none."""
    image = found["image"]
    return Generation(
        int(found["generation"]),
        ScheduledSettings.model_validate(found["definition"]),
        ServiceImage(str(image["reference"]), str(image["version"])),
    )


def generation_json(generation: Generation) -> dict[str, Any]:
    """Return `{"generation", "definition", "image"}`."""
    return {
        "generation": generation.number,
        "definition": definition_json(generation.definition),
        "image": _image_json(generation.image),
    }


def _image_json(image: ServiceImage) -> dict[str, str]:
    return {"reference": image.reference, "version": image.version}
