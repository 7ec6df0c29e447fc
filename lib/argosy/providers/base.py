"""What a provider of machines does: make them, say how they are, destroy them. One implementation per file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from argosy.model import Machine

RUNNING = "running"
STOPPED = "stopped"
ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Boot:
    """A machine and the cloud-config file that it boots with."""

    machine: Machine
    cloud_config: Path


class Provider(Protocol):
    """Machines of one cluster. Every call is idempotent, and safe after a call that was killed."""

    def up(self, boots: Sequence[Boot], only: Sequence[Machine] = ()) -> None:
        """Make and boot the machines, in parallel where the provider can; those that run are left as they are.

        `boots`: all machines of the cluster; `only`: those that are touched, all when empty.
        """

    def states(self, machines: Sequence[Machine]) -> dict[str, str]:
        """Return name -> `running`, `stopped`, `absent`, or the provider's own word for another state."""

    def host_keys(self, machine: Machine) -> Sequence[str]:
        """Return the machine's public ssh host keys (`TYPE BASE64`), not read over the network that they secure."""

    def destroy(self, machines: Sequence[Machine]) -> Sequence[str]:
        """Destroy the machines with their disks; return what was removed, empty when nothing was there."""

    def remove(self, machine: Machine) -> bool:
        """Destroy one machine with its disk and leave the others alone; return whether there was anything of it."""

    def console(self, machine: Machine) -> str:
        """Return the last lines of the machine's own console: why it did not boot."""
