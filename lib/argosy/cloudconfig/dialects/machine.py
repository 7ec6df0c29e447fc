"""The one description of a machine, which every dialect renders. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who logs in by key only and may become root without a password."""

    name: str
    authorized_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class File:
    """A file of root's. `path`: absolute; `mode`: permission bits."""

    path: str
    content: str
    mode: int = 0o644

    @property
    def permissions(self) -> str:
        """The mode in octal as cloud-configs write it, such as `0644`."""
        return f"{self.mode:04o}"


@dataclass(frozen=True, slots=True)
class Unit:
    """A systemd unit in /etc/systemd/system. `enabled`: started at every boot; `started`: at the first one, too.

    One that is enabled and not started waits for something else to start it the first time.
    """

    name: str
    content: str
    enabled: bool = False
    started: bool = False

    @property
    def path(self) -> str:
        return f"/etc/systemd/system/{self.name}"


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """What a machine is made of. `own_hosts_file`: the OS may write /etc/hosts (in a container the engine does)."""

    os: str
    hostname: str
    users: tuple[User, ...]
    files: tuple[File, ...]
    units: tuple[Unit, ...]
    own_hosts_file: bool = True
