"""Pure. What makes a local cluster's machines, their states, and what one boots with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from argosy.model import Machine

VAGRANT = "vagrant"
ENGINE = "engine"

RUNNING = "running"
STOPPED = "stopped"
ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Boot:
    """A machine and the cloud-config file that it boots with."""

    machine: Machine
    cloud_config: Path
