"""Whether the instances of a generation serve, seen again and again until they do, or never will. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from argosy.config import ScheduledSettings
from argosy.scheduled_state import Fleet, Instance, Running
from argosy.service_changes import plain

STEADY_SECONDS = 2.0
"""For how long instances must run that nobody asks, or of which one has failed already."""
TRIES = 3
"""Failures of one instance, since it is watched, after which it is not waited for any longer."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """What is waited for. `replicas`: None for one on every machine that fits."""

    name: str
    number: int
    definition: ScheduledSettings
    replicas: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`missing`: what is not as it shall be, for a person; empty when all is. `hopeless`: waiting longer is in vain.
    `failed`: the last that failed since it is watched."""

    missing: str
    hopeless: bool = False
    failed: Instance | None = None


class Watch:
    """One wait. Swarm keeps but a few tries of each instance that are over, so they are counted as they come."""

    def __init__(self, awaited: Awaited) -> None:
        self.awaited = awaited
        self._known: set[str] | None = None
        self._failures: Counter[str] = Counter()
        self._last: Instance | None = None
        self._up: frozenset[str] = frozenset()
        self._since = 0.0

    def look(self, fleet: Fleet, now: float) -> Verdict:
        """Return how things stand. `now`: seconds of some clock that never goes back."""
        name, number = self.awaited.name, self.awaited.number
        running = fleet.of(name).generations.get(number)
        if running is None:
            return Verdict(f"Swarm does not have generation {number}", hopeless=True)
        self._count(running)
        up = frozenset(it.task.id for it in running.up)
        if up != self._up:
            self._up, self._since = up, now
        missing = what_is_missing(fleet, self.awaited, running)
        needed = STEADY_SECONDS if self._last or unchecked(self.awaited.definition) else 0
        if not missing and up and now - self._since < needed:
            missing = f"{len(up)} run: watching whether they go on"
        return Verdict(missing, max(self._failures.values(), default=0) >= TRIES, self._last)

    def _count(self, running: Running) -> None:
        """What had failed before the first look does not count."""
        failed = running.failures()
        if self._known is None:
            self._known = {it.task.id for it in failed}
        new = [it for it in failed if it.task.id not in self._known]
        self._known.update(it.task.id for it in new)
        self._failures.update(str(it.task.slot or it.machine) for it in new)
        self._last = new[0] if new else self._last


def unchecked(definition: ScheduledSettings) -> bool:
    """Return whether nobody asks an instance how it is: that it runs says little then."""
    asked = definition.discovery is not None and definition.discovery.check != "none"
    return not asked and not (definition.check and definition.check.command)


def what_is_missing(fleet: Fleet, awaited: Awaited, running: Running) -> str:
    """Return what is not as it shall be, at this moment; empty when all is."""
    count = len(fleet.taking(awaited.definition)) if awaited.replicas is None else awaited.replicas
    up = running.up
    if len(up) < count:
        told = sorted({it.task.error for it in running.instances if it.task.error and not it.task.runs})
        return ": ".join([f"{len(up)} of {count} run", *([plain("; ".join(told))] if told else [])])
    if len(running.instances) > count:
        return f"{len(running.instances) - count} of {len(running.instances)} are still to end"
    if awaited.definition.discovery:
        absent = [it.id for it in up if not it.registered]
        if absent:
            return f"{count} run, {', '.join(absent)} not registered yet"
    return ""
