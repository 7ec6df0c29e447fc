"""Machines that can be given secrets: real sshds, each with an /etc of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from ssh_server import SshServer, free_port, requires_sshd

from argosy import known_hosts
from argosy.config import Settings, load
from argosy.host import Hosts
from argosy.model import Machine, Step
from argosy.operations import secrets
from argosy.secret_transfer import Change

# A private copy of /etc as the sshd and its children see it, so that this host's own is left alone.
OWN_ETC = 'cp -a /etc "$0" && mount --bind "$0" /etc && exec "$@"'


def _may_unshare() -> bool:
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0


MARKS = [
    pytest.mark.integration,
    requires_sshd,
    pytest.mark.skipif(not _may_unshare(), reason="needs root and mount namespaces; the e2e tests do it on machines"),
]

MACHINES = [Machine(f"air-{number:02}", f"127.0.9.{number}") for number in (1, 2, 3)]


class Lab:
    """Three machines. `etc(NAME)`: what a machine has as /etc."""

    def __init__(self, folder: Path, servers: list[SshServer]) -> None:
        self.folder = folder
        self.servers = servers
        self.reported: list[tuple[str, str]] = []

    def settings(self, **section: Any) -> Settings:
        ssh = {"user": "root", "port": self.servers[0].port, "key": str(self.servers[0].key), "connect_attempts": 1}
        document = {"registry": {"address": "10.0.0.5:5000"}, "ssh": ssh} | section
        settings = load({"clusters": {"test": document}}, root=self.folder)
        settings.state_path.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.servers[0].pins, settings.state_path / "known_hosts")
        return settings

    def etc(self, name: str) -> Path:
        return self.folder / name / "etc"

    def held(self, name: str) -> dict[str, bytes]:
        folder = self.etc(name) / "air" / "secrets"
        return {str(it.relative_to(folder)): it.read_bytes() for it in folder.rglob("*") if it.is_file()}

    def report(self, subject: str, message: str) -> None:
        self.reported.append((subject, message))

    def upload(self, settings: Settings) -> dict[str, list[Change]]:
        self.reported.clear()
        with Hosts(settings, MACHINES) as hosts:
            return secrets.upload(hosts, settings, MACHINES, self.report)

    def plan(self, settings: Settings) -> list[Step]:
        with Hosts(settings, MACHINES) as hosts:
            return secrets.plan(hosts, settings, MACHINES)


@contextmanager
def machines_with_secrets(folder: Path) -> Iterator[Lab]:
    """Give three machines, as sshds with an /etc of their own in `folder`."""
    port = free_port("127.0.9.1")
    with ExitStack() as stack:
        servers: list[SshServer] = []
        for machine in MACHINES:
            home = folder / machine.name
            home.mkdir()
            wrapper = ["unshare", "-m", "sh", "-c", OWN_ETC, str(home / "etc")]
            server = SshServer(home / "sshd", addresses=[machine.address], port=port, wrapper=wrapper)
            if servers:
                shutil.copytree(servers[0].folder, server.folder)
                server.pin()
            else:
                server.prepare()
                for other in MACHINES[1:]:
                    _pin(server, other.address)
            server.start()
            stack.callback(server.stop)
            servers.append(server)
        yield Lab(folder, servers)


def _pin(server: SshServer, address: str) -> None:
    known_hosts.pin(server.pins, address, server.port, (server.folder / "host_key.pub").read_text())
