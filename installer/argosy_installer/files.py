"""Files that are either as they were or as they shall be, and the lock of the one installer."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from argosy_installer.errors import TryAgain

_ASIDE = ".argosy-new"


def write(path: Path, content: str, mode: int = 0o644) -> None:
    """Replace `path` in one step: written aside, synced, renamed. A killed writer's leftover is overwritten."""
    aside = path.with_name(f".{path.name}{_ASIDE}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)
    sync(path.parent)


def write_if_changed(path: Path, content: str) -> bool:
    """Do what `write` does unless `path` says so already. Returns whether it wrote."""
    if path.is_file() and path.read_text() == content:
        return False
    write(path, content)
    return True


def remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    sync(path.parent)


@contextmanager
def single_instance(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the kernel drops it with this process. Raises TryAgain when another one has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TryAgain("another installer is at work on this machine") from None
        yield
    finally:
        os.close(descriptor)


def sync(folder: Path) -> None:
    """Bring what was made, renamed or removed in `folder` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
