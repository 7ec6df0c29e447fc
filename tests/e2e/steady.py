"""Requests at a steady rate while something happens to the cluster, and what became of each.

Only to machines and balancers that the tests made; it ends by itself after `LONGEST_SECONDS`.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

LONGEST_SECONDS = 900
ANSWER_SECONDS = 10
WORKERS = 16


@dataclass
class Outcome:
    """`began`: when, by the monotonic clock; `answers`: count of each (status, machine that answered); `versions`: of
    each version of the service, with when it was seen last, in seconds since the start; `failures`: each one's time
    since the start and why."""

    began: float = field(default_factory=time.monotonic)
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    seen_last: dict[str, float] = field(default_factory=dict)
    failures: list[tuple[float, str]] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.answers.total() + len(self.failures)

    @property
    def machines(self) -> set[str]:
        return {machine for status, machine in self.answers if status == 200}

    def not_ok(self) -> list[str]:
        """Return what failed or was not answered with 200, a line each."""
        return self.answered_badly() + [f"{at:.2f} s: {reason}" for at, reason in self.failures]

    def answered_badly(self) -> list[str]:
        """Return what was answered, and not with 200, a line each."""
        return [
            f"{count} x {status} of {machine}" for (status, machine), count in self.answers.items() if status != 200
        ]


class Steady:
    """Sends GET `path` to `address` `rate` times a second, each on a connection of its own."""

    def __init__(self, address: str, port: int, path: str = "/", host: str = "", rate: float = 50) -> None:
        self._address, self._port, self._path, self._rate = address, port, path, rate
        self._headers: Mapping[str, str] = {"Host": host} if host else {}
        self.outcome = Outcome()
        self._ended = threading.Event()
        self._turn = threading.Lock()
        self._next = 0

    @contextmanager
    def running(self) -> Iterator[Outcome]:
        """Send until the block ends; the outcome is complete after it."""
        self.outcome.began = time.monotonic()
        workers = [threading.Thread(target=self._work, daemon=True) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
        try:
            yield self.outcome
        finally:
            self._ended.set()
            for worker in workers:
                worker.join(ANSWER_SECONDS + 5)

    def _work(self) -> None:
        while not self._ended.is_set():
            with self._turn:
                due = self.outcome.began + self._next / self._rate
                self._next += 1
            if due - self.outcome.began > LONGEST_SECONDS or self._ended.wait(max(0.0, due - time.monotonic())):
                return
            self._send()

    def _send(self) -> None:
        started = time.monotonic()
        connection = http.client.HTTPConnection(self._address, self._port, timeout=ANSWER_SECONDS)
        try:
            connection.request("GET", self._path, headers={"Connection": "close", **self._headers})
            answer = connection.getresponse()
            answer.read()
            kind = (answer.status, answer.headers.get("X-Argosy-Machine", ""))
            version = answer.headers.get("X-Argosy-Version", "")
            with self._turn:
                self.outcome.answers[kind] += 1
                self.outcome.versions[version] += 1
                self.outcome.seen_last[version] = started - self.outcome.began
        except (OSError, http.client.HTTPException) as error:
            with self._turn:
                self.outcome.failures.append((started - self.outcome.began, f"{type(error).__name__}: {error}"))
        finally:
            connection.close()
