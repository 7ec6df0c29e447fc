"""Work on several machines at the same time, and what became of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from argosy.clock import Clock
from argosy.fanout import Outcome, attempt


class WorkerPool:
    """Begins work in threads of their own; the owner, one thread alone, collects the outcomes. `size`: on how many
    machines at the same time."""

    def __init__(self, clock: Clock, size: int) -> None:
        self._clock = clock
        self._size = size
        self._news = clock.event()
        self._finished: deque[tuple[str, Outcome[None]]] = deque()
        self.busy: set[str] = set()

    @property
    def free(self) -> int:
        """How many more may be started."""
        return self._size - len(self.busy)

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

    def each(
        self, names: Iterable[str], work: Callable[[str], Callable[[], None]]
    ) -> Iterator[list[tuple[str, Outcome[None]]]]:
        """Do its `work` for each machine, and give what has ended whenever something has, or somebody wakes us."""
        waiting = list(names)
        while waiting or self.busy:
            while waiting and self.free:
                name = waiting.pop(0)
                self.start(name, work(name))
            self.wait()
            yield self.finished()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until something has ended, somebody wakes us, or `seconds` are over."""
        self._news.wait(seconds)

    def wake(self) -> None:
        """End a `wait`."""
        self._news.set()
