"""`local.ssh-config`: what makes `ssh air-01` work from any terminal of the provisioning host."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from argosy import atomic, inventory
from argosy.config.loading import Settings
from argosy.model import Machine
from argosy.ssh.keypair import key_path


def render(settings: Settings, machines: Sequence[Machine]) -> str:
    """Return a Host section for each machine (ssh_config(5)): our key alone, our known_hosts alone, strictly."""
    return "\n".join(_section(settings, machine) for machine in machines)


def write(settings: Settings, path: Path) -> str:
    """Write the sections of the cluster's machines to `path` (0600); return the line to put first in ~/.ssh/config."""
    atomic.write_if_changed(path, render(settings, inventory.select(settings)).encode(), mode=0o600)
    return f"Include {_quoted(path.resolve())}"


def _section(settings: Settings, machine: Machine) -> str:
    known_hosts = (settings.state_path / "known_hosts").resolve()
    ssh = settings.ssh_of(machine)
    lines = [
        f"Host {machine.name}",
        f"    HostName {ssh.host}",
        f"    Port {ssh.port}",
        f"    User {ssh.user}",
        f"    IdentityFile {_quoted(key_path(settings).resolve())}",
        "    IdentitiesOnly yes",
        f"    UserKnownHostsFile {_quoted(known_hosts)}",
        "    GlobalKnownHostsFile none",
        "    StrictHostKeyChecking yes",
    ]
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    """Quote for ssh_config, where % begins a token and a quoted word may hold spaces."""
    text = str(path).replace("%", "%%")
    return f'"{text}"' if " " in text else text
