"""The checks of all instances of this machine, in a bounded number of threads."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from argosy.agent.log import log
from argosy.agent.registrar.verdicts import LASTING_FAILURES, Probe, Verdict

_log = log("checks")

WORKERS = 8
TOLD_FAILURES = (1, LASTING_FAILURES)


@dataclass(slots=True)
class _Watched:
    probe: Probe
    verdict: Verdict
    number: int


class Checker:
    """Repeats checks for as long as their instances are watched. Its methods may be called by any thread.

    `tell(key, verdict)` is called by the thread that checked, when an instance begins or ceases to pass, and for one
    that does not pass at its first and its LASTING_FAILURES-th failure. One may still come just after `forget`.
    """

    def __init__(self, check: Callable[[Probe], str], tell: Callable[[str, Verdict], None]) -> None:
        """`check`: returns why a check fails, empty when it passes; may take a while."""
        self._check = check
        self._tell = tell
        self._watched: dict[str, _Watched] = {}
        self._due: list[tuple[float, int, str]] = []
        self._numbers = itertools.count(1)
        self._turn = threading.Condition()
        self._stopping = False
        self._threads: list[threading.Thread] = []

    def watch(self, key: str, probe: Probe, verdict: Verdict) -> None:
        """Check by `probe` from now on, at once for the first time. Nothing happens when it is checked so already."""
        with self._turn:
            before = self._watched.get(key)
            if before is not None and before.probe == probe:
                return
            made = _Watched(probe, verdict, next(self._numbers))
            self._watched[key] = made
            self._schedule(key, made, 0)
            self._ensure_threads()

    def forget(self, key: str) -> None:
        with self._turn:
            self._watched.pop(key, None)

    def stop(self) -> None:
        """Begin no more checks, and wait for those that are under way."""
        with self._turn:
            self._stopping = True
            self._turn.notify_all()
        for thread in self._threads:
            thread.join()

    def _schedule(self, key: str, watched: _Watched, seconds: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, watched.number, key))
        self._turn.notify()

    def _ensure_threads(self) -> None:
        if len(self._threads) < min(WORKERS, len(self._watched)) and not self._stopping:
            thread = threading.Thread(target=self._run, name=f"checks-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while True:
            with self._turn:
                found = self._next()
            if found is None:
                return
            key, watched = found
            reason = self._checked(watched.probe)
            with self._turn:
                before, watched.verdict = watched.verdict, watched.verdict.after(reason)
                current = self._watched.get(key) is watched
                if current:
                    self._schedule(key, watched, watched.verdict.pause_seconds(watched.probe.seconds))
            if current and _news(before, watched.verdict):
                self._tell(key, watched.verdict)

    def _checked(self, probe: Probe) -> str:
        """Return what the check says; a fault of our own must not end the thread, nor let the instance pass."""
        try:
            return self._check(probe)
        except Exception as error:  # noqa: BLE001 (reported, here and by its reason)
            _log.exception("a check of %s failed to work", probe.endpoint)
            return f"the check failed to work: {error}"

    def _next(self) -> tuple[str, _Watched] | None:
        """Wait for the next check that is due, and take it; None at the end."""
        while not self._stopping:
            while self._due and self._stale(self._due[0]):
                heapq.heappop(self._due)
            left = self._due[0][0] - time.monotonic() if self._due else None
            if left is not None and left <= 0:
                _, _, key = heapq.heappop(self._due)
                self._turn.notify()  # somebody else waits for the next one now
                return key, self._watched[key]
            self._turn.wait(left)
        return None

    def _stale(self, due: tuple[float, int, str]) -> bool:
        found = self._watched.get(due[2])
        return found is None or found.number != due[1]


def _news(before: Verdict, after: Verdict) -> bool:
    return before.passing != after.passing or (not after.passing and after.failures in TOLD_FAILURES)
