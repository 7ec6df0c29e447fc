"""`cluster.verify` and the section of `cluster.status`, from real ssh servers and a real etcd; only the machine's own
command is a stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from etcd_cluster import EtcdCluster
from ssh_server import requires_sshd
from telling_machines import SERVICES, Lab, requires_namespaces, telling_lab

from argosy import etcd
from argosy.host import Hosts
from argosy.operations import verify
from argosy.operations.discovery import listing
from argosy.operations.discovery import routers as waiting
from argosy.router_config import server_name
from argosy.schema import parse_endpoint
from argosy.verification import Verification

pytest_plugins = ["etcd_fixtures"]
pytestmark = [pytest.mark.integration, requires_sshd, requires_namespaces]

AGENT = {"name": "agent", "unit": "active", "check": "passing"}
BRIDGE = "172.17.42.1"
COLUMNS = "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_check_state srv_port"
COMMAND = """#!/bin/sh
case $* in facts | "facts router.local web.local") ;; *) exit 2 ;; esac
exec cat "$(dirname "$0")/facts"
"""


def docker_says(machine: str, address: str) -> dict[str, Any]:
    """Return what `docker inspect` tells of the service's container."""
    return {
        "Id": f"id-{machine}",
        "Name": "/air-web",
        "State": {"Running": True, "Paused": False, "Restarting": False, "StartedAt": "now", "Health": None},
        "Config": {
            "Image": "registry/air/web@sha256:web",
            "Labels": {"argosy.service": "web", "argosy.scheme": "http", "argosy.port": "80"},
            "ExposedPorts": {"80/tcp": {}},
            "StopSignal": None,
        },
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}, "Networks": {}},
    }


class Verified:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.facts = {it.name: self.well(it.name, it.address) for it in lab.cluster.machines}
        with etcd.connect(lab.cluster.settings(), lab.cluster.machines) as store:
            store.put("/services/web/scheme", "http")
            for machine in lab.cluster.machines:
                record = {"address": machine.address, "release": "0.1.4", "state": "active"}
                store.put(f"/machines/{machine.name}", json.dumps(record))
                store.put(f"/services/web/hosts/{machine.name}:air-web", f"{machine.address}:8080")
            self.applied(store.health())

    def applied(self, revision: int) -> None:
        with etcd.connect(self.lab.cluster.settings(), self.lab.cluster.machines) as store:
            for machine in self.lab.cluster.machines:
                store.put(f"/routers/{machine.name}", str(revision))

    def well(self, name: str, address: str) -> dict[str, Any]:
        endpoints = {it.name: parse_endpoint(f"{it.address}:8080") for it in self.lab.cluster.machines}
        servers = {server_name(f"{owner}:air-web", it): it.address for owner, it in endpoints.items()}
        rows = [f"1 service-web 1 {server} {at} 2 0 100 0 8080" for server, at in servers.items()]
        return {
            "machine": name,
            "release": "0.1.4",
            "release_image": "registry/air/installer@sha256:4",
            "services": [
                {**it, "digest": f"sha256:{it['name']}", "release_digest": f"sha256:{it['name']}"}
                for it in [*SERVICES, AGENT, {**AGENT, "name": "router"}, {**AGENT, "name": "dns"}]
            ],
            "containers": [docker_says(name, address)],
            "bridge": BRIDGE,
            "router": {"servers": "\n".join(["1", f"# {COLUMNS}", *rows, ""])},
        }

    def observe(self, told: list[str] | None = None) -> Verification:
        names = json.dumps({"names": {it: [BRIDGE] for it in ("router.local", "web.local")}})
        for name, facts in self.facts.items():
            program = self.lab.cluster.folder / "opt" / name / "air" / "bin" / "air"
            (program.parent / "facts").write_text(f"{json.dumps(facts)}\n{names}\n")
            program.write_text(COMMAND)
        settings = self.lab.settings()
        with Hosts(settings, self.lab.cluster.machines) as hosts:
            return verify.observe(
                settings, hosts, lambda _, message: (told if told is not None else []).append(message)
            )


@pytest.fixture
def verified(own_cluster: EtcdCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Verified]:
    monkeypatch.setattr(verify, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(waiting, "FOLLOW_UP_SECONDS", 0.3)
    with telling_lab(own_cluster) as lab:
        yield Verified(lab)


def test_every_hop_of_a_cluster_that_is_well_agrees(verified: Verified) -> None:
    told: list[str] = []
    found = verified.observe(told)
    assert [str(it) for it in found.differing] == []
    assert len(found.chains) == 12
    assert (found.release, told) == ("0.1.4", [])


def test_what_differs_is_looked_at_again_and_then_named(verified: Verified) -> None:
    verified.facts["air-02"]["services"][0]["digest"] = "sha256:other"
    verified.facts["air-03"]["containers"] = []
    told: list[str] = []
    lines = [str(it) for it in verified.observe(told).differing]
    assert told == ["2 chains differ; looking again in 0.1 s"] * 2
    assert lines == [
        "web on air-02: container: it runs sha256:other, the release has sha256:web",
        "web on air-03: container: etcd has it, and air-03 runs no container air-web that declares it",
    ]


def test_a_machine_that_can_t_be_asked_or_has_no_such_command_is_told(verified: Verified) -> None:
    verified.lab.servers["air-01"].stop()
    verified.facts["air-02"] = {"nothing": "of use"}
    lines = [str(it) for it in verified.observe().differing]
    assert any(line.startswith("web on air-01: release: no ssh connection to ") for line in lines)
    assert any("web on air-02: release: /opt/air/bin/air facts ended with 0: " in line for line in lines)
    assert not any("\n" in line for line in lines)


def test_routers_are_asked_for_the_health_of_instances(verified: Verified) -> None:
    verified.observe()
    settings, machines = verified.lab.settings(), verified.lab.cluster.machines
    verified.lab.servers["air-03"].stop()
    with Hosts(settings, machines) as hosts, etcd.connect(settings, machines) as store:
        report, silent = listing.with_health(settings, hosts, listing.observe(settings, store))
    assert set(silent) == {"air-03"}
    assert report.health["web", "air-03:air-web"] == {"air-01": "up", "air-02": "up"}


def test_the_status_has_a_section_on_discovery(verified: Verified) -> None:
    for machine in verified.lab.cluster.machines:
        verified.lab.says(machine.name, state="active", release="0.1.4", services=[*SERVICES, AGENT])
    shown = verified.lab.observe()
    assert shown.problems() == []
    section = shown.to_json()["discovery"]
    assert (section["services"], section["instances"], section["problems"]) == (1, 3, [])
    assert set(section["routers"]) == {"air-01", "air-02", "air-03"}
    verified.applied(1)
    with etcd.connect(verified.lab.cluster.settings(), verified.lab.cluster.machines) as store:
        store.put("/services/odd/scheme", "ftp")
        store.delete("/routers/air-01")
    shown = verified.lab.observe()
    assert shown.problems()[0] == "air-01: its router tells nothing: is its agent running?"
    assert shown.problems()[1].startswith("air-02: its router is behind: it has applied 1, ")
    assert len(shown.problems()) == 3
    assert "is none of" in shown.to_json()["discovery"]["problems"][0]
