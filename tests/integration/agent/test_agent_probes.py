"""Single checks against real listeners and real containers: what passes, what does not, and that each ends in time."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from registrar_machine import Containers, SocketProxy, containers_of
from ssh_server import free_port
from waiting import until

from argosy.agent.registrar import checks
from argosy.agent.registrar.checks import Checks, check_http, check_tcp
from argosy.agent.registrar.follower import Follower
from argosy.agent.registrar.messages import EngineLost, Listed, Told
from argosy.agent.registrar.verdicts import Kind, Probe
from argosy.engine.running import MachineContainers
from argosy.errors import EngineError
from argosy.model import Endpoint

pytestmark = pytest.mark.integration

Answer = Callable[[socket.socket], object]
Serve = Callable[[Answer], Endpoint]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that lets another one serve each connection, and says where."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def accept(listener: socket.socket, answer: Answer) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    answer(connection)

    def start(answer: Answer) -> Endpoint:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threads.append(threading.Thread(target=accept, args=(listener, answer)))
        threads[-1].start()
        return Endpoint("127.0.0.1", listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join()


def says(text: bytes, seen: list[bytes] | None = None) -> Answer:
    """Return a server that reads a request and answers with `text`."""

    def answer(connection: socket.socket) -> None:
        request = connection.recv(10_000)
        if seen is not None:
            seen.append(request)
        connection.sendall(text)

    return answer


def asking(endpoint: Endpoint, *status: int) -> Probe:
    return Probe(Kind.HTTP, endpoint, 1, path="/up", host="web", status=status)


class TestTcp:
    def test_a_connection_passes(self, serve: Serve) -> None:
        assert check_tcp(serve(lambda _: None)) == ""

    def test_a_closed_port_does_not(self) -> None:
        endpoint = Endpoint("127.0.0.1", free_port())
        assert check_tcp(endpoint) == f"{endpoint}: Connection refused"

    def test_by_ipv6(self) -> None:
        with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
            assert check_tcp(Endpoint("::1", listener.getsockname()[1])) == ""


class TestHttp:
    def test_asks_as_a_browser_would(self, serve: Serve) -> None:
        seen: list[bytes] = []
        assert check_http(asking(serve(says(b"HTTP/1.1 204 No Content\r\n\r\n", seen)))) == ""
        assert seen[0].startswith(b"GET /up HTTP/1.1\r\nHost: web\r\n")

    @pytest.mark.parametrize(
        ("line", "status", "passes"),
        [
            (b"HTTP/1.1 200 OK", (), True),
            (b"HTTP/1.0 302 Found", (), True),
            (b"HTTP/1.1 404 Not Found", (), False),
            (b"HTTP/1.1 503", (), False),
            (b"HTTP/1.1 404 Not Found", (200, 404), True),
            (b"HTTP/1.1 204 No Content", (200,), False),
        ],
    )
    def test_the_status_decides(self, serve: Serve, line: bytes, status: tuple[int, ...], passes: bool) -> None:
        endpoint = serve(says(line + b"\r\n\r\n"))
        code = line.split()[1].decode()
        assert check_http(asking(endpoint, *status)) == ("" if passes else f"http://{endpoint}/up: status {code}")

    @pytest.mark.parametrize("text", [b"SSH-2.0-x\r\n", b"HTTP/1.1 2000 x\r\n", b"HTTP/1.1 abc\r\n", b"\r\n"])
    def test_something_else_is_no_answer(self, serve: Serve, text: bytes) -> None:
        endpoint = serve(says(text))
        assert check_http(asking(endpoint)) == f"http://{endpoint}/up: no answer in HTTP"

    def test_a_closed_connection_is_none_either(self, serve: Serve) -> None:
        endpoint = serve(lambda connection: connection.recv(1000))
        assert check_http(asking(endpoint)).endswith("no answer in HTTP but the end of the connection")

    def test_silence_ends(self, serve: Serve) -> None:
        release = threading.Event()
        endpoint = serve(lambda _: release.wait(10))
        assert "timed out" in check_http(asking(endpoint))
        release.set()

    def test_drops_that_never_make_a_line_end_as_well(self, serve: Serve) -> None:
        release = threading.Event()

        def drip(connection: socket.socket) -> None:
            while not release.wait(0.05):
                connection.sendall(b"H")

        assert check_http(asking(serve(drip))) != ""
        release.set()


@pytest.fixture
def containers() -> Iterator[Containers]:
    with containers_of(f"test-probes-{os.getpid()}") as made:
        yield made


class TestCommands:
    def probe(self, container: str | None, *command: str) -> Probe:
        nobody = Endpoint("127.0.0.1", free_port())
        return Probe(Kind.COMMAND, nobody, 1, container=str(container), command=command)

    def test_the_exit_code_decides(self, containers: Containers) -> None:
        container = containers.run("a").id
        does = Checks(MachineContainers())
        assert does.check(self.probe(container, "true")) == ""
        assert does.check(self.probe(container, "sh", "-c", "echo one; echo two; exit 3")) == "exit code 3: two"
        assert "not found" in does.check(self.probe(container, "no-such-program"))
        assert does.check(self.probe(container, "sh", "-c", "head -c 1000000 /dev/zero; exit 1")).startswith(
            "exit code 1"
        )

    def test_one_that_hangs_is_not_started_twice(self, containers: Containers, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checks, "COMMAND_SECONDS", 0.3)
        container = containers.run("a")
        probe = self.probe(container.id, "sh", "-c", "while test ! -e /done; do sleep 0.1; done")
        does = Checks(MachineContainers())
        assert does.check(probe) == "not done after 0.3 s"
        assert does.check(probe) == "its last run has not ended"
        assert sum("while test" in items[-1] for items in container.top()["Processes"]) == 1
        container.exec_run(["touch", "/done"])
        deadline = time.monotonic() + 5
        while (reason := does.check(probe)) and time.monotonic() < deadline:
            pass
        assert reason == ""

    def test_a_container_that_has_ended_does_not_pass(self, containers: Containers) -> None:
        container = containers.run("a")
        container.kill()
        assert "could not be run" in Checks(MachineContainers()).check(self.probe(container.id, "true"))
        assert "could not be run" in Checks(MachineContainers()).check(self.probe("nobody-of-this-name", "true"))

    def test_without_docker_a_connection_is_enough(self, serve: Serve, tmp_path: Path) -> None:
        does = Checks(MachineContainers(tmp_path / "docker.sock"))
        assert "refused" in does.check(self.probe("x", "true"))
        assert does.check(Probe(Kind.COMMAND, serve(lambda _: None), 1, container="x", command=("true",))) == ""


class TestDockerItself:
    def test_that_is_not_there_is_an_error_of_ours(self, tmp_path: Path) -> None:
        found = MachineContainers(tmp_path / "docker.sock")
        for call in (
            lambda: found.ids("x"),
            lambda: found.inspect("x"),
            lambda: found.run("x", ("true",), 1),
        ):
            with pytest.raises(EngineError, match=r"/docker\.sock: no Docker engine answers"):
                call()

    def test_that_goes_ends_its_events_with_one(self, containers: Containers, tmp_path: Path) -> None:
        assert containers.client
        proxy = SocketProxy(tmp_path / "docker.sock")
        told: list[Told] = []
        follower = Follower(MachineContainers(proxy.path), "argosy.nobody-has-this", told.append)
        follower.start()
        try:
            until(lambda: any(isinstance(word, Listed) for word in told))
            proxy.cut()
            until(lambda: any(isinstance(word, EngineLost) and "Docker's events" in word.reason for word in told))
        finally:
            follower.stop()

    def test_knows_no_container_of_a_strange_name(self, containers: Containers) -> None:
        assert containers.client
        assert MachineContainers().inspect("a/b?c=d e") is None
