"""What became of each unit file. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from argosy.fleet.remarks import Remark


class Became(StrEnum):
    SERVICE = "service"
    PART = "part of"
    """It is the registration of the service."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`service`: the definition's name; empty for what was refused."""

    path: str
    became: Became
    service: str = ""
    notes: tuple[Remark, ...] = ()
    refusals: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Imported:
    """`services`: the definitions, as they stand under `scheduled:`; `outcomes`: one for each file, in their order."""

    services: Mapping[str, Mapping[str, Any]]
    outcomes: tuple[Outcome, ...]

    @property
    def refused(self) -> list[Outcome]:
        return [it for it in self.outcomes if it.became is Became.REFUSED]
