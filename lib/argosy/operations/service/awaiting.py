"""Wait until the instances of a generation serve: run, are registered, and every router has them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from argosy.config import ScheduledSettings
from argosy.errors import DeadlineExceeded, Unhealthy
from argosy.operations.discovery.draining import default_deadline_seconds
from argosy.operations.discovery.routers import wait_until_applied
from argosy.operations.service.work import Work
from argosy.scheduled_state import Fleet, Instance, Running, machine_of
from argosy.service_changes import plain
from argosy.swarm_model import DOWN

POLL_SECONDS = 0.25
STEADY_SECONDS = 2.0
"""For how long instances must run that nobody asks, or of which one has failed already."""
TRIES = 3
"""Failures of one instance, since we look, after which it is not waited for any longer."""
LOG_LINES = 10


@dataclass(frozen=True, slots=True)
class Awaited:
    """What is waited for. `replicas`: None for one on every machine that fits."""

    name: str
    number: int
    definition: ScheduledSettings
    replicas: int | None


@dataclass(frozen=True, slots=True)
class Served:
    """The instances that serve, and how long it took."""

    instances: tuple[Instance, ...]
    seconds: float


def wait_until_serving(work: Work, awaited: Awaited, deadline_seconds: float) -> Served:
    """Wait until exactly the wanted number of instances run and, where discovery finds them, are registered and applied
    on all live routers. Reports what it waits for whenever that changes.

    Raises Unhealthy, with the last error and the last lines of a log, when an instance fails again and again, or time
    is over.
    """
    started, deadline = time.monotonic(), time.monotonic() + deadline_seconds
    pause, told, steady = threading.Event(), "", _Steady()
    before: frozenset[str] | None = None
    while True:
        fleet = work.look()
        running = fleet.of(awaited.name).generations.get(awaited.number)
        if running is None:
            raise Unhealthy(f"{awaited.name}: Swarm does not have generation {awaited.number} any more")
        before = frozenset(it.task.id for it in running.ended) if before is None else before
        missing = what_is_missing(fleet, awaited, running)
        failed = [it for it in running.failures() if it.task.id not in before]
        needed = STEADY_SECONDS if failed or unchecked(awaited.definition) else 0
        if not missing and steady.seconds(running) >= needed:
            break
        missing = missing or f"{len(running.up)} run: watching whether they go on"
        if _hopeless(failed) or time.monotonic() >= deadline:
            raise Unhealthy(f"{awaited.name}: {missing}{_reason(work, running, failed)}")
        if missing != told:
            work.report(awaited.name, missing)
            told = missing
        pause.wait(POLL_SECONDS)
        if work.lock:
            work.lock.check()
    if awaited.definition.discovery:
        revision = max((it.revision for it in running.up), default=0)
        wait_until_applied(work.store, revision, max(1.0, deadline - time.monotonic()))
    return Served(tuple(running.up), time.monotonic() - started)


class _Steady:
    """For how long the same instances have been up."""

    def __init__(self) -> None:
        self._up: frozenset[str] = frozenset()
        self._since = time.monotonic()

    def seconds(self, running: Running) -> float:
        up = frozenset(it.task.id for it in running.up)
        if up != self._up:
            self._up, self._since = up, time.monotonic()
        return time.monotonic() - self._since


def unchecked(definition: ScheduledSettings) -> bool:
    """Return whether nobody asks an instance how it is: that it runs says little then. Pure."""
    asked = definition.discovery is not None and definition.discovery.check != "none"
    return not asked and not (definition.check and definition.check.command)


def what_is_missing(fleet: Fleet, awaited: Awaited, running: Running) -> str:
    """Return what is not as it shall be, for a person; empty when all is. Pure."""
    count = len(fleet.taking(awaited.definition)) if awaited.replicas is None else awaited.replicas
    up = running.up
    if len(up) < count:
        told = sorted({it.task.error for it in running.instances if it.task.error and not it.task.runs})
        return f"{len(up)} of {count} run{': ' if told else ''}{plain('; '.join(told))}"
    if len(running.instances) > count:
        return f"{len(running.instances) - count} of {len(running.instances)} are still to end"
    if awaited.definition.discovery:
        absent = [it.id for it in up if not it.registered]
        if absent:
            return f"{count} run, {', '.join(absent)} not registered yet"
    return ""


def wait_until_gone(work: Work, name: str, number: int, service_id: str, deadline_seconds: float) -> None:
    """Wait until no container of a generation that was taken out of Swarm runs, nor is registered.

    Of machines that are down nothing is awaited: it ends when they are back. Raises DeadlineExceeded.
    """
    deadline, pause = time.monotonic() + deadline_seconds, threading.Event()
    while left := _left(work, service_id):
        if time.monotonic() >= deadline:
            raise DeadlineExceeded(
                f"{name}: {', '.join(left)} of generation {number} have not ended; the same again waits for them"
            )
        pause.wait(POLL_SECONDS)
        if work.lock:
            work.lock.check()


def _left(work: Work, service_id: str) -> list[str]:
    """Return what Swarm still knows of a service that it was told to forget: containers that have not ended."""
    tasks = [task for task in work.swarm.tasks() if task.service_id == service_id and not task.over]
    if not tasks:
        return []
    up = {node.id: machine_of(node) for node in work.swarm.nodes() if node.state != DOWN}
    return [f"{task.id} on {up[task.node_id]}" for task in tasks if task.node_id in up]


def silence_deadline_seconds(work: Work) -> float:
    """Return how long to wait for agents and routers: who is dead is out of the count after a lease's time."""
    return default_deadline_seconds(work.settings)


def _hopeless(failed: Sequence[Instance]) -> bool:
    slots = sorted((it.task.slot or it.machine for it in failed), key=str)
    return any(len(list(group)) >= TRIES for _, group in itertools.groupby(slots))


def _reason(work: Work, running: Running, failed: Sequence[Instance]) -> str:
    """Return the last error and the last lines that an instance wrote, on one line."""
    last = next(iter(failed or running.failures()), None)
    if last is None:
        return ": see inv service.show"
    lines = [it.text for it in work.swarm.logs(running.service.id, tail=LOG_LINES) if it.task_id == last.task.id]
    said = f"; it said: {' | '.join(lines)}" if lines else ""
    return plain(f"; on {last.machine or 'no machine'}: {last.task.error or last.task.state}{said}")
