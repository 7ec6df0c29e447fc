"""Waiting for what comes soon, by asking for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_PAUSE = threading.Event()


def until(condition: Callable[[], object], seconds: float = 10, every: float = 0.02) -> None:
    """Return when `condition()` holds; fail when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        _PAUSE.wait(every)
