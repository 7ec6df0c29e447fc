"""Secrets on machines: real sshds, each with an /etc of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ssh_server import SshServer, free_port, requires_sshd

from argosy import known_hosts
from argosy.config import Settings, load
from argosy.errors import ConfigError, HostsFailed
from argosy.host import Hosts
from argosy.model import Machine, Step
from argosy.operations import secrets
from argosy.secret_transfer import Change

# A private copy of /etc as the sshd and its children see it, so that this host's own is left alone.
OWN_ETC = 'cp -a /etc "$0" && mount --bind "$0" /etc && exec "$@"'


def _may_unshare() -> bool:
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0


pytestmark = [
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


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    port = free_port("127.0.9.1")
    with ExitStack() as stack:
        servers: list[SshServer] = []
        for machine in MACHINES:
            home = tmp_path / machine.name
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
        yield Lab(tmp_path, servers)


def _pin(server: SshServer, address: str) -> None:
    known_hosts.pin(server.pins, address, server.port, (server.folder / "host_key.pub").read_text())


SECRETS = {"token": {"generate_bytes": 8}, "printed": {"command": ["printf", "hunter2"]}}


def test_every_machine_gets_its_own_and_a_second_run_changes_nothing(lab: Lab) -> None:
    settings = lab.settings(secrets=SECRETS)
    lab.upload(settings)
    for machine in MACHINES:
        wanted = {name: it.reveal() for name, it in secrets.files_for(settings, machine).items()}
        assert lab.held(machine.name) == {**wanted, ".complete": b""}
    assert lab.held("air-01")["etcd-server.key"] != lab.held("air-02")["etcd-server.key"]
    before = {path: path.stat().st_ctime_ns for path in lab.etc("air-01").joinpath("air").rglob("*")}
    assert lab.plan(settings) == []
    assert lab.upload(settings) == {machine.name: [] for machine in MACHINES}
    assert {path: path.stat().st_ctime_ns for path in before} == before
    assert sorted(lab.reported) == [(machine.name, "secrets: unchanged") for machine in MACHINES]


def test_a_dry_run_shows_names_and_neither_values_nor_changes(lab: Lab) -> None:
    settings = lab.settings(secrets=SECRETS)
    first = [str(step) for step in lab.plan(settings)]
    assert f"here: make {settings.secrets_path}/token" in first
    assert "air-03: write etcd-server.key" in first
    assert not settings.secrets_path.exists()
    assert not lab.etc("air-01").joinpath("air").exists()
    lab.upload(settings)
    (settings.secrets_path / "token").write_text("rotated")
    steps = [str(step) for step in lab.plan(settings)]
    assert steps == [f"{machine.name}: replace token" for machine in MACHINES]
    assert "rotated" not in "".join(steps)


def test_what_is_no_longer_wanted_goes_and_one_machine_that_lost_a_file_gets_it_back(lab: Lab) -> None:
    lab.upload(lab.settings(secrets=SECRETS))
    settings = lab.settings(secrets={"token": SECRETS["token"]})
    lab.etc("air-02").joinpath("air/secrets/ca.crt").unlink()
    changes = lab.upload(settings)
    assert [str(change) for change in changes["air-01"]] == ["remove printed"]
    assert [str(change) for change in changes["air-02"]] == ["remove printed", "write ca.crt"]
    assert "printed" not in lab.held("air-03")


def test_a_missing_secret_touches_no_machine(lab: Lab) -> None:
    with pytest.raises(ConfigError, match=r"secrets\.token: no file"):
        lab.upload(lab.settings(secrets={"token": {"file": "nowhere"}}))
    assert not lab.etc("air-01").joinpath("air").exists()


def test_the_hook_runs_before_a_change_and_not_without_one(lab: Lab) -> None:
    settings = lab.settings(hooks={"prepare_machine": ["echo one >>/etc/hook-ran", "echo two >>/etc/hook-ran"]})
    assert "air-01: run echo one >>/etc/hook-ran" in [str(step) for step in lab.plan(settings)]
    lab.upload(settings)
    lab.upload(settings)
    assert lab.etc("air-01").joinpath("hook-ran").read_text() == "one\ntwo\n"


def test_a_hook_that_fails_stops_that_machine_alone(lab: Lab) -> None:
    lab.etc("air-02").joinpath("bad").touch()
    settings = lab.settings(hooks={"prepare_machine": ["test ! -e /etc/bad"]})
    with pytest.raises(HostsFailed) as caught:
        lab.upload(settings)
    assert set(caught.value.failures) == {"air-02"}
    assert ".complete" in lab.held("air-01")
    assert not lab.etc("air-02").joinpath("air").exists()


def test_a_full_disk_is_one_line_and_leaves_the_old_set_complete(lab: Lab) -> None:
    lab.upload(lab.settings())
    old = lab.held("air-01")
    machine_folder = lab.settings().secrets_path / "machine"
    machine_folder.mkdir()
    (machine_folder / "big").write_bytes(bytes(3 << 20))
    small_disk = """
        cp -a /etc/air/secrets /etc/air/old
        mount -t tmpfs -o size=1m,mode=700 none /etc/air/secrets
        cp -a /etc/air/old/. /etc/air/secrets/
    """
    settings = lab.settings()
    with Hosts(settings, MACHINES) as hosts:
        hosts["air-01"].run(small_disk)
        with pytest.raises(HostsFailed) as caught:
            secrets.upload(hosts, settings, MACHINES, lab.report)
        there = hosts["air-01"].run("cd /etc/air/secrets && find . -type f | sort").stdout.split()
    message = str(caught.value)
    assert "No space left on device" in message
    assert "\n" not in message
    assert there == sorted(f"./{name}" for name in old)
