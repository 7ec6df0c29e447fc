"""Containers of ours on the real engine: made once, replaced when they changed, never somebody else's."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from image_project import BASE, free_port

from argosy.config.loading import VolumeSettings
from argosy.engine.connection import connect
from argosy.engine.containers import (
    ContainerSpec,
    ensure_container,
    ensure_network,
    expected_outcome,
    find_container,
    remove_labelled,
)
from argosy.engine.names import SYSTEM_LABEL
from argosy.errors import DeadlineExceeded, EngineError, Unhealthy

pytestmark = pytest.mark.integration

NAME = f"test-containers-{os.getpid()}"
LABELS = {SYSTEM_LABEL: NAME}
SUBNET = "10.213.77.0/24"


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    try:
        with connect() as engine:
            if not engine.images.list(BASE):
                pytest.skip(f"no image {BASE} here: `make base` makes it")
            yield engine
            remove_labelled(engine, LABELS, ("container", "network", "volume"))
    except EngineError as error:
        if "no Docker engine answers" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.fixture
def spec() -> ContainerSpec:
    return ContainerSpec(NAME, BASE, LABELS, command=["sleep", "3600"], stop_seconds=1)


def test_is_made_once_and_replaced_when_it_changes(client: docker.DockerClient, spec: ContainerSpec) -> None:
    outcomes = []
    for wanted in (spec, spec, replace(spec, env={"A": "1"}), replace(spec, env={"A": "1"})):
        expected = expected_outcome(client, wanted)
        outcomes.append(ensure_container(client, wanted))
        assert outcomes[-1] == expected, "a dry run tells what is then done"
    assert outcomes == ["created", "unchanged", "replaced", "unchanged"]


def test_it_may_have_so_many_files_open_and_no_more(client: docker.DockerClient, spec: ContainerSpec) -> None:
    assert ensure_container(client, replace(spec, open_files=4000)) == "created"
    done = client.containers.get(NAME).exec_run(["sh", "-c", "ulimit -S -n; ulimit -H -n"])
    assert (done.exit_code, done.output) == (0, b"4000\n4000\n")


def test_a_container_of_before_there_was_such_a_limit_stays() -> None:
    plain = ContainerSpec("registry", "registry:1", {SYSTEM_LABEL: "air"})
    assert plain.digest() == "0856b7659382eccda46d964912ac74b47f4a094f5464b035d920a84617d0106a"
    assert replace(plain, open_files=1).digest() != plain.digest()


def test_a_renewed_file_replaces_it(client: docker.DockerClient, spec: ContainerSpec, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("one")
    spec = replace(spec, secrets={"password": secret})
    ensure_container(client, spec)
    assert ensure_container(client, spec) == "unchanged"
    secret.write_text("two")
    assert ensure_container(client, spec) == "replaced"
    container = find_container(client, NAME)
    assert container is not None
    assert container.exec_run(["cat", "/run/secrets/password"]).output == b"two"
    assert container.exec_run(["sh", "-c", "echo x > /run/secrets/password"]).exit_code != 0


def test_one_that_was_stopped_is_started_again(client: docker.DockerClient, spec: ContainerSpec) -> None:
    ensure_container(client, spec)
    container = find_container(client, NAME)
    assert container is not None
    container.stop(timeout=1)
    assert ensure_container(client, spec) == "started"


def test_somebody_else_s_is_left_alone(client: docker.DockerClient, spec: ContainerSpec) -> None:
    theirs = client.api.create_container(BASE, ["true"], name=NAME)
    try:
        with pytest.raises(EngineError, match=rf"{NAME}: a container of that name is there and isn't ours"):
            ensure_container(client, spec)
        found = find_container(client, NAME)
        assert found is not None
        assert found.id == theirs["Id"]
    finally:
        client.api.remove_container(theirs["Id"])


class TestReadiness:
    def test_is_waited_for(self, client: docker.DockerClient, spec: ContainerSpec) -> None:
        reasons = ["not yet", "still not", ""]
        assert ensure_container(client, spec, lambda: reasons.pop(0), 30) == "created"
        assert reasons == []

    def test_in_vain_tells_the_last_reason(self, client: docker.DockerClient, spec: ContainerSpec) -> None:
        with pytest.raises(DeadlineExceeded, match=rf"{NAME}: not ready after 0.2 s: it sleeps \(see `docker logs"):
            ensure_container(client, spec, lambda: "it sleeps", 0.2)

    def test_of_one_that_ends_is_not_waited_for(self, client: docker.DockerClient, spec: ContainerSpec) -> None:
        dying = replace(spec, command=["sh", "-c", "echo no good; exit 3"])
        with pytest.raises(Unhealthy, match=r"its container ended \(exit code 3\) .* its last line: no good"):
            ensure_container(client, dying, lambda: "no answer", 60)


class TestRefusals:
    def test_a_taken_port_is_named_and_nothing_is_made(self, client: docker.DockerClient, spec: ContainerSpec) -> None:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            port = listening.getsockname()[1]
            with pytest.raises(EngineError, match=rf"port {port} of 127.0.0.1 is taken"):
                ensure_container(client, replace(spec, ports=[f"127.0.0.1:{port}:80"]))
        assert find_container(client, NAME) is None

    def test_an_address_of_another_host_is_named(self, client: docker.DockerClient, spec: ContainerSpec) -> None:
        with pytest.raises(EngineError, match=r"203.0.113.1 is not an address of this host"):
            ensure_container(client, replace(spec, ports=[f"203.0.113.1:{free_port()}:80"]))

    def test_a_missing_image_names_the_task(self, client: docker.DockerClient, spec: ContainerSpec) -> None:
        with pytest.raises(EngineError, match=r"no image nobody/nothing:1 here: build it first \(`inv build.images`\)"):
            ensure_container(client, replace(spec, image="nobody/nothing:1"))

    def test_one_that_can_t_start_is_not_left_half_made(self, client: docker.DockerClient, spec: ContainerSpec) -> None:
        with pytest.raises(EngineError, match=NAME):
            ensure_container(client, replace(spec, command=["/no/such/program"]))
        assert find_container(client, NAME) is None


def test_a_network_is_made_once_and_another_subnet_is_refused(client: docker.DockerClient) -> None:
    assert ensure_network(client, NAME, LABELS, subnet=SUBNET)
    assert not ensure_network(client, NAME, LABELS, subnet=SUBNET)
    with pytest.raises(EngineError, match=rf"network {NAME}: it is there with {SUBNET} instead of 10.213.78.0/24"):
        ensure_network(client, NAME, LABELS, subnet="10.213.78.0/24")


def test_a_volume_goes_only_when_it_is_asked_for(client: docker.DockerClient, spec: ContainerSpec) -> None:
    volumes = [VolumeSettings(source=NAME, target="/data")]
    ensure_container(client, replace(spec, volumes=volumes))
    assert remove_labelled(client, LABELS) == [f"container {NAME}"]
    assert remove_labelled(client, LABELS, ("volume",)) == [f"volume {NAME}"]
    assert remove_labelled(client, LABELS, ("container", "network", "volume")) == []
