"""What the other modules here need of a `Host`, so that they can stand below it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import paramiko

    from argosy.config.sections import SshSettings
    from argosy.model import Machine


class Link(Protocol):
    """One machine and the connection to it; each member is explained where `argosy.ssh.host.Host` has it."""

    machine: Machine
    name: str
    ssh: SshSettings
    address: str
    known_hosts: Path
    key: Path | None
    sessions: threading.BoundedSemaphore
    cancelled: threading.Event

    @property
    def gateway(self) -> Link | None: ...
    @property
    def where(self) -> str: ...
    def elevates(self, sudo: bool) -> bool: ...
    def connect(self) -> paramiko.Transport: ...
    def dial(self, address: str, port: int) -> paramiko.Channel: ...
