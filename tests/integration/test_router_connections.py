"""How many connections a router has still, asked as a rollout asks: on a real HAProxy, over a reload."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from haproxy_server import HaproxyServer, haproxy_server, requires_haproxy

from argosy.machine_files import Names
from argosy.rollout_scripts import BEGIN, connections, parse_number
from argosy.routing import plan_routing
from argosy.schema import parse_directory

pytestmark = [pytest.mark.integration, requires_haproxy]

ADDRESS = "127.0.9.33"


@pytest.fixture
def router() -> Iterator[HaproxyServer]:
    with haproxy_server(ADDRESS) as server:
        server.start(plan_routing(parse_directory([]), server.options))
        yield server


def drain(router: HaproxyServer) -> None:
    router.options = replace(router.options, draining=True)
    router.reload(plan_routing(parse_directory([]), router.options))


def begin_a_request(router: HaproxyServer) -> socket.socket:
    connection = socket.create_connection((ADDRESS, router.options.http_port))
    connection.sendall(b"GET / HTTP/1.1\r\n")
    return connection


def ask(folder: Path, seconds: float) -> subprocess.Popen[str]:
    *_, python, dash, program, allowed = connections(Names("air"), seconds)
    assert python == "python3"
    moved = program.replace("/run/router", str(folder))
    asked = subprocess.Popen(
        [sys.executable, dash, moved, allowed],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert asked.stdin is not None
    asked.stdin.write(BEGIN.decode())
    asked.stdin.flush()
    return asked


def answer(asked: subprocess.Popen[str]) -> int | None:
    out, _ = asked.communicate(timeout=30)
    return parse_number(out, "connections")


def test_an_idle_router_has_none(router: HaproxyServer) -> None:
    assert answer(ask(router.folder, 0)) == 0


def test_those_of_an_old_worker_count_until_they_end(router: HaproxyServer) -> None:
    connection = begin_a_request(router)
    with connection:
        drain(router)
        assert len(router.workers()) == 2
        assert answer(ask(router.folder, 0)) == 1
        waiting = ask(router.folder, 20)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1)
    assert answer(waiting) == 0


def test_it_is_asked_in_the_middle_of_a_reload(router: HaproxyServer) -> None:
    asked = [ask(router.folder, 20) for _ in range(3)]
    drain(router)
    assert [answer(it) for it in asked] == [0, 0, 0]


def test_a_router_that_is_not_there_tells_nothing(tmp_path: Path) -> None:
    asked = ask(tmp_path, 0)
    _, error = asked.communicate(timeout=30)
    assert asked.returncode == 1
    assert error.startswith("HAProxy does not answer: ")
