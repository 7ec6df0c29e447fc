"""A core machine boots with the very user-data that the Compute API was given, and a second one joins its cluster."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import booted
import docker
import pytest
import tenacity
from booted import Booted, quiet
from lanes import suite_of

from argosy import inventory
from argosy.cloudconfig import writing
from argosy.cluster.opening import OpenCluster
from argosy.config.loading import Settings, load
from argosy.engine.names import CLUSTER_LABEL, SYSTEM_LABEL
from argosy.gce import creating, destroying
from argosy.gce.membership import forget
from argosy.images.store import IMAGE_LABEL, stamp
from argosy.images.versions import INSTALLER
from argosy.model import Machine
from argosy.report import Report
from argosy.secrets import syncing, upload
from compute_api import FakeCompute
from compute_api.state import State

pytestmark = [pytest.mark.e2e, pytest.mark.slow(2)]

ROOT = Path(__file__).resolve().parents[2]
SYSTEM, CLUSTER, NETWORK = "brig", "cloud", "192.168.61"
ETCDCTL = f"/opt/{SYSTEM}/bin/etcdctl"
RECORDING_CURL = """cat > /usr/local/bin/curl <<'END'
#!/bin/sh
echo "$@" >> /tmp/told
END
chmod 755 /usr/local/bin/curl
"""


def document(fake: FakeCompute) -> dict[str, object]:
    """Return the configuration: the lab's machines are containers with Debian, all else is as in a project."""
    core = {"os": "debian", "image": {"project": "debian-cloud", "family": "debian-12"}}
    where = {"project": fake.state.project, "zone": fake.state.zone, "emulator": fake.url, "types": {"core": core}}
    return {
        "system": SYSTEM,
        "build": {"suite": suite_of("test_gce.py", os.environ)},
        "registry": {"address": f"{NETWORK}.1:5061", "bind": [f"{NETWORK}.1"]},
        "docker": {"bip": "172.30.61.1/24"},
        "machine": {"container": True},
        "discovery": {"enabled": False},
        "images": {
            "etcd": {"context": str(ROOT / "images/etcd")},
            "registry": {"context": str(ROOT / "images/registry"), "push": False},
        },
        "clusters": {CLUSTER: {"provider": "gce", "gce": where}},
    }


def push_as_installer(settings: Settings) -> None:
    """Give the registry a release: cloud-configs name one, and what it installs is not what this is about."""
    login = {"username": settings.registry.user, "password": upload.registry_password(settings).reveal().decode()}
    repository = f"{settings.registry.address}/{SYSTEM}/installer/{CLUSTER}"
    client = docker.from_env()
    labels = {SYSTEM_LABEL: SYSTEM, CLUSTER_LABEL: CLUSTER, IMAGE_LABEL: INSTALLER}
    client.api.tag(stamp(client, INSTALLER, f"{SYSTEM}/etcd:0.1.0", labels), repository, "0.1.0")
    said = client.images.push(repository, "0.1.0", auth_config=login)
    client.images.remove(f"{repository}:0.1.0")
    client.close()
    assert "error" not in said, said


@dataclass
class Cloud:
    """A project whose machines are booted by the test."""

    settings: Settings
    fake: FakeCompute

    def boot(self, name: str) -> Booted:
        """Boot the machine as the API was told to: with its user-data, at its address."""
        (body,) = [body for body in self.fake.bodies("instances.insert") if body["name"] == name]
        items = {item["key"]: item["value"] for item in body["metadata"]["items"]}
        machine = Machine(name, body["networkInterfaces"][0]["networkIP"])
        return booted.boot(self.settings, machine, items["user-data"], self.settings.root)

    def install(self, machine: Booted) -> None:
        """Bring the machine its secrets over ssh, and wait until its etcd runs."""
        with OpenCluster(self.settings, quiet, machines=[machine.machine]) as cluster:
            syncing.upload(cluster, [machine.machine], syncing.refuse_taking)
        machine.wait(f"{ETCDCTL} endpoint status", seconds=120)


class Etcd:
    """Joins and leaves by etcdctl on a machine of the cluster."""

    def __init__(self, existing: Booted) -> None:
        self.existing = existing

    def join(self, settings: Settings, machine: Machine, format: str, report: Report) -> Path:
        # etcd refuses changes in its first seconds.
        peer = f"https://{machine.address}:{settings.etcd.peer_port}"
        self.existing.wait(f"{ETCDCTL} member add {machine.name} --learner --peer-urls={peer}")
        inventory.remember(settings, [machine])
        return writing.write(settings, [machine], report, format, initial_state="existing")[machine.name]

    def may_leave(self, settings: Settings, machine: Machine, report: Report) -> None:
        pass

    def leave(self, settings: Settings, machine: Machine, report: Report) -> None:
        self.existing.run(f"{ETCDCTL} member remove {self.members()[machine.name]}")
        forget(settings, machine)

    def members(self) -> dict[str, str]:
        """Return name -> id in hexadecimal."""
        found = json.loads(self.existing.run(f"{ETCDCTL} member list -w json"))["members"]
        return {member.get("name", ""): f"{member['ID']:x}" for member in found}


@pytest.fixture(scope="module")
def cloud(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    root = tmp_path_factory.mktemp("cloud")
    (root / "VERSION").write_text("0.1\n")
    state = State(subnet=f"{NETWORK}.0/24")
    state.images["debian-cloud", "debian-12"] = ["debian-12-bookworm-v20260101"]
    with FakeCompute(state=state) as fake:
        settings = load(document(fake), root=root)
        with booted.engine_lab(settings, NETWORK):
            push_as_installer(settings)
            yield Cloud(settings, fake)
            assert fake.invalid == []


def test_a_core_machine_boots_as_the_api_was_told_and_another_joins_and_leaves(cloud: Cloud) -> None:
    creating.create(cloud.settings, "core", ["core1"], quiet)
    first = cloud.boot("core1")
    assert "status: done" in first.run("cloud-init status --long")
    cloud.install(first)
    told = Etcd(first)
    assert set(told.members()) == {"core1"}

    creating.create(cloud.settings, "core", ["core2"], quiet, told)
    second = cloud.boot("core2")
    cloud.install(second)
    first.wait(f"{ETCDCTL} member promote {told.members()['core2']}")
    second.wait(f"{ETCDCTL} endpoint health --cluster")

    for attempt in tenacity.Retrying(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.5), reraise=True):
        # etcd takes a member away only when it has seen all of them for a while.
        with attempt:
            destroying.destroy(cloud.settings, ["core2"], quiet, membership=told)
    assert set(told.members()) == {"core1"}
    assert set(cloud.fake.state.all("instances")) == {"core1"}


def test_a_machine_tells_its_host_keys_where_the_api_looks_for_them(cloud: Cloud) -> None:
    machine = Booted(cloud.settings, inventory.load(cloud.settings)[0])
    machine.run(RECORDING_CURL)
    machine.run(f"/opt/{SYSTEM}/bin/publish-host-keys")
    key = machine.run("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    told = machine.run("cat /tmp/told")
    assert f"--data {key} http://metadata.google.internal" in told
    assert "guest-attributes/hostkeys/ssh-ed25519" in told
    assert machine.run(f"systemctl is-enabled {SYSTEM}-host-keys.service") == "enabled\n"
