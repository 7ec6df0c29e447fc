"""The two makers of machines that are containers, on the real engine, with an init that only waits to be stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest
from image_project import BASE, Project, image_project

from argosy.builds.images import build_images
from argosy.config.loading import Settings, load
from argosy.engine.connection import connect
from argosy.engine.containers import ensure_network
from argosy.engine.names import container_name, labels_of, network_name
from argosy.engine.ownership import own, remove_own
from argosy.errors import EngineError, Refused
from argosy.local.addressing import dynamic_range, host_address, machine_numbered
from argosy.local.makers.base import ABSENT, ENGINE, RUNNING, STOPPED, VAGRANT, Boot
from argosy.local.makers.engine_containers import EngineContainers
from argosy.local.makers.vagrant import has_vagrant
from argosy.local.work import maker_of
from argosy.model import Machine
from argosy.report import silent
from argosy.ssh.keypair import ensure_own_key

pytestmark = [pytest.mark.integration, pytest.mark.slow(3)]

needs_vagrant = pytest.mark.skipif(not has_vagrant(), reason="no vagrant: Debian forky has none")

INIT = """#!/bin/sh
echo booted
trap 'exit 0' 37
while :; do sleep 1 & wait $!; done
"""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHJd root@machine\n"
SUBNET = "192.168.97.0/24"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with an image that boots as a machine does."""
    with image_project(tmp_path_factory.mktemp("makers"), "makers") as project:
        dockerfile = f"FROM {BASE}\nCOPY init /usr/sbin/init\nCOPY key /etc/ssh/ssh_host_ed25519_key.pub\n"
        project.write("machine", dockerfile, init=INIT, key=KEY)
        (project.root / "machine" / "init").chmod(0o755)
        build_images(project.settings, silent)
        yield project


@pytest.fixture(scope="module")
def settings(project: Project) -> Iterator[Settings]:
    """Those of a cluster with its network; nothing of it stays on the engine."""
    section = {"provider": "vagrant", "local": {"subnet": SUBNET}}
    chosen = load({**project.document, "clusters": {"makers": section}}, root=project.root)
    ensure_own_key(chosen)
    with connect() as client:
        try:
            ensure_network(
                client,
                network_name(chosen),
                labels_of(chosen, "network"),
                subnet=SUBNET,
                gateway=host_address(chosen),
                dynamic_range=dynamic_range(chosen),
            )
            yield chosen
        finally:
            remove_own(client, chosen, "machine", ("container", "volume"))
            remove_own(client, chosen, "network", ("network",))


@pytest.fixture
def made(settings: Settings, project: Project) -> Iterator[Callable[[str], EngineContainers]]:
    """Give a maker by its name; nothing that it has made stays."""
    with connect() as client:
        makers: list[EngineContainers] = []

        def make(name: str) -> EngineContainers:
            maker = maker_of(settings, client, name, f"{project.system}/machine:0.1.0")
            assert isinstance(maker, EngineContainers)
            makers.append(maker)
            return maker

        yield make
        for maker in makers:
            maker.destroy(machines(settings))


def machines(settings: Settings) -> list[Machine]:
    return [machine_numbered(settings, number) for number in (1, 2, 3)]


def boots_of(settings: Settings) -> list[Boot]:
    path = settings.root / "user-data"
    path.write_text("#cloud-config\n")
    return [Boot(machine, path) for machine in machines(settings)]


def ids(maker: EngineContainers, settings: Settings) -> dict[str, str]:
    """Return name -> id of the containers that are there."""
    found = {machine.name: maker._container(machine) for machine in machines(settings)}
    return {name: str(container.id) for name, container in found.items() if container}


@pytest.mark.parametrize("name", [pytest.param(VAGRANT, marks=needs_vagrant), ENGINE])
def test_machines_come_and_go(name: str, made: Callable[[str], EngineContainers], settings: Settings) -> None:
    maker = made(name)
    boots = boots_of(settings)
    first, second, third = machines(settings)
    assert set(maker.states(machines(settings)).values()) == {ABSENT}

    maker.up(boots[:2])
    assert list(maker.states([first, second, third]).values()) == [RUNNING, RUNNING, ABSENT]
    assert maker.host_keys(first) == [KEY.rpartition(" ")[0]]
    assert maker.console(second).strip() == "booted"
    before = ids(maker, settings)
    maker.up(boots[:2])
    assert ids(maker, settings) == before

    container = maker.client.containers.get(container_name(settings, first.name))
    container.kill()  # a power cut
    assert maker.states([first])[first.name] == STOPPED
    assert maker.host_keys(first) == []
    maker.up(boots[:2], [first])
    assert maker.states([first])[first.name] == RUNNING
    assert ids(maker, settings) == before

    maker.up(boots, [third])
    assert {key: value for key, value in ids(maker, settings).items() if key != third.name} == before
    assert maker.remove(second)
    assert not maker.remove(second)
    assert list(maker.states([first, second, third]).values()) == [RUNNING, ABSENT, RUNNING]
    assert len(own(maker.client, settings, "machine", ["volume"])) == 2

    assert sorted(maker.destroy(machines(settings))) == [f"machine {first.name}", f"machine {third.name}"]
    assert own(maker.client, settings, "machine") == {}
    assert not maker.folder.exists()
    assert maker.destroy(machines(settings)) == []


@needs_vagrant
def test_both_make_the_same_machine(made: Callable[[str], EngineContainers], settings: Settings) -> None:
    shown = []
    for name in (VAGRANT, ENGINE):
        maker = made(name)
        maker.up(boots_of(settings)[:1])
        shown.append(described(maker, settings, name))
        maker.destroy(machines(settings))
    assert shown[0] == shown[1]
    assert shown[1]["Config"]["Cmd"] == ["/sbin/init"]
    assert shown[1]["Ports"] == ["22/tcp"]


def described(maker: EngineContainers, settings: Settings, name: str) -> dict[str, Any]:
    """Return what the engine says of the first machine, but for what time and chance decide and the maker's folder."""
    machine = machines(settings)[0]
    attributes = maker.client.containers.get(container_name(settings, machine.name)).attrs
    (network,) = attributes["NetworkSettings"]["Networks"].values()
    volume = maker.client.volumes.get(container_name(settings, machine.name))
    text = {
        "Name": attributes["Name"],
        "Config": attributes["Config"],
        "HostConfig": attributes["HostConfig"],
        "Mounts": sorted(attributes["Mounts"], key=lambda mount: str(mount["Destination"])),
        "Address": network["IPAddress"],
        "IPAMConfig": network["IPAMConfig"],
        "Ports": list(attributes["NetworkSettings"]["Ports"]),
        "Volume": volume.attrs["Labels"],
    }
    found: dict[str, Any] = _without_folder(text, str(settings.state_path / name))
    return found


def _without_folder(thing: Any, folder: str) -> Any:
    if isinstance(thing, dict):
        return {key: _without_folder(value, folder) for key, value in thing.items()}
    if isinstance(thing, list):
        return [_without_folder(value, folder) for value in thing]
    return thing.replace(folder, "FOLDER") if isinstance(thing, str) else thing


def test_what_a_killed_run_made_is_taken_over(made: Callable[[str], EngineContainers], settings: Settings) -> None:
    """Its container is there, and was not booted yet."""
    maker = made(ENGINE)
    boots = boots_of(settings)[:1]
    maker.up(boots)
    container = maker.client.containers.get(container_name(settings, boots[0].machine.name))
    container.remove(force=True)
    created = maker._create(boots[0].machine, maker.flags())
    assert maker._create(boots[0].machine, maker.flags()).id == created.id
    maker.up(boots)
    assert list(ids(maker, settings).values()) == [created.id]
    assert list(maker.states([boots[0].machine]).values()) == [RUNNING]


def test_a_container_of_somebody_else_is_left_alone(
    made: Callable[[str], EngineContainers], settings: Settings, project: Project
) -> None:
    maker = made(ENGINE)
    boots = boots_of(settings)[:1]
    client: docker.DockerClient = maker.client
    other = client.containers.create(
        f"{project.system}/machine:0.1.0", name=container_name(settings, boots[0].machine.name)
    )
    try:
        with pytest.raises(Refused, match="isn't ours"):
            maker.up(boots)
        with pytest.raises(Refused, match="isn't ours"):
            maker.remove(boots[0].machine)
    finally:
        other.remove(force=True)


def test_what_the_engine_refuses_is_told_with_the_machine(
    made: Callable[[str], EngineContainers], settings: Settings
) -> None:
    maker = made(ENGINE)
    maker.image = f"argosy-test/none:{os.getpid()}"
    with pytest.raises(EngineError, match=rf"^{machines(settings)[0].name}: .*No such image"):
        maker.up(boots_of(settings)[:1])
    maker.image = ""
    with pytest.raises(EngineError, match="no machine image"):
        maker.up(boots_of(settings)[:1])


@needs_vagrant
def test_without_vagrant_its_cluster_is_cleared_all_the_same(
    made: Callable[[str], EngineContainers], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = made(VAGRANT)
    maker.up(boots_of(settings)[:1])
    monkeypatch.setattr("argosy.local.makers.vagrant_containers.has_vagrant", lambda: False)
    assert maker.destroy(machines(settings)) == [f"machine {machines(settings)[0].name}"]
    assert own(maker.client, settings, "machine") == {}
