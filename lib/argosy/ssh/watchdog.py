"""Limits how long a connection may leave a request unanswered."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paramiko import Transport

TICK_SECONDS = 0.5


class Watchdog:
    """Closes connections that do not answer in time.

    paramiko waits without a limit for the reply to a request, and a frozen machine's kernel still acknowledges
    packets: somebody else has to look at the clock. One thread for all; it runs only while something is watched.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[object, tuple[float, Transport]] = {}
        self._running = False

    @contextlib.contextmanager
    def limit(self, transport: Transport, seconds: float) -> Iterator[None]:
        """Close `transport` unless the body ends within `seconds`; what waits in the body then fails."""
        token = object()
        with self._changed:
            self._watched[token] = (time.monotonic() + seconds, transport)
            if not self._running:
                self._running = True
                threading.Thread(target=self._watch, name="ssh-watchdog", daemon=True).start()
        try:
            yield
        finally:
            with self._changed:
                del self._watched[token]

    def _watch(self) -> None:
        idle = False
        while True:
            with self._changed:
                if not self._watched and idle:
                    self._running = False
                    return
                idle = not self._watched
                now = time.monotonic()
                late = [transport for deadline, transport in self._watched.values() if deadline <= now]
                if not late:
                    self._changed.wait(TICK_SECONDS)
            for transport in late:
                transport.close()
