"""What the pretended API can be told to do wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Fault:
    """`on`: the method, such as instances.insert, or `*`. `deed`: one of

    fail     answer with `status` and `reason`, doing nothing
    lose     do it, and close the connection without an answer
    drop     close the connection without doing it
    slow     answer after `seconds`
    repeat   do it as if it had come twice
    stall    the operation that it begins stays pending until Faults.release()
    end      the operation that it begins ends with the error `reason`
    """

    on: str
    deed: str
    times: int = 1
    skip: int = 0
    status: int = 503
    reason: str = "backendError"
    seconds: float = 0.0


@dataclass
class Faults:
    """`at`: called with the number of each request, `before` and `after` it is done; returns True to hang up."""

    pending: list[Fault] = field(default_factory=list)
    at: Callable[[int, str], bool] = lambda _number, _when: False
    released: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *faults: Fault) -> None:
        with self._lock:
            self.pending += faults

    def clear(self) -> None:
        with self._lock:
            self.pending.clear()
        self.at = lambda _number, _when: False

    def release(self) -> None:
        self.released.set()

    def take(self, method: str) -> Fault | None:
        """Return the fault that this request suffers."""
        with self._lock:
            for fault in self.pending:
                if fault.on in ("*", method) and fault.times > 0:
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None
