"""`cluster.trust`: scan, choose, pin, on real sshds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from invoke.config import Config
from invoke.context import Context
from raised import raises
from ssh_server import SshServer, requires_sshd, ssh_server

from argosy.config.loading import Settings, load
from argosy.errors import ConfigError, HostKeyMismatch, HostsFailed, HostUnreachable, Refused
from argosy.machine import trust
from argosy.model import Machine
from argosy.ssh import pins
from argosy.ssh.host import Hosts
from argosy.ssh.known_hosts import HostKey
from argosy.tasks import cluster as tasks

pytestmark = [pytest.mark.integration, requires_sshd]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with ssh_server(tmp_path / "sshd") as running:
        yield running


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[SshServer]]:
    """Two machines, each with a port and a key of its own."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(ssh_server(tmp_path / f"sshd{number}", addresses=(f"127.0.0.{number}",)))
            for number in (1, 2)
        ]


def key_of(server: SshServer) -> HostKey:
    return HostKey.parse((server.folder / "host_key.pub").read_text())


def config(servers: list[SshServer], machines: Mapping[str, Any]) -> dict[str, Any]:
    """Only the first server's key lets anybody in; `ssh` says nothing of users and ports that is right."""
    ssh = {"user": "nobody-here", "port": 9, "key": str(servers[0].key), "connect_attempts": 1}
    return {"clusters": {"test": {"ssh": ssh, "machines": dict(machines)}}}


def lines(servers: list[SshServer]) -> dict[str, Any]:
    user = servers[0].host().ssh.user
    return {
        f"air-0{number}": {"address": server.addresses[0], "ssh": {"port": server.port, "user": user}}
        for number, server in enumerate(servers, 1)
    }


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

    with pytest.raises(HostKeyMismatch, match=r"^entry node localhost: .* inv cluster.trust localhost --port"):
        trust.offers(settings, ["air-01"])
    for word in ("localhost", "air-01"):
        (offer,) = trust.offers(settings, [word])
        assert offer.keys == (key_of(server),)
        assert not offer.trusted
        assert trust.pin(settings, offer)
        assert not trust.pin(settings, offer)
        assert trust.offers(settings, [word])[0].trusted
    with Hosts(settings, [Machine("air-01", "127.0.0.1")]) as hosts:
        assert hosts["air-01"].run(["echo", "in"]).stdout == "in\n"
    server.stop()
    with pytest.raises(HostUnreachable):
        trust.offers(settings, ["air-01"])


def test_each_machine_is_trusted_and_reached_at_the_place_that_its_line_names(
    servers: list[SshServer], tmp_path: Path
) -> None:
    machines = lines(servers)
    machines["air-01"]["ssh"]["host"] = "localhost"
    settings = load(config(servers, machines), root=tmp_path)
    (servers[1].folder / "authorized_keys").write_text((servers[0].folder / "authorized_keys").read_text())
    known = [Machine(name, entry.address) for name, entry in settings.machines.items()]

    for offer in trust.offers(settings, ["air-01", "127.0.0.2"]):
        trust.pin(settings, offer)

    assert pins.path(settings).read_text().splitlines() == [
        f"[localhost]:{servers[0].port} {key_of(servers[0])}",
        f"[127.0.0.2]:{servers[1].port} {key_of(servers[1])}",
    ]
    with Hosts(settings, known) as hosts:
        assert {host.name: host.run(["echo", "in"]).stdout for host in hosts} == {"air-01": "in\n", "air-02": "in\n"}
        assert hosts["air-01"].where == f"localhost:{servers[0].port}"
    assert trust.offers(settings, ["localhost"])[0].trusted, "by the name of its ssh server, too"
    assert pins.forget(settings, known[0])
    assert pins.pinned(settings, known[0]) == ()
    with Hosts(settings, known) as hosts, pytest.raises(HostKeyMismatch) as caught:
        hosts["air-01"].run(["true"])
    assert str(caught.value).endswith(f"inv cluster.trust 127.0.0.1 --port {servers[0].port}")


def test_nothing_is_trusted_unless_all_have_answered(servers: list[SshServer], tmp_path: Path) -> None:
    settings = load(config(servers, lines(servers)), root=tmp_path)
    fingerprints = [key_of(server).fingerprint for server in servers]

    offers = trust.offers(settings, ["air-02", "air-01"], fingerprints=fingerprints[::-1])
    assert [(offer.word, offer.keys) for offer in offers] == [
        ("air-02", (key_of(servers[1]),)),
        ("air-01", (key_of(servers[0]),)),
    ]
    with pytest.raises(HostsFailed, match="nothing was trusted"):
        trust.offers(settings, ["air-01", "air-02"], fingerprints=fingerprints[::-1])
    with raises(ConfigError, "one for each of the 2 machines", path="fingerprint"):
        trust.offers(settings, ["air-01", "air-02"], fingerprints=fingerprints[:1])
    with raises(ConfigError, "the same as air-01", path="127.0.0.1"):
        trust.offers(settings, ["air-01", "127.0.0.1"])
    servers[1].stop()
    with pytest.raises(HostsFailed, match="air-02"):
        trust.offers(settings, ["air-01", "air-02"])
    assert not pins.path(settings).exists()


def test_the_task_shows_all_and_asks_only_for_keys_that_are_new(
    servers: list[SshServer], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    context = Context(Config(overrides=config(servers, lines(servers))))
    settings: Settings = load(context.config)

    def told(*names: str, **flags: Any) -> str:
        tasks.trust(context, list(names), flags.pop("fingerprint", []), **flags)
        return capsys.readouterr().out

    with pytest.raises(Refused, match=r"air-01's key.*--yes"):
        told("air-01", "air-02")
    assert key_of(servers[0]).fingerprint in capsys.readouterr().out
    told("air-01", "air-02", dry_run=True)
    assert not pins.path(settings).exists()

    shown = told("air-01", "air-02", yes=True)
    assert [line.split()[0] for line in shown.splitlines()] == ["air-01", "air-02"]
    before = pins.path(settings).read_bytes()
    assert "air-01 is known by this already" in told("air-01", "air-02"), "nobody is asked"
    document = json.loads(told("air-02", json=True))
    assert document == [
        {
            "machine": "air-02",
            "host": "127.0.0.2",
            "port": servers[1].port,
            "keys": [{"type": "ssh-ed25519", "fingerprint": key_of(servers[1]).fingerprint}],
            "trusted": True,
        }
    ]
    assert pins.path(settings).read_bytes() == before

    pins.pin(settings, Machine("air-01", "127.0.0.1"), key_of(servers[1]))
    with pytest.raises(Refused):
        told("air-01")
    assert f"air-01 was known by {key_of(servers[1]).fingerprint}" in capsys.readouterr().out
    told("air-01", fingerprint=[key_of(servers[0]).fingerprint])
    assert pins.pinned(settings, Machine("air-01", "127.0.0.1")) == (key_of(servers[0]),)
