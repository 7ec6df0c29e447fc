"""An engine as Docker 29's: all our clients speak a version that it takes, and read nothing that it no longer tells."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from image_project import BASE, image_project
from later_engine import LaterEngine, later_engine
from roots import root
from waiting import until

from argosy.agent.registrar.follower import Follower
from argosy.agent.registrar.messages import Happened, Inspected, Told
from argosy.builds.images import build_images
from argosy.engine.api import at_socket
from argosy.engine.connection import connect
from argosy.engine.containers import ContainerSpec, ensure_container, ensure_network, labelled, remove_all
from argosy.engine.names import SYSTEM_LABEL
from argosy.engine.running import MachineContainers
from argosy.engine.swarm import Swarm
from argosy.engine.versions import version_to_ask
from argosy.errors import BuildFailed, EngineRefused
from argosy.images.store import build, stored_images
from argosy.local import facts
from argosy.schema.inspection import parse_container
from argosy_installer.docker import Credentials, Docker
from argosy_installer.facts import container_facts

pytestmark = pytest.mark.integration

LABEL = f"test.later-{os.getpid()}"
NAME = f"argosy-test-later-{os.getpid()}"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LaterEngine]:
    with later_engine(tmp_path_factory.mktemp("later")) as engine, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{engine.path}")
        yield engine


@pytest.fixture(scope="module")
def container(engine: LaterEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the name of a container that runs."""
    labels = {SYSTEM_LABEL: NAME, LABEL: "web"}
    with image_project(tmp_path_factory.mktemp("project"), "later"), connect() as client:
        spec = ContainerSpec(NAME, BASE, labels, ("sleep", "600"))
        try:
            assert ensure_container(client, spec) == "created"
            assert ensure_container(client, spec) == "unchanged"
            yield NAME
        finally:
            remove_all(labelled(client, labels, ["container"]))


@pytest.fixture
def none_refused(engine: LaterEngine) -> Iterator[None]:
    before = len(engine.asked)
    yield
    asked = {line.split()[1] for line in engine.asked[before:]}
    assert asked
    assert {path for path in asked if not path.startswith("/v1.44/")} <= {"/version"}


@pytest.mark.usefixtures("none_refused")
def test_what_is_too_old_is_refused_and_asked_anew(engine: LaterEngine) -> None:
    with at_socket(engine.path) as asking:
        assert not Swarm(asking).info().inside
        asking._version = "1.43"  # as before the engine was upgraded
        with pytest.raises(EngineRefused, match="too old"):
            asking.get("/info")
        assert asking.get("/info")["ID"]
    assert engine.refused.pop() == "GET /v1.43/info"
    engine.asked.remove("GET /v1.43/info")


@pytest.mark.usefixtures("none_refused")
def test_the_provisioning_host_builds_and_looks(engine: LaterEngine, tmp_path: Path) -> None:
    with image_project(tmp_path, "later-build") as project:
        project.write("one", data="1")
        assert [built.is_new for built in build_images(project.settings, project.report)] == [True]
        assert [built.is_new for built in build_images(project.settings, project.report)] == [False]
        with connect() as client:
            assert [image.name for image in stored_images(client, project.system)] == ["one"]
            assert facts.observe(project.settings, client, ()).networks["bridge"]
    assert engine.refused == []


@pytest.mark.usefixtures("none_refused")
def test_the_agent_sees_its_containers(engine: LaterEngine, container: str) -> None:
    containers = MachineContainers(engine.path)
    (found,) = containers.ids(LABEL, "running")
    shown = containers.inspect(found)
    assert shown is not None
    seen = parse_container(shown)
    assert (seen.name, seen.running, seen.labels[LABEL]) == (container, True, "web")
    assert seen.address.count(".") == 3
    done = containers.run(container, ("sh", "-c", "echo here; exit 3"), 20)
    assert (done.code, done.output) == (3, "here")
    told: list[Told] = []
    follower = Follower(containers, LABEL, told.append)
    follower.start()
    try:
        until(lambda: any(isinstance(one, Inspected) for one in told))
        with connect() as client:
            client.containers.get(container).kill(signal="HUP")
        until(lambda: any(isinstance(one, Happened) and one.event.action == "kill" for one in told))
    finally:
        follower.stop()
    assert engine.refused == []


@pytest.mark.usefixtures("none_refused")
def test_the_installer_sees_images_and_containers(engine: LaterEngine, container: str) -> None:
    docker = Docker(engine.path)
    assert docker.image_exists(BASE)
    assert not docker.image_exists("argosy-test/none:1")
    (shown,) = docker.labelled(LABEL)
    assert parse_container(container_facts(shown)).address.count(".") == 3
    status, _reason = docker.ask_registry("127.0.0.1:9/none@sha256:" + "0" * 64, Credentials("127.0.0.1:9", "a", "b"))
    assert status >= 400
    assert engine.refused == []


def test_so_is_a_real_one_that_has_given_up_older_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker 28 with the image store and the oldest version of Docker 29."""
    with root("sid") as host, host.engine(containerd_store=True, minimum_api="1.44") as address:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{address}")
        labels = {SYSTEM_LABEL: NAME}
        with connect() as client:
            assert client.api.api_version == "1.44"
            assert ensure_network(client, NAME, labels)
            assert not ensure_network(client, NAME, labels)
            assert list(labelled(client, labels, ["network"])) == [f"network {NAME}"]
            assert facts.engine_facts(client.info(), remote=False).rootless is False
            context = BytesIO()
            with tarfile.open(fileobj=context, mode="w") as archive:
                archive.addfile(tarfile.TarInfo("Dockerfile"))
            with pytest.raises(BuildFailed):
                build(client, "empty", BytesIO(context.getvalue()))
        with at_socket(address) as asking:
            assert not Swarm(asking).info().inside
        assert MachineContainers(address).ids(LABEL, "running") == []
        assert not Docker(address).image_exists(BASE)
        spoken = host.run(["docker", "version", "--format", "{{.Client.APIVersion}}"]).stdout
        assert version_to_ask({"ApiVersion": spoken.strip(), "MinAPIVersion": "1.44"}) == "1.44"
