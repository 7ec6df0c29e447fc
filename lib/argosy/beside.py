"""Work beside the caller's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from argosy.clock import Clock
from argosy.fanout import Outcome, attempt

T = TypeVar("T")


class Beside(Generic[T]):
    """Begins `work` in a thread of its own, which keeps no process from ending. For work that ends by itself soon,
    whether anybody still wants its result or not."""

    def __init__(self, clock: Clock, name: str, work: Callable[[], T]) -> None:
        self._ended = clock.event()
        self._outcome: Outcome[T] = Outcome()

        def run() -> None:
            self._outcome = attempt(lambda _: work(), None)
            self._ended.set()

        clock.spawn(name, run)

    def result(self) -> T:
        """Wait until it has ended, and return what it has come to, or raise what it raised."""
        self._ended.wait()
        return self._outcome.get()
