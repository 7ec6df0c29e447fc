"""Files that are either as they were or as they must be (written aside, synced, renamed), and a lock of processes."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TEMPORARY_SUFFIX = ".tmp"


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace `path` with `data` in one step; the folder must exist.

    The file never has more permissions than `mode`, not even for a moment (mkstemp makes it 0600), and after a crash
    it holds the old content or the new one.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY_SUFFIX)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    sync_folder(path.parent)


def write_if_changed(path: Path, data: bytes, mode: int = 0o644) -> bool:
    """Do what `write` does unless `path` already holds exactly this. Returns whether it wrote."""
    if path.is_file() and path.read_bytes() == data and path.stat().st_mode & 0o777 == mode:
        return False
    write(path, data, mode)
    return True


def ensure_private_folder(path: Path) -> None:
    """Make `path` and its missing parents with mode 0700, and close `path` itself to others if it was open."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)


def remove_leftovers(folder: Path, stem: str = "") -> None:
    """Remove what killed writers of files STEM... left in `folder`. Only where all writers of these hold one lock."""
    for leftover in folder.glob(f".{stem}*{_TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path` (its folder must exist). The kernel drops it with its holder, however that ends.

    `wait`: until it is free; else BlockingIOError is raised when another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make sure that the names in `folder` outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
