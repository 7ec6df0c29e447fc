"""The agent's HTTP on its unix socket."""

from __future__ import annotations

import json
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import until

from argosy.agent.health import get, health
from argosy.agent.telemetry import Telemetry, json_answer

pytestmark = pytest.mark.integration


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        yield Path(folder) / "agent.sock"


@pytest.fixture
def telemetry(path: Path) -> Iterator[Telemetry]:
    made = Telemetry(path)
    made.start()
    yield made
    made.stop()


def test_only_its_own_user_reaches_it(telemetry: Telemetry, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [it.name for it in path.parent.iterdir()] == ["agent.sock"]


def test_a_socket_that_a_killed_agent_left_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    made = Telemetry(path)
    made.start()
    assert get(str(path), "/health") == (200, b"ok\n")
    made.stop()
    assert not path.exists()


def test_healthy_and_ready_are_two_questions(telemetry: Telemetry, path: Path) -> None:
    reasons = {"etcd": "", "router": ""}
    telemetry.check("etcd", lambda: reasons["etcd"], ready_only=True)
    telemetry.check("router", lambda: reasons["router"])
    assert (get(str(path), "/health"), get(str(path), "/ready")) == ((200, b"ok\n"), (200, b"ok\n"))
    reasons["etcd"] = "it is away"
    told = b"etcd: it is away\n"
    assert (get(str(path), "/health"), get(str(path), "/ready")) == ((200, told), (503, told))
    reasons["router"] = "it is stuck"
    told = b"router: it is stuck\netcd: it is away\n"
    assert (get(str(path), "/health"), get(str(path), "/ready")) == ((503, told), (503, told))


def test_metrics_are_in_prometheus_text(telemetry: Telemetry, path: Path) -> None:
    telemetry.gauge("things", "How many.", lambda: True)
    telemetry.total("deeds", "What was done.", lambda: 2.5)
    status, body = get(str(path), "/metrics")
    text = body.decode()
    assert status == 200
    assert "# HELP argosy_things How many.\n# TYPE argosy_things gauge\nargosy_things 1\n" in text
    assert "# TYPE argosy_deeds_total counter\nargosy_deeds_total 2.5\n" in text
    values = {line.split(" ")[0]: float(line.split(" ")[1]) for line in text.splitlines() if line[0] != "#"}
    assert 1e6 < values["argosy_resident_memory_bytes"] < 1e9
    assert values["argosy_cpu_seconds_total"] > 0


def test_the_parts_tell_their_state_as_json(telemetry: Telemetry, path: Path) -> None:
    telemetry.status("router", lambda: {"revision": 5})
    status, body = get(str(path), "/status")
    assert (status, json.loads(body)) == (200, {"router": {"revision": 5}})


def test_routes_of_others_are_found_by_their_longest_beginning(telemetry: Telemetry, path: Path) -> None:
    telemetry.route("POST", "/deregister", lambda where, query, body: json_answer([where, dict(query), body.decode()]))
    telemetry.route("GET", "/health/deep", lambda *_: (200, "text/plain", b"deep"))
    assert get(str(path), "/health/deep/er") == (200, b"deep")
    assert get(str(path), "/deregister/x")[0] == 405
    assert get(str(path), "/deregistered")[0] == 404
    assert post(path, "/deregister/a%20b?seconds=5", b"why") == ["/deregister/a b", {"seconds": "5"}, "why"]


def test_a_handler_that_fails_is_an_answer_too_and_is_told(
    telemetry: Telemetry, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> tuple[int, str, bytes]:
        raise RuntimeError("no")

    telemetry.route("GET", "/fail", fail)
    assert get(str(path), "/fail") == (500, b"the agent failed; see its journal\n")
    assert get(str(path), "/health")[0] == 200
    until(lambda: "RuntimeError: no" in caplog.text)


@pytest.mark.parametrize("length", ["2000000", "x", "-1"])
def test_a_body_of_no_sensible_length_is_refused(telemetry: Telemetry, path: Path, length: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(f"POST /x HTTP/1.1\r\nHost: agent\r\nContent-Length: {length}\r\n\r\n".encode())
        assert b" 413 " in connection.recv(1000)


def post(path: Path, target: str, body: bytes) -> object:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        head = f"POST {target} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("said", [b"", b"what?\r\n\r\n"])
def test_what_is_no_answer_is_not_healthy(path: Path, said: bytes) -> None:
    def say() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(said)

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        answering = threading.Thread(target=say)
        answering.start()
        code, line = health(str(path))
        answering.join()
    assert (code, line) == (1, f"the agent does not answer on {path}: what it says is no HTTP")


@pytest.mark.parametrize("target", ["/say?x=1", "http://localhost/say?x=1", "HTTP://[::1]:80/say?x=1", "/s%61y?x=1"])
def test_a_request_may_name_the_whole_url(telemetry: Telemetry, path: Path, target: str) -> None:
    telemetry.route("GET", "/say", lambda path, query, _: json_answer([path, query]))
    status, body = get(str(path), target)
    assert (status, json.loads(body)) == (200, ["/say", {"x": "1"}])


@pytest.mark.parametrize("target", ["http://localhost", "//say", "http://[::1/say", "*", "http://"])
def test_what_names_nothing_is_answered_all_the_same(telemetry: Telemetry, path: Path, target: str) -> None:
    telemetry.route("GET", "/say", lambda *_: json_answer(1))
    assert get(str(path), target)[0] in (200, 404)
