"""`cluster.verify` and the section of `cluster.status`, from real ssh servers and a real etcd; only the machine's own
command is a stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from etcd_cluster import EtcdCluster
from ssh_server import requires_namespaces, requires_sshd
from telling_machines import SERVICES, Lab, telling_lab

from argosy import etcd
from argosy.cluster.opening import OpenCluster
from argosy.discovery import observing
from argosy.discovery import routers as waiting
from argosy.routing.haproxy import server_name
from argosy.schema import parse_endpoint
from argosy.ssh.host import Hosts
from argosy.status import verifying
from argosy.status.verification import Verification

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
        self.facts = {machine.name: self.well(machine.name, machine.address) for machine in lab.cluster.machines}
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
        endpoints = {machine.name: parse_endpoint(f"{machine.address}:8080") for machine in self.lab.cluster.machines}
        servers = {server_name(f"{owner}:air-web", endpoint): endpoint.address for owner, endpoint in endpoints.items()}
        rows = [f"1 service-web 1 {server} {at} 2 0 100 0 8080" for server, at in servers.items()]
        return {
            "machine": name,
            "release": "0.1.4",
            "release_image": "registry/air/installer@sha256:4",
            "services": [
                {**service, "digest": f"sha256:{service['name']}", "release_digest": f"sha256:{service['name']}"}
                for service in [*SERVICES, AGENT, {**AGENT, "name": "router"}, {**AGENT, "name": "dns"}]
            ],
            "containers": [docker_says(name, address)],
            "bridge": BRIDGE,
            "router": {"servers": "\n".join(["1", f"# {COLUMNS}", *rows, ""])},
        }

    def observe(self, told: list[str] | None = None) -> Verification:
        names = json.dumps({"names": {name: [BRIDGE] for name in ("router.local", "web.local")}})
        for name, facts in self.facts.items():
            program = self.lab.cluster.folder / "opt" / name / "air" / "bin" / "air"
            (program.parent / "facts").write_text(f"{json.dumps(facts)}\n{names}\n")
            program.write_text(COMMAND)
        settings = self.lab.settings()
        with Hosts(settings, self.lab.cluster.machines) as hosts:
            return verifying.observe(
                settings, hosts, lambda _, message: (told if told is not None else []).append(message)
            )


@pytest.fixture
def verified(own_cluster: EtcdCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Verified]:
    monkeypatch.setattr(verifying, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(waiting, "FOLLOW_UP_SECONDS", 0.3)
    with telling_lab(own_cluster) as lab:
        yield Verified(lab)


def test_every_hop_of_a_cluster_that_is_well_agrees(verified: Verified) -> None:
    told: list[str] = []
    found = verified.observe(told)
    assert [str(chain) for chain in found.differing] == []
    assert len(found.chains) == 12
    assert (found.release, told) == ("0.1.4", [])


def test_what_differs_is_looked_at_again_and_then_named(verified: Verified) -> None:
    verified.facts["air-02"]["services"][0]["digest"] = "sha256:other"
    verified.facts["air-03"]["containers"] = []
    told: list[str] = []
    lines = [str(chain) for chain in verified.observe(told).differing]
    assert told == ["2 chains differ; looking again in 0.1 s"] * 2
    assert lines == [
        "web on air-02: container: it runs sha256:other, the release has sha256:web",
        "web on air-03: container: etcd has it, and air-03 runs no container air-web that declares it",
    ]


def test_a_machine_that_can_t_be_asked_or_has_no_such_command_is_told(verified: Verified) -> None:
    verified.lab.servers["air-01"].stop()
    verified.facts["air-02"] = {"nothing": "of use"}
    lines = [str(chain) for chain in verified.observe().differing]
    assert any(line.startswith("web on air-01: release: no ssh connection to ") for line in lines)
    assert any("web on air-02: release: /opt/air/bin/air facts ended with 0: " in line for line in lines)
    assert not any("\n" in line for line in lines)


def test_routers_are_asked_for_the_health_of_instances(verified: Verified) -> None:
    verified.observe()
    settings, machines = verified.lab.settings(), verified.lab.cluster.machines
    verified.lab.servers["air-03"].stop()
    silent: list[str] = []
    with OpenCluster(settings, lambda name, _: silent.append(name), machines=machines) as opened:
        report = observing.observe(opened, health=True)
    assert silent == ["air-03"]
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
    assert shown.problems()[0] == "air-01: its router reports nothing: is its agent running?"
    assert shown.problems()[1].startswith("air-02: its router is behind: it has applied 1, ")
    assert len(shown.problems()) == 3
    assert "is none of" in shown.to_json()["discovery"]["problems"][0]
