"""`cluster.trust`: scan, choose, pin, on real sshds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ssh_server import SshServer, requires_sshd, ssh_server

from argosy.config import load
from argosy.errors import HostKeyMismatch, HostUnreachable
from argosy.host import Hosts
from argosy.known_hosts import HostKey
from argosy.model import Machine
from argosy.operations import trust

pytestmark = [pytest.mark.integration, requires_sshd]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with ssh_server(tmp_path / "sshd") as running:
        yield running


def test_a_host_is_reached_once_its_key_is_trusted(server: SshServer, tmp_path: Path) -> None:
    """The server is both the machine and, by name, its entry node."""
    ssh = {
        "user": server.host().ssh.user,
        "port": server.port,
        "key": str(server.key),
        "entry_node": f"localhost:{server.port}",
        "connect_attempts": 1,
    }
    machine = {"air-01": {"address": "127.0.0.1"}}
    settings = load({"clusters": {"test": {"ssh": ssh, "machines": machine}}}, root=tmp_path)
    key = HostKey.parse((server.folder / "host_key.pub").read_text())

    with pytest.raises(HostKeyMismatch, match=r"^entry node localhost: .* inv cluster.trust localhost --port"):
        trust.scan(settings, "air-01")
    for word in ("localhost", "air-01"):
        assert trust.scan(settings, word) == [key]
        assert trust.pin(settings, word, 0, [key])
        assert not trust.pin(settings, word, 0, [key])
    with Hosts(settings, [Machine("air-01", "127.0.0.1")]) as hosts:
        assert hosts["air-01"].run(["echo", "in"]).stdout == "in\n"
    server.stop()
    with pytest.raises(HostUnreachable):
        trust.scan(settings, "air-01")
