"""Time and threads as long operations need them: one interface, so that tests can be the clock and decide who runs
when. Waiting until something is so, and doing again what may succeed the next time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from argosy.fanout import Outcome, attempt

T = TypeVar("T")

POLL_SECONDS = 0.25
FIRST_PAUSE_SECONDS = 0.2

_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Continues while the host sleeps: a laptop that was shut in the middle of a rollout must not think that it holds the
lock still (https://man7.org/linux/man-pages/man2/clock_gettime.2.html)."""


class Event(Protocol):
    """What of `threading.Event` is used."""

    def set(self) -> None: ...
    def clear(self) -> None: ...
    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...


class Clock(Protocol):
    """`now`: the time of day; `elapsed`: seconds since some moment, that no setting of the clock changes; `spawn`:
    begin `work` in a thread that keeps no process from ending."""

    def now(self) -> datetime: ...
    def elapsed(self) -> float: ...
    def event(self) -> Event: ...
    def spawn(self, name: str, work: Callable[[], None]) -> None: ...


class SystemClock:
    """This host's."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed(self) -> float:
        return time.clock_gettime(_ELAPSED)

    def event(self) -> Event:
        return threading.Event()

    def spawn(self, name: str, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name=name, daemon=True).start()


SYSTEM_CLOCK = SystemClock()


def wait_until(
    look: Callable[[], T],
    seconds: float,
    *,
    done: Callable[[T], object] = bool,
    every: float = POLL_SECONDS,
    pause: Callable[[float], object] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> T:
    """Look until it is `done` or `seconds` are over; return what was seen last, for the caller to say what is late.

    Looks at once, after each pause of `every` seconds, and a last time when the time is over. `pause`: waits for so
    long, or until something may have changed; nothing it raises is caught.
    """
    pause = pause or clock.event().wait
    deadline = clock.elapsed() + seconds
    while True:
        left = deadline - clock.elapsed()
        seen = look()
        if done(seen) or left <= 0:
            return seen
        pause(min(every, left))


def retry_for(
    seconds: float, act: Callable[[], T], passes: Callable[[Exception], object], *, every: float = POLL_SECONDS
) -> T:
    """Return what `act` returns; while it raises what `passes` by itself, it is done again for so many seconds."""

    def decided(outcome: Outcome[T]) -> bool:
        return outcome.error is None or not passes(outcome.error)

    return wait_until(lambda: attempt(lambda _: act(), None), seconds, done=decided, every=every).get()


def retry(
    attempts: int,
    act: Callable[[], T],
    passes: Callable[[Exception], object],
    *,
    longest_seconds: float = 2.0,
    asked: Callable[[Exception], float] = lambda _error: 0.0,
) -> T:
    """Return what `act` returns; while it raises what `passes` by itself, it is tried so many times in all.

    The pauses are random, so that those who failed together don't come back together, and longer each time; `asked`:
    how many seconds the other side wants to be left alone before that.
    """
    for number in range(1, attempts + 1):
        outcome = attempt(lambda _: act(), None)
        if outcome.error is None or not passes(outcome.error) or number == attempts:
            break
        longest = min(longest_seconds, FIRST_PAUSE_SECONDS * 2.0 ** (number - 1))
        SYSTEM_CLOCK.event().wait(asked(outcome.error) + random.uniform(0, longest))  # noqa: S311 (no secret)
    return outcome.get()
