"""The values that everything else passes around: frozen, without behaviour beyond their own names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class MachineState(StrEnum):
    """What a machine is doing. `WAITING` (no secrets yet) to `FAILED` are known only on the machine itself;
    `ACTIVE`, `DRAINING` and `DOWN` stand in etcd under /machines/NAME."""

    UNREACHABLE = "unreachable"
    WAITING = "waiting"
    INSTALLING = "installing"
    FAILED = "failed"
    ACTIVE = "active"
    DRAINING = "draining"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Machine:
    """A Linux host with Docker and systemd. `address`: IPv4, by which operators and members reach it."""

    name: str
    address: str
    os: str = "debian"
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """Where an instance answers. `address`: IPv4 or IPv6, without brackets."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Image:
    """One version of an image, by digest. `repository`: SYSTEM/NAME, without a registry;
    `digest`: sha256:... of the manifest in the registry."""

    name: str
    repository: str
    version: str
    digest: str

    def reference(self, registry: str) -> str:
        """Return the reference by which a machine pulls exactly these bytes from `registry` (HOST:PORT)."""
        return f"{registry}/{self.repository}@{self.digest}"


@dataclass(frozen=True, slots=True)
class Member:
    """One etcd member. `id`: hexadecimal, as etcdctl prints it; `name` is empty until it has started."""

    id: str
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    learner: bool = False
    leader: bool = False
    healthy: bool = False
    version: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """A file of root's on a machine. `path`: absolute; `mode`: permission bits."""

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
class Step:
    """One step of a plan, as `--dry-run` prints it: `subject: action`. `down_seconds`: about how long something does
    not serve for it; nothing is down when it is None."""

    subject: str
    action: str
    down_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return `{"subject", "action"}`, with `down_seconds` where something is down."""
        down = {} if self.down_seconds is None else {"down_seconds": self.down_seconds}
        return {"subject": self.subject, "action": self.action, **down}

    def __str__(self) -> str:
        return f"{self.subject}: {self.action}"
