"""The balancer before real routers: who gets connections, which ones stay open, whose address the service sees."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from haproxy_server import free_ports, haproxy_server, requires_haproxy
from router_backends import Client, HttpBackend, open_websocket, read_line
from waiting import until

from argosy.etcd import Entry
from argosy.routing.changes import plan_changes
from argosy.routing.plan import plan_balancer, plan_routing
from argosy.routing.values import Routing
from argosy.schema import instance_key, machine_key, parse_directory, service_key

pytestmark = [pytest.mark.integration, requires_haproxy]

BALANCER = "127.0.9.10"
ROUTERS = {"sea-01": "127.0.9.11", "sea-02": "127.0.9.12"}


def entries(keys: dict[str, str]) -> list[Entry]:
    return [Entry(key, value, number, number) for number, (key, value) in enumerate(keys.items(), 1)]


class Harbour:
    """A balancer and two routers. Each router's only service says where it stands."""

    def __init__(self, stack: ExitStack) -> None:
        self.services = {name: HttpBackend(name) for name in ROUTERS}
        self.routers = {name: stack.enter_context(haproxy_server(address)) for name, address in ROUTERS.items()}
        self.port = next(iter(self.routers.values())).options.proxy_port
        (listen,) = free_ports(BALANCER, 1)
        self.balancer = stack.enter_context(
            haproxy_server(BALANCER, listen=(f"{BALANCER}:{listen}",), machine_port=self.port)
        )
        self.listen = listen
        self.client = Client(BALANCER)
        stack.callback(self.close)

    def close(self) -> None:
        self.client.close()
        for service in self.services.values():
            service.close()

    def route(self, name: str, draining: bool = False) -> Routing:
        router = self.routers[name]
        router.options = replace(router.options, proxy_port=self.port, draining=draining)
        keys = {service_key("web", "scheme"): "http", instance_key("web", "1"): str(self.services[name].endpoint)}
        return plan_routing(parse_directory(entries(keys)), router.options)

    def plan(self, **states: str) -> Routing:
        """Return the plan for machines in these states; `sea_01` is sea-01."""
        keys = {}
        for word, state in states.items():
            name = word.replace("_", "-")
            keys[machine_key(name)] = json.dumps({"address": ROUTERS[name], "state": state})
        return plan_balancer(parse_directory(entries(keys)), self.balancer.options)

    def start(self) -> None:
        for name, router in self.routers.items():
            router.start(self.route(name))
        self.balancer.start(self.plan(sea_01="active", sea_02="active"))

    def names(self, count: int = 8) -> Counter[str]:
        return Counter(self.client.ask(self.listen, "/web").name for _ in range(count))

    def ups(self) -> list[bool]:
        return [server.up for server in self.balancer.servers()["machines"].values()]

    def keep_alive(self) -> KeptOpen:
        return KeptOpen(self.client, self.listen)


class KeptOpen:
    """A connection that stays open between requests."""

    def __init__(self, client: Client, port: int) -> None:
        self.connection = client.connect(port)
        self.connection.settimeout(10)

    def name(self) -> str:
        """Return who answers on it; empty when it was cut."""
        try:
            self.connection.sendall(b"GET /web HTTP/1.1\r\nHost: x\r\n\r\n")
            data = self.connection.recv(65536)
        except ConnectionError:
            return ""
        return next((name for name in ROUTERS if f'"name": "{name}"'.encode() in data), "")


@pytest.fixture
def harbour() -> Iterator[Harbour]:
    with ExitStack() as stack:
        made = Harbour(stack)
        made.start()
        yield made


def test_machines_take_turns_and_learn_the_clients_address(harbour: Harbour) -> None:
    assert harbour.names() == {"sea-01": 4, "sea-02": 4}
    assert harbour.client.ask(harbour.listen, "/web").said["forwarded"] == ["127.0.0.1"]


@pytest.mark.parametrize("state", ["draining", "down"])
def test_a_machine_that_is_not_active_keeps_its_connections_only(harbour: Harbour, state: str) -> None:
    kept = {
        name: connection for connection in (harbour.keep_alive(), harbour.keep_alive()) if (name := connection.name())
    }
    assert kept.keys() == ROUTERS.keys()
    changes = harbour.balancer.apply(harbour.plan(sea_01=state, sea_02="active"))
    assert [change.what for change in changes] == ["weight 0"]
    assert harbour.names() == {"sea-02": 8}
    assert kept["sea-01"].name() == "sea-01"
    harbour.balancer.apply(harbour.plan(sea_01="active", sea_02="active"))
    assert harbour.names() == {"sea-01": 4, "sea-02": 4}


def test_a_router_that_drains_says_so_itself_and_keeps_its_connections(harbour: Harbour) -> None:
    """Even when etcd does not tell the balancer."""
    open_ones = [open_websocket(harbour.client, harbour.listen, "/web") for _ in ROUTERS]
    harbour.routers["sea-01"].reload(harbour.route("sea-01", draining=True))
    until(lambda: harbour.ups() == [False, True])
    assert harbour.names() == {"sea-02": 8}
    for connection in open_ones:
        connection.sendall(b"still there?\n")
        assert read_line(connection) == "still there?"


def test_a_machine_that_goes_keeps_its_connections(harbour: Harbour) -> None:
    kept = [harbour.keep_alive(), harbour.keep_alive()]
    assert sorted(kept_open.name() for kept_open in kept) == ["sea-01", "sea-02"]
    only_one = harbour.plan(sea_02="active")
    assert [change.what for change in harbour.balancer.apply(only_one)] == ["drain"]
    assert harbour.names() == {"sea-02": 8}
    assert sorted(kept_open.name() for kept_open in kept) == ["sea-01", "sea-02"]
    assert plan_changes(harbour.balancer.servers(), only_one) == []


def test_a_machine_that_comes_is_used_without_a_reload(harbour: Harbour) -> None:
    harbour.balancer.stop()
    harbour.balancer.start(harbour.plan(sea_02="active"))
    worker = harbour.balancer.workers()
    assert harbour.names(2) == {"sea-02": 2}
    both = harbour.plan(sea_01="active", sea_02="active")
    assert [change.what for change in harbour.balancer.apply(both)] == ["add, weight 100"]
    assert harbour.names() == {"sea-01": 4, "sea-02": 4}
    # By the PROXY protocol and with a check of its own, as one from the file.
    until(lambda: harbour.ups() == [True, True])
    harbour.routers["sea-01"].stop()
    until(lambda: harbour.ups().count(False) == 1)
    assert harbour.names() == {"sea-02": 8}
    assert harbour.balancer.workers() == worker


def test_a_machine_that_dies_frees_its_connections(harbour: Harbour) -> None:
    kept = [harbour.keep_alive(), harbour.keep_alive()]
    assert sorted(kept_open.name() for kept_open in kept) == ["sea-01", "sea-02"]
    # As when its power is cut: nothing tells the connections.
    harbour.routers["sea-01"].freeze()
    until(lambda: harbour.ups() == [False, True])
    assert sorted(kept_open.name() for kept_open in kept) == ["", "sea-02"]


def test_machines_without_an_address_are_reported(harbour: Harbour) -> None:
    directory = parse_directory(entries({machine_key("sea-03"): "{}"}))
    routing = plan_balancer(directory, harbour.balancer.options)
    assert [problem.key for problem in routing.problems] == ["/machines/sea-03"]
    assert not routing.backends["machines"].servers
