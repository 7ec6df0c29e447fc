"""The installer's own Docker client: pulls from a real registry, checks against real services and containers."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from docker_registry import DockerRegistry, docker_registry

from argosy.config.suites import base_image, host_suite
from argosy.engine.api import Json
from argosy_installer import checks, pulling
from argosy_installer.docker import Docker
from argosy_installer.errors import Failed, TryAgain
from argosy_installer.machine import Machine, from_environment
from argosy_installer.release import Check, Image

pytestmark = pytest.mark.integration

SOCKET = Path("/var/run/docker.sock")
BASE = base_image(host_suite())


@pytest.fixture(scope="module")
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    cache = request.config.cache.mkdir("docker-registry")
    with docker_registry(tmp_path_factory.mktemp("registry"), cache) as running:
        yield running


@pytest.fixture
def machine(registry: DockerRegistry, tmp_path: Path) -> Machine:
    environment = {"SYSTEM": "air", "CLUSTER": "test", "MACHINE_NAME": "air-01", "MACHINE_ADDRESS": "10.0.0.1"}
    known = {"REGISTRY": registry.address, "ETCD_ENDPOINTS": "x", "RELEASE_VERSION": "0.1.3"}
    made = from_environment(environment | known, tmp_path)
    (made.secrets / "registry").mkdir(parents=True)
    give_password(made, registry.login())
    return made


def give_password(machine: Machine, login: dict[str, object]) -> None:
    (machine.secrets / "registry" / "config.json").write_text(json.dumps(login))


def pushed(registry: DockerRegistry, name: str) -> Image:
    return Image(f"air/{name}", "0.1.0", registry.push(f"air/{name}", os.urandom(2000)))


def pull(machine: Machine, *images: Image, attempts: int = 1) -> list[str]:
    said: list[str] = []
    pulling.Puller(Docker(SOCKET), machine, attempts, said.append).pull_all(
        (image.repository, image) for image in images
    )
    return said


class TestPulling:
    def test_brings_what_is_not_there_by_digest(self, registry: DockerRegistry, machine: Machine) -> None:
        images = [pushed(registry, name) for name in ("one", "two", "three", "four")]
        said = pull(machine, *images)
        assert sum(" pulled 0.1.0 in " in line for line in said) == 4
        assert all(Docker(SOCKET).image_exists(image.reference(registry.address)) for image in images)
        assert pull(machine, *images) == ["images: all are here"]

    def test_a_wrong_password_is_final_and_named(self, registry: DockerRegistry, machine: Machine) -> None:
        image = pushed(registry, "one")
        give_password(machine, registry.login("wrong"))
        with pytest.raises(Failed, match="does not let user argosy in") as caught:
            pull(machine, image, attempts=8)
        assert "wrong" not in str(caught.value)

    def test_no_password_is_final(self, registry: DockerRegistry, machine: Machine) -> None:
        image = pushed(registry, "one")
        give_password(machine, {"auths": {}})
        with pytest.raises(Failed, match="has no password for"):
            pull(machine, image)

    def test_an_image_that_the_registry_lacks_is_final(self, registry: DockerRegistry, machine: Machine) -> None:
        with pytest.raises(Failed, match=r"has no air/one@sha256:0+ .*inv registry\.push"):
            pull(machine, Image("air/one", "0.1.0", f"sha256:{'0' * 64}"), attempts=8)

    def test_a_registry_that_is_not_there_is_tried_again(self, registry: DockerRegistry, machine: Machine) -> None:
        image = pushed(registry, "one")
        registry.stop()
        try:
            with pytest.raises(TryAgain, match=r"could not be pulled in 2 attempts: .*refused"):
                pull(machine, image, attempts=2)
        finally:
            registry.start()
        assert " pulled 0.1.0 in " in pull(machine, image)[-1]

    def test_one_image_that_can_t_be_had_gives_up_the_others(
        self, registry: DockerRegistry, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pulling, "PARALLEL", 1)
        missing = Image("air/one", "0.1.0", f"sha256:{'0' * 64}")
        image = pushed(registry, "two")
        with pytest.raises(Failed):
            pull(machine, missing, image)

    def test_a_disk_without_room_is_final(
        self, registry: DockerRegistry, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        image = pushed(registry, "one")
        monkeypatch.setattr(pulling, "free_bytes", lambda: 5 * 1024 * 1024)
        with pytest.raises(Failed, match=r"does not fit on the disk: 5 MB free"):
            pull(machine, image, attempts=8)


def test_no_docker_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(TryAgain, match="no Docker engine answers"):
        Docker(tmp_path / "no.sock").image_exists("x")


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.removeprefix("/")))
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield int(listener.getsockname()[1])


def ask(kind: str, port: int, path: str = "/", *, container: Json | None = None, address: str = "127.0.0.1") -> str:
    """Return why the check does not pass, an empty text when it does."""
    check = Check(kind, 10, 0.3, address, port, path, (200, 204))
    return checks.ask(check, container or {}, Docker(SOCKET), datetime.now(UTC))


class TestChecks:
    def test_http_passes_with_a_status_of_the_set(self, port: int) -> None:
        assert ask("http", port, "/200") == ask("http", port, "/204") == ""
        assert ask("http", port, "/503") == f"http://127.0.0.1:{port}/503 answers 503, not 200 or 204"

    def test_http_fails_without_a_service(self, silent: int) -> None:
        assert ask("http", silent) == f"http://127.0.0.1:{silent}/: timed out"
        assert "refused" in ask("http", 1)

    def test_tcp_passes_with_a_connection(self, silent: int) -> None:
        assert ask("tcp", silent) == ""
        assert "refused" in ask("tcp", 1)

    def test_the_container_s_address_serves_where_no_port_is_published(self, silent: int) -> None:
        networks = {"Networks": {"host": {"IPAddress": ""}, "bridge": {"IPAddress": "127.0.0.1"}}}
        assert ask("tcp", silent, container={"NetworkSettings": networks}, address="") == ""

    def test_without_a_check_a_service_must_have_run_for_a_while(self) -> None:
        now = datetime.now(UTC)
        for age, passes in ((0.5, False), (3, True)):
            started = (now - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"
            check = Check("none", 10, 5)
            assert (checks.ask(check, {"State": {"StartedAt": started}}, Docker(SOCKET), now) == "") is passes


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    client = docker.from_env()
    if not client.images.list(BASE):
        pytest.skip(f"no image {BASE} here: `make base` makes it")
    running = client.containers.run(BASE, ["sleep", "600"], detach=True, labels={"argosy.test": "installer"}, init=True)
    yield running
    running.remove(force=True)


class TestCommandsInContainers:
    def test_pass_with_exit_code_0(self, container: Container) -> None:
        assert self._ask(container, "true") == ""

    def test_fail_with_their_code_and_last_words(self, container: Container) -> None:
        # Two pipes: which of them the engine reads first is not said.
        words = self._ask(container, "echo out; echo error >&2; exit 3").split()
        assert words[-5:-2] == ["exit", "code", "3"]
        assert set(words[-2:]) == {"out", "error"}

    def test_fail_when_they_take_too_long(self, container: Container) -> None:
        assert self._ask(container, "sleep 5") == "sh -c sleep 5: no result in 1 s"

    def test_fail_when_the_program_is_not_there(self, container: Container) -> None:
        check = Check("command", 10, 5, command=("/no/such/program",))
        assert checks.ask(check, {"Id": container.id}, Docker(SOCKET), datetime.now(UTC)) != ""

    def test_fail_when_the_container_is_gone(self) -> None:
        check = Check("command", 10, 5, command=("true",))
        reason = checks.ask(check, {"Id": "no-such-container"}, Docker(SOCKET), datetime.now(UTC))
        assert "No such container" in reason

    @staticmethod
    def _ask(container: Container, script: str) -> str:
        check = Check("command", 10, 1, command=("sh", "-c", script))
        return checks.ask(check, {"Id": container.id}, Docker(SOCKET), datetime.now(UTC))
