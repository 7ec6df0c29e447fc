"""Two checkouts with a cluster of the same name on one engine: each has its own, and neither touches the other's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from image_project import BASE, ROOT, Project, free_port, image_project
from raised import raises

from argosy.config.loading import Settings
from argosy.engine.connection import connect
from argosy.engine.containers import find_container
from argosy.engine.names import CHECKOUT_LABEL, PATH_LABEL, SYSTEM_LABEL, container_name, network_name, role_labels
from argosy.engine.ownership import adopt, claims_of_others, own
from argosy.errors import Refused
from argosy.local import host_phases, preparing
from argosy.local import stop as stopping
from argosy.local.addressing import machines_wanted
from argosy.local.procedure import run_phases
from argosy.local.settings import localized
from argosy.registry import container as registry_container

pytestmark = pytest.mark.integration

SUBNET = "10.213.80.0/24"
PHASES = (
    host_phases.SaveRecord(),
    host_phases.Network(),
    host_phases.Secrets(),
    host_phases.Registry(),
    host_phases.Images(),
    host_phases.Dependencies(),
)
SLEEPS = f'FROM {BASE}\nCMD ["sleep", "3600"]\n'


@dataclass
class Two:
    first: Project
    second: Project


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """Two checkouts of one system, configured alike, with all of a local cluster but its machines."""
    with image_project(tmp_path_factory.mktemp("first"), "two") as first:
        second = Project(tmp_path_factory.mktemp("second"), first.system)
        (second.root / "VERSION").write_text("0.1\n")
        port = free_port()
        for project in (first, second):
            shutil.copytree(ROOT / "images" / "registry", project.root / "registry")
            project.images["registry"] = {"context": "registry", "push": False}
            project.write("db", SLEEPS)
            project.options["provider"] = "vagrant"
            project.options["registry"] = {"address": f"10.213.80.1:{port}", "timeout_seconds": 60}
            project.options["settings"] = {"database/host": "{{ host_address }}"}
            db: dict[str, Any] = {"image": "db", "ports": ["5432:5432"], "stop": {"grace_seconds": 0}}
            db["volumes"] = [{"source": "data", "target": "/data"}]
            project.options["local"] = {"subnet": SUBNET, "dependencies": {"db": db}}
            start(project)
        yield Two(first, second)


def start(project: Project) -> Settings:
    """Do the first half of local.start."""
    with preparing.opened(project.settings, "local.start 1") as (_, client):
        here = preparing.settled(project.settings, client, project.report, save=True)
        work = preparing.look(here, client, machines_wanted(here, 1), project.report)
        assert work.facts.taken == []
        preparing.complete(work)
        run_phases(PHASES, work, project.report, "local.start 1")
        return work.settings


def on_engine(project: Project) -> dict[str, str]:
    """Return name -> id of what the checkout's cluster has, by what it asks for itself."""
    here = localized(project.settings)
    with connect() as client:
        found = [
            (name, str(thing.attrs.get("Id") or thing.attrs["CreatedAt"]))
            for role in ("registry", "dependency", "network")
            for name, thing in own(client, here, role).items()
        ]
    return dict(found)


def answers(project: Project) -> bool:
    return registry_container.status(localized(project.settings)).answers


def test_both_run_and_the_second_says_what_it_has_instead(two: Two) -> None:
    first, second = localized(two.first.settings), localized(two.second.settings)
    assert first.local.subnet == SUBNET
    assert second.local.subnet == "10.213.81.0/24"
    assert second.settings["database/host"] == "10.213.81.1"
    assert second.registry.address.startswith("10.213.81.1:")
    assert second.registry.address.rpartition(":")[2] != first.registry.address.rpartition(":")[2]
    told = [line for line in two.second.said if line.startswith("host: ")]
    assert told[0] == (
        f"host: local.subnet is 10.213.81.0/24 on this host instead of {SUBNET}, taken by cluster {first.cluster} of "
        f"{two.first.root}"
    )
    assert [line.split()[1] for line in told] == ["local.subnet", "registry.address"]
    assert answers(two.first)
    assert answers(two.second)
    assert not set(on_engine(two.first).values()) & set(on_engine(two.second).values())


def test_a_second_start_keeps_its_place_and_changes_nothing(two: Two) -> None:
    before = on_engine(two.first), on_engine(two.second)
    two.second.said.clear()
    assert start(two.second).local.subnet == "10.213.81.0/24"
    assert not [line for line in two.second.said if line.startswith("host: ")]
    assert (on_engine(two.first), on_engine(two.second)) == before


def test_a_registry_s_port_that_another_checkout_s_has_is_refused_with_its_path(two: Two, tmp_path: Path) -> None:
    third = Project(tmp_path, two.first.system, two.first.images)
    third.options["registry"] = {"address": two.first.options["registry"]["address"]}
    with raises(Refused, str(two.first.root)) as caught:
        registry_container.start(third.settings, third.report)
    assert caught.value.code == 11
    assert answers(two.first)


def test_a_copy_of_the_checkout_has_nothing_of_the_original_s(two: Two, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(two.first.root, root)
    copy = Project(root, two.first.system, two.first.images, two.first.options)
    before = on_engine(two.first)
    assert on_engine(copy) == {}
    with raises(Refused, str(two.first.root)):
        stopping.stop(copy.settings, copy.report, everything=True)
    registry_container.stop(localized(copy.settings), copy.report, remove_data=True)
    assert on_engine(two.first) == before
    assert answers(two.first)


def test_a_checkout_that_is_moved_takes_its_cluster_along(two: Two, tmp_path: Path) -> None:
    before = on_engine(two.second)
    moved = Project(tmp_path / "moved", two.second.system, two.second.images, two.second.options)
    two.second.root.rename(moved.root)
    try:
        assert on_engine(moved) == before
    finally:
        moved.root.rename(two.second.root)


def test_what_is_older_is_adopted_by_the_checkout_whose_files_it_uses(two: Two, tmp_path: Path) -> None:
    ours, other = (Project(tmp_path / name, f"{two.first.system}-old") for name in ("ours", "other"))
    for project in (ours, other):
        project.root.mkdir()
        project.settings.secrets_path.mkdir(parents=True)
    old = f"argosy-{ours.settings.cluster}-registry"
    with connect() as client:
        mount = client.api.create_host_config(binds=[f"{ours.settings.secrets_path}:/run/secrets:ro"])
        labels = role_labels(ours.settings, "registry")
        client.api.create_container(BASE, ["true"], name=old, labels=labels, host_config=mount)
        try:
            for project in (other, ours):
                adopt(client, project.settings)
            assert list(own(client, other.settings, "registry")) == []
            assert list(own(client, ours.settings, "registry")) == [f"container {old}"]
            assert container_name(ours.settings, "registry") == old
            assert container_name(other.settings, "registry") != old
            registry_container.stop(other.settings, other.report, remove_data=True)
            assert find_container(client, old) is not None
            registry_container.stop(ours.settings, ours.report, remove_data=True)
            assert find_container(client, old) is None
        finally:
            if left := find_container(client, old):
                left.remove(force=True)


def test_a_container_under_our_name_that_bears_another_identity_is_refused(two: Two) -> None:
    with connect() as client:
        name = container_name(two.second.settings, "other")
        labels = {SYSTEM_LABEL: two.second.system, CHECKOUT_LABEL: "another", "argosy.spec": "x"}
        made = client.api.create_container(BASE, ["true"], name=name, labels=labels)
        try:
            two.second.options["local"]["dependencies"]["other"] = {"image": "db"}
            with raises(Refused, name):
                start(two.second)
        finally:
            del two.second.options["local"]["dependencies"]["other"]
            client.api.remove_container(made["Id"])


def test_a_balancer_s_port_is_read_from_its_agent_also_while_it_is_stopped(two: Two) -> None:
    with connect() as client:
        labels = {**role_labels(two.first.settings, "balancer"), CHECKOUT_LABEL: "another", PATH_LABEL: "/work/c"}
        told = json.dumps({"role": "balancer", "listen": ["127.0.0.1:8080", "10.213.99.1:8080"]})
        made = client.api.create_container(BASE, ["true"], labels=labels, environment={"ARGOSY_AGENT": told})
        try:
            claims = [claim for claim in claims_of_others(client, two.first.settings) if "/work/c" in claim.whose]
        finally:
            client.api.remove_container(made["Id"])
    (claim,) = claims
    assert claim.takes("127.0.0.1", 8080)
    assert not claim.takes("127.0.0.1", 8081)
    assert not claim.takes("10.213.80.1", 8080)


def test_the_end_of_one_leaves_the_other_as_it_was(two: Two) -> None:
    before = on_engine(two.first)
    network = network_name(two.second.settings)
    stopping.stop(two.second.settings, two.second.report, everything=True)
    assert on_engine(two.second) == {}
    assert on_engine(two.first) == before
    assert answers(two.first)
    with connect() as client:
        assert not client.networks.list(names=[network])
