"""Pure. The one description of a machine, which every dialect renders."""

from __future__ import annotations

from dataclasses import dataclass

from argosy.model import File, Unit


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who logs in by key only and may become root without a password."""

    name: str
    authorized_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """What a machine is made of. `own_hosts_file`: the OS may write /etc/hosts (in a container the engine does)."""

    os: str
    hostname: str
    users: tuple[User, ...]
    files: tuple[File, ...]
    units: tuple[Unit, ...]
    own_hosts_file: bool = True
