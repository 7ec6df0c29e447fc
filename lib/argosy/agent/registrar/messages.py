"""Pure. What the registrar hears of Docker."""

from __future__ import annotations

from dataclasses import dataclass

from argosy.schema.inspection import Container, Event


@dataclass(frozen=True, slots=True)
class Happened:
    """An event, and its place among everything that is told: a later one has a higher number."""

    number: int
    event: Event


@dataclass(frozen=True, slots=True)
class Inspected:
    """How a container was at some moment after everything with a lower number. None: there is no such container, or
    (with a reason) Docker describes it in a way that we don't know."""

    number: int
    id: str
    container: Container | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """All containers were inspected, each told by an `Inspected` of its own before. `ids`: those that have a process,
    at some moment after everything with a lower number."""

    number: int
    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class EngineLost:
    """Docker does not answer; a `Listed` tells that it does again."""

    reason: str


Told = Happened | Inspected | Listed | EngineLost
