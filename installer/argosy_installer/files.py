"""The lock of the one installer, and what it removes for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from argosy import atomic
from argosy_installer.errors import TryAgain
from argosy_installer.machine import Machine


def remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    atomic.sync_folder(path.parent)


@contextmanager
def single_instance(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the kernel drops it with this process. Raises TryAgain when another one has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(atomic.locked(path, wait=False))
        except BlockingIOError:
            raise TryAgain("another installer is at work on this machine") from None
        yield


def remove_leftovers(machine: Machine) -> None:
    """Remove what a killed installer left beside the files that it wrote."""
    atomic.remove_leftovers(machine.units, f"{machine.system}-")
    atomic.remove_leftovers(machine.state / "services")
    for written in ("install.json", "release.json", "units.sha256"):
        atomic.remove_leftovers(machine.state, written)
