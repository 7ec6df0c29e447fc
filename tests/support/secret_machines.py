"""Machines that can be given secrets: real sshds, each with an /etc of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from ssh_server import SshServer, free_port, requires_namespaces, requires_sshd

from argosy.cluster.opening import OpenCluster
from argosy.config.loading import Settings, load
from argosy.model import Machine, Step
from argosy.secrets import syncing
from argosy.secrets.transfer import Change
from argosy.ssh import known_hosts

# A private copy of /etc as the sshd and its children see it, so that this host's own is left alone.
OWN_ETC = 'cp -a /etc "$0" && mount --bind "$0" /etc && exec "$@"'


MARKS = [
    pytest.mark.integration,
    requires_sshd,
    requires_namespaces,
]

MACHINES = [Machine(f"air-{number:02}", f"127.0.9.{number}") for number in (1, 2, 3)]


class Lab:
    """Three machines. `etc(NAME)`: what a machine has as /etc."""

    def __init__(self, folder: Path, servers: list[SshServer]) -> None:
        self.folder = folder
        self.servers = servers
        self.reported: list[tuple[str, str]] = []

    def settings(self, *, root: Path | None = None, **section: Any) -> Settings:
        """`root`: of another checkout."""
        ssh = {"user": "root", "port": self.servers[0].port, "key": str(self.servers[0].key), "connect_attempts": 1}
        document = {"registry": {"address": "10.0.0.5:5000"}, "ssh": ssh} | section
        settings = load({"clusters": {"test": document}}, root=root or self.folder)
        settings.state_path.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.servers[0].pins, settings.state_path / "known_hosts")
        return settings

    def start(self) -> None:
        """Start the machines that were stopped."""
        for server in self.servers:
            if server.process is None:
                server.start()

    def etc(self, name: str) -> Path:
        return self.folder / name / "etc"

    def held(self, name: str) -> dict[str, bytes]:
        folder = self.etc(name) / "air" / "secrets"
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def report(self, subject: str, message: str) -> None:
        self.reported.append((subject, message))

    def upload(self, settings: Settings, agree: syncing.Agree = syncing.refuse_taking) -> dict[str, list[Change]]:
        self.reported.clear()
        with OpenCluster(settings, self.report, machines=MACHINES) as cluster:
            return dict(syncing.upload(cluster, MACHINES, agree).changes)

    def plan(self, settings: Settings) -> list[Step]:
        with OpenCluster(settings, machines=MACHINES) as cluster:
            return syncing.plan(cluster, MACHINES)[1]


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
