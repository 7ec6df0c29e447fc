"""Do the same for many at once: bounded, everybody finishes, everybody's outcome is told."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from argosy.errors import HostsFailed

T = TypeVar("T")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of one host: its `value`, or the `error` that was raised."""

    value: T | None = None
    error: Exception | None = None

    @property
    def ok(self) -> bool:
        return self.error is None

    def get(self) -> T:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


class Outcomes(dict[str, Outcome[T]]):
    """Every host's outcome by name, in the order that the hosts were given. `what`: what is done, for messages."""

    def __init__(self, what: str, outcomes: Mapping[str, Outcome[T]]) -> None:
        super().__init__(outcomes)
        self.what = what


def joined(outcomes: Mapping[str, Outcome[T]]) -> dict[str, T]:
    """Return every host's value. Raises HostsFailed naming all that failed (with one host alone, its own error)."""
    failures = {name: outcome.error for name, outcome in outcomes.items() if outcome.error is not None}
    if not failures:
        return {name: outcome.get() for name, outcome in outcomes.items()}
    first = next(iter(failures.values()))
    if len(outcomes) == 1:
        raise first
    raise HostsFailed(getattr(outcomes, "what", "") or "The command", failures, len(outcomes)) from first


def fan_out(
    items: Mapping[str, Item],
    function: Callable[[Item], T],
    *,
    max_parallel: int,
    what: str = "",
    cancel: Callable[[], None] = lambda: None,
) -> Outcomes[T]:
    """Call `function` for every item, at most `max_parallel` at a time, and return all outcomes.

    The threads are daemons: a call that never returns can't keep the process from exiting. On Ctrl-C no further
    item is begun, `cancel` is called so that running ones can stop, and they get two seconds for it.
    """
    waiting: queue.SimpleQueue[tuple[str, Item]] = queue.SimpleQueue()
    finished: queue.SimpleQueue[tuple[str, Outcome[T]]] = queue.SimpleQueue()
    stopped = threading.Event()
    for pair in items.items():
        waiting.put(pair)

    def work() -> None:
        while not stopped.is_set():
            try:
                name, item = waiting.get_nowait()
            except queue.Empty:
                return
            finished.put((name, attempt(function, item)))

    threads = [
        threading.Thread(target=work, name=f"fan-out-{number}", daemon=True)
        for number in range(min(max_parallel, len(items)))
    ]
    outcomes: dict[str, Outcome[T]] = {}
    try:
        for thread in threads:
            thread.start()
        for _ in items:
            name, outcome = finished.get()
            outcomes[name] = outcome
    except BaseException:
        stopped.set()
        cancel()
        _join(threads, 2.0)
        raise
    return Outcomes(what, {name: outcomes[name] for name in items})


def attempt(function: Callable[[Item], T], item: Item) -> Outcome[T]:
    """Return what `function(item)` returned or raised."""
    try:
        return Outcome(value=function(item))
    except Exception as error:  # noqa: BLE001 - it is told, with all others, by `joined`
        return Outcome(error=error)


def _join(threads: Iterable[threading.Thread], seconds: float) -> None:
    import time

    deadline = time.monotonic() + seconds
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, deadline - time.monotonic()))
