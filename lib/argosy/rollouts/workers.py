"""Work on several machines at the same time, and what became of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from argosy.fanout import Outcome, attempt
from argosy.operations.clock import Clock


class Crew:
    """Begins work in threads of their own; the owner, one thread alone, collects the outcomes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._news = clock.event()
        self._finished: deque[tuple[str, Outcome[None]]] = deque()
        self.busy: set[str] = set()

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Begin `work` for the machine `name`, which must not be busy."""

        def run() -> None:
            outcome = attempt(lambda _: work(), None)
            self._finished.append((name, outcome))
            self._news.set()

        self.busy.add(name)
        self._clock.spawn(f"rollout-{name}", run)

    def finished(self) -> list[tuple[str, Outcome[None]]]:
        """Return what has ended since the last call; those machines are busy no longer."""
        self._news.clear()
        ended = []
        while self._finished:
            name, outcome = self._finished.popleft()
            self.busy.discard(name)
            ended.append((name, outcome))
        return ended

    def wait(self, seconds: float | None = None) -> None:
        """Wait until something has ended, somebody wakes us, or `seconds` are over."""
        self._news.wait(seconds)

    def wake(self) -> None:
        """End a `wait`."""
        self._news.set()
