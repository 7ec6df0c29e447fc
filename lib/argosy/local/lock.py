"""One run at a time changes a local cluster: the kernel drops the lock with its holder, however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from argosy.config import Settings
from argosy.errors import LockHeld

FILE_NAME = ".local.lock"


@contextmanager
def held(settings: Settings, task: str) -> Iterator[None]:
    """Hold the lock of the cluster while `task` runs. Raises LockHeld when another process holds it."""
    settings.state_path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(settings.state_path / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            raise LockHeld(
                f"{holder} is at work on cluster {settings.cluster!r}: wait for it, or end it", holder
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{task} (process {os.getpid()})\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
