"""Step 4: the services, in the order of what they require, each until it passes its check.

Services that do not wait for one another start at once. One that fails keeps back those that require it, and no other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Set
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

from argosy_installer import checks, systemd
from argosy_installer.docker import Docker
from argosy_installer.errors import Failed, Failure
from argosy_installer.machine import Machine
from argosy_installer.observing import Observed, observe
from argosy_installer.progress import Say
from argosy_installer.release import Release, Service

POLL_SECONDS = 0.25
LOG_LINES = 20
PARALLEL = 8
START_SECONDS = 120
"""How long a unit may take at least to have its container running: it reads settings from etcd first."""


def is_current(service: Service, seen: Observed) -> bool:
    """Return whether what runs is what the unit says."""
    return seen.unit.active == "active" and seen.running and seen.revision == service.revision


def must_restart(service: Service, seen: Observed, changed: bool) -> bool:
    """Return whether the unit must be (re)started.

    Not when systemd is just starting it from the unit that is there, as at boot: its container comes in a moment.
    """
    if changed or seen.unit.active not in ("active", "activating", "reloading"):
        return True
    return seen.container is not None and seen.revision != service.revision


def start_seconds(service: Service, *, stops: bool) -> float:
    """Return how long the service's unit may take to have its container running; `stops`: the old one stops first.

    As long as its check may: who has raised that has a slow machine.
    """
    return max(START_SECONDS, service.check.deadline_seconds) + (service.grace_seconds if stops else 0)


class Starter:
    def __init__(self, docker: Docker, machine: Machine, release: Release, say: Say) -> None:
        self._docker = docker
        self._machine = machine
        self._release = release
        self._say = say

    def start_all(self, changed: Set[str]) -> None:
        """Start what must be and wait for every check. Raises Failed with all that failed.

        `changed`: units written in this run.
        The pool takes services in start order, so those that wait never keep the workers from what they wait for.
        """
        results: dict[str, Future[Failure | None]] = {}
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="start") as pool:
            for service in self._release.services:
                required = [results[name] for name in service.requires]
                results[service.name] = pool.submit(self._start_after, required, service, service.unit in changed)
        failures = [failure for result in results.values() if (failure := result.result())]
        if failures:
            raise Failed(*failures)

    def _start_after(self, required: list[Future[Failure | None]], service: Service, changed: bool) -> Failure | None:
        failed = [failure.service for result in required if (failure := result.result())]
        if failed:
            return Failure(service.name, f"not started: it requires {', '.join(failed)}")
        return self._start(service, changed)

    def _start(self, service: Service, changed: bool) -> Failure | None:
        seen = self._observe(service)
        starts = must_restart(service, seen, changed)
        if starts:
            self._say(f"{service.name}: {'re' if seen.running else ''}starting")
            systemd.restart(service.unit)
        return self._wait(service, start_seconds(service, stops=starts and seen.running), starts)

    def _wait(self, service: Service, start_seconds: float, starts: bool) -> Failure | None:
        """Wait for the check: its deadline begins with the container, which must be there within `start_seconds`."""
        began = time.monotonic()
        deadline = began + start_seconds
        counts = False
        while True:
            seen = self._observe(service)
            if not counts and is_current(service, seen):
                counts, deadline = True, time.monotonic() + service.check.deadline_seconds
            reason = self._ask(service, seen)
            waited = time.monotonic() - began
            if not reason:
                self._say(f"{service.name}: passes its check{f' after {waited:.1f} s' if starts else ''}")
                return None
            if time.monotonic() >= deadline:
                return self._failure(service, f"does not pass its check after {waited:.0f} s: {reason}")
            threading.Event().wait(POLL_SECONDS)

    def _ask(self, service: Service, seen: Observed) -> str:
        if seen.container is None or not seen.running:
            return f"its container does not run, {seen.unit}"
        if not is_current(service, seen):
            return f"what runs is not yet of this release, {seen.unit}"
        return checks.ask(service.check, seen.container, self._docker, datetime.now(UTC))

    def _failure(self, service: Service, reason: str) -> Failure:
        self._say(f"{service.name}: {reason}")
        return Failure(service.name, reason, systemd.journal(service.unit, LOG_LINES, self._machine.journals))

    def _observe(self, service: Service) -> Observed:
        return observe(service, self._machine.system, self._docker)
