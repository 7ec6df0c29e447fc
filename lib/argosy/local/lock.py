"""One run at a time changes a local cluster: the kernel drops the lock with its holder, however that ends.

The cluster's own lock in etcd stays with a run that was killed, until it expires: that is waited for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from argosy import atomic
from argosy.clock import retry_for
from argosy.config.loading import Settings
from argosy.errors import LockHeld
from argosy.report import Report

R = TypeVar("R")

FILE_NAME = ".local.lock"
SPARE_SECONDS = 5.0
RETRY_SECONDS = 1.0


@contextmanager
def held(settings: Settings, task: str) -> Iterator[None]:
    """Hold the lock of the cluster while `task` runs. Raises LockHeld when another process holds it."""
    settings.state_path.mkdir(parents=True, exist_ok=True)
    path = settings.state_path / FILE_NAME
    with ExitStack() as stack:
        try:
            stack.enter_context(atomic.locked(path, wait=False))
        except BlockingIOError:
            holder = path.read_text(errors="replace").strip() or "another process"
            raise LockHeld(
                f"{holder} is at work on cluster {settings.cluster!r}: wait for it, or end it", holder
            ) from None
        path.write_text(f"{task} (process {os.getpid()})\n")
        yield


def retry_when_unlocked(settings: Settings, report: Report, act: Callable[[], R]) -> R:
    """Return what `act` does, once the lock is free; a killed run's expires by itself.

    Raises LockHeld, as `act` does, when it is held for longer: somebody is at work.
    """
    told = False

    def passes(error: Exception) -> bool:
        nonlocal told
        held = isinstance(error, LockHeld)
        if held and not told:
            report("lock", f"{error}: waiting, it may be of the run that was killed")
            told = True
        return held

    return retry_for(settings.rollout.lock_ttl_seconds + SPARE_SECONDS, act, passes, every=RETRY_SECONDS)
