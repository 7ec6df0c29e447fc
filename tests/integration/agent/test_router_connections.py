"""How many connections a router has still, asked as a rollout asks: on a real HAProxy, over a reload."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from haproxy_server import HaproxyServer, haproxy_server, requires_haproxy

from argosy.agent.router.connections import Connections
from argosy.agent.router.haproxy import Haproxy
from argosy.agent.telemetry import Answer
from argosy.routing.plan import plan_routing
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


class Asked:
    """The question, in a thread of its own."""

    def __init__(self, folder: Path, seconds: str) -> None:
        self.let_go: list[float] = []
        router = Haproxy(folder / "admin.sock", folder / "master.sock")
        self._connections = Connections(router, lambda: self.let_go.append(time.monotonic()))
        self._answer: Answer | None = None
        self._thread = threading.Thread(target=self._ask, args=[seconds], daemon=True)
        self._thread.start()

    def _ask(self, seconds: str) -> None:
        self._answer = self._connections.answer("/connections", {"seconds": seconds}, b"")

    def waits(self) -> bool:
        self._thread.join(1)
        return self._thread.is_alive()

    def answer(self) -> tuple[int, dict[str, Any]]:
        self._thread.join(30)
        assert self._answer is not None
        status, _, body = self._answer
        return status, json.loads(body)


def test_an_idle_router_has_none(router: HaproxyServer) -> None:
    asked = Asked(router.folder, "20")
    assert asked.answer() == (200, {"connections": 0})
    assert asked.let_go == []


def test_those_of_an_old_worker_count_until_they_end(router: HaproxyServer) -> None:
    connection = begin_a_request(router)
    with connection:
        drain(router)
        assert len(router.workers()) == 2
        assert Asked(router.folder, "0").answer() == (200, {"connections": 1})
        waiting = Asked(router.folder, "20")
        assert waiting.waits()
        assert len(waiting.let_go) == 1
    assert waiting.answer() == (200, {"connections": 0})


def test_it_is_asked_in_the_middle_of_a_reload(router: HaproxyServer) -> None:
    asked = [Asked(router.folder, "20") for _ in range(3)]
    drain(router)
    assert [ask.answer() for ask in asked] == [(200, {"connections": 0})] * 3


def test_a_router_that_is_not_there_tells_nothing(tmp_path: Path) -> None:
    status, told = Asked(tmp_path, "0").answer()
    assert (status, told["error"][:24]) == (503, "HAProxy does not answer:")


@pytest.mark.parametrize("seconds", ["x", "-1", "nan", "1e9"])
def test_what_is_no_time_is_refused(tmp_path: Path, seconds: str) -> None:
    assert Asked(tmp_path, seconds).answer()[0] == 400
