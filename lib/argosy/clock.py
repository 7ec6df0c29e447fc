"""Time and threads as long operations need them: one seam, so that tests can be the clock and decide who runs when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the host sleeps: a laptop that was shut in the middle of a rollout must not think that it holds the
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
