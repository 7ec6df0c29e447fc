"""The pinned host keys of a machine, in the cluster's known_hosts: under the name and port that it is reached by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from argosy.ssh import known_hosts
from argosy.ssh.known_hosts import HostKey

if TYPE_CHECKING:
    from argosy.config.loading import Settings
    from argosy.model import Machine


def path(settings: Settings) -> Path:
    """Return the cluster's known_hosts file."""
    return settings.state_path / "known_hosts"


def pinned(settings: Settings, machine: Machine) -> tuple[HostKey, ...]:
    """Return the keys that are trusted for the machine; none when it was never trusted."""
    target = settings.ssh_of(machine)
    return known_hosts.read(path(settings)).get(known_hosts.entry_name(target.host, target.port), ())


def pin(settings: Settings, machine: Machine, *keys: HostKey | str) -> bool:
    """Make `keys` the machine's only ones. Idempotent: returns whether the file changed."""
    target = settings.ssh_of(machine)
    return known_hosts.pin(path(settings), target.host, target.port, *keys)


def forget(settings: Settings, machine: Machine) -> bool:
    """Remove the machine's keys. Idempotent: returns whether the file changed."""
    target = settings.ssh_of(machine)
    return known_hosts.forget(path(settings), target.host, target.port)
