"""Wait until the instances of a generation serve: run, are registered, and every router has them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from argosy.errors import ArgosyError, DeadlineExceeded, Unhealthy
from argosy.operations.discovery.draining import default_deadline_seconds
from argosy.operations.discovery.routers import wait_until_applied
from argosy.operations.service.work import Work
from argosy.scheduled_state import Instance, machine_of
from argosy.scheduled_watch import Awaited, Watch
from argosy.service_changes import plain
from argosy.swarm_model import DOWN

POLL_SECONDS = 0.25
LOG_LINES = 10


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
    watch, pause, told = Watch(awaited), threading.Event(), ""
    while True:
        fleet = work.look()
        verdict = watch.look(fleet, time.monotonic())
        if not verdict.missing:
            break
        if verdict.hopeless or time.monotonic() >= deadline:
            raise Unhealthy(f"{awaited.name}: {verdict.missing}{_reason(work, awaited, verdict.failed)}")
        if verdict.missing != told:
            work.report(awaited.name, verdict.missing)
            told = verdict.missing
        pause.wait(POLL_SECONDS)
        if work.lock:
            work.lock.check()
    up = fleet.of(awaited.name).generations[awaited.number].up
    if awaited.definition.discovery:
        revision = max((it.revision for it in up), default=0)
        wait_until_applied(work.store, revision, max(1.0, deadline - time.monotonic()))
    return Served(tuple(up), time.monotonic() - started)


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


def _reason(work: Work, awaited: Awaited, failed: Instance | None) -> str:
    """Return the last error and the last lines that an instance wrote, on one line."""
    running = work.look().of(awaited.name).generations.get(awaited.number)
    last = failed or next(iter(running.failures() if running else []), None)
    if last is None:
        return f": see inv service.show {awaited.name}"
    return plain(f"; on {last.machine or 'no machine'}: {last.task.error or last.task.state}{_said(work, last)}")


def _said(work: Work, instance: Instance) -> str:
    try:
        found = list(work.swarm.logs(instance.task.service_id, tail=LOG_LINES))
    except ArgosyError as error:
        # As when a machine is gone; it must not hide what is wrong.
        return f"; what it said can't be read: {error}"
    lines = [it.text for it in found if it.task_id == instance.task.id]
    return f"; it said: {' | '.join(lines)}" if lines else ""
