"""A process that is killed right after it has written a record so many times."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from argosy.cluster.journal import Records

NEVER = 1000


def killed_after(writes: int) -> None:
    """Let this process be killed right after the journal's write number `writes`."""
    left = [writes]

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            done = write(*arguments)
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return wrapped

    for name in ("write", "close"):
        setattr(Records, name, counted(getattr(Records, name)))
