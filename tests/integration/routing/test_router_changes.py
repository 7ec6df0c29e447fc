"""Instances come, change and go in a running HAProxy through its runtime API: no reload, no request lost."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from haproxy_server import HaproxyServer, haproxy_server, requires_haproxy
from router_backends import Client, HttpBackend, TcpBackend, read_line
from waiting import until

from argosy.etcd import Entry
from argosy.model import Endpoint
from argosy.routing.changes import plan_changes
from argosy.routing.plan import plan_routing
from argosy.routing.values import Routing
from argosy.schema import Instance, drain_key, instance_key, parse_directory, service_key, weight_key

pytestmark = [pytest.mark.integration, requires_haproxy]

ADDRESS = "127.0.9.6"
SCHEME = {service_key("web", "scheme"): "http"}


class Router:
    """A running HAProxy that follows the keys of one service, `web`, through the runtime API."""

    def __init__(self, server: HaproxyServer) -> None:
        self.server = server
        self.client = Client(ADDRESS)

    def plan(self, keys: dict[str, str]) -> Routing:
        entries = [Entry(key, value, number, number) for number, (key, value) in enumerate(keys.items(), 1)]
        return plan_routing(parse_directory(entries), self.server.options)

    def start(self, keys: dict[str, str]) -> None:
        self.server.start(self.plan(keys))
        self.worker = self.server.workers()

    def follow(self, keys: dict[str, str]) -> list[str]:
        """Apply the keys, hold that they are in effect without a reload, and return the changes."""
        routing = self.plan(keys)
        done = self.server.apply(routing)
        assert not [change for change in plan_changes(self.server.servers(), routing) if change.settles]
        assert self.server.workers() == self.worker
        return [change.what.partition(",")[0] for change in done]

    def names(self, count: int = 12) -> Counter[str]:
        return Counter(self.client.ask(self.server.options.http_port, host="web").name for _ in range(count))


@pytest.fixture
def router() -> Iterator[Router]:
    with haproxy_server(ADDRESS) as server:
        yield Router(server)


@pytest.fixture
def one() -> Iterator[HttpBackend]:
    backend = HttpBackend("one")
    yield backend
    backend.close()


@pytest.fixture
def two() -> Iterator[HttpBackend]:
    backend = HttpBackend("two")
    yield backend
    backend.close()


def at(instance: str, backend: HttpBackend | TcpBackend) -> dict[str, str]:
    return {instance_key("web", instance): str(backend.endpoint)}


class TestInstances:
    def test_the_first_one_ends_the_503(self, router: Router, one: HttpBackend) -> None:
        router.start(SCHEME)
        assert router.names(1) == {"503": 1}
        assert router.follow(SCHEME | at("1", one)) == ["add"]
        assert router.names() == {"one": 12}

    def test_a_whole_life(self, router: Router, one: HttpBackend, two: HttpBackend) -> None:
        router.start(SCHEME | at("1", one))
        both = SCHEME | at("1", one) | at("2", two)
        assert router.follow(both) == ["add"]
        assert router.names() == {"one": 6, "two": 6}
        assert router.follow(both | {weight_key("web", "1"): "200"}) == ["weight 200"]
        assert router.names() == {"one": 8, "two": 4}
        assert router.follow(both | {drain_key("web", "1"): ""}) == ["weight 0"]
        assert router.names() == {"two": 12}
        assert router.follow(both) == ["weight 100"]
        assert router.names() == {"one": 6, "two": 6}
        assert router.follow(SCHEME | at("2", two)) == ["remove"]
        assert router.names() == {"two": 12}
        # Connections that HAProxy kept for later requests may have put its deletion off.
        until(lambda: router.follow(SCHEME | at("2", two)) == [])
        assert router.follow(both) == ["add"]
        assert router.follow(SCHEME) == ["remove", "remove"]
        assert router.names(1) == {"503": 1}

    def test_nothing_is_to_be_done_twice(self, router: Router, one: HttpBackend) -> None:
        router.start(SCHEME)
        router.follow(SCHEME | at("1", one))
        assert router.follow(SCHEME | at("1", one)) == []

    def test_one_that_moves_is_another_server(self, router: Router, one: HttpBackend, two: HttpBackend) -> None:
        router.start(SCHEME | at("1", one))
        assert router.follow(SCHEME | at("1", two)) == ["add", "remove"]
        assert router.names() == {"two": 12}

    def test_one_that_was_added_by_half_is_made_ready(self, router: Router, one: HttpBackend) -> None:
        router.start(SCHEME)
        routing = router.plan(SCHEME | at("1", one))
        (add,) = plan_changes(router.server.servers(), routing)
        for done in range(1, len(add.commands)):
            router.server.command(*add.commands[:done])
            assert router.follow(SCHEME | at("1", one)) == ["make ready"]
            assert router.names(2) == {"one": 2}
            router.follow(SCHEME)
            until(lambda: not router.server.servers().get("service-web") or router.follow(SCHEME) == [])

    @pytest.mark.parametrize("how", ["maint", "drain"])
    def test_one_that_somebody_took_out_by_hand_comes_back(self, router: Router, one: HttpBackend, how: str) -> None:
        keys = SCHEME | at("1", one)
        router.start(keys)
        (name,) = router.server.servers()["service-web"]
        router.server.command(f"set server service-web/{name} state {how}", f"disable health service-web/{name}")
        assert router.names(1) == {"503": 1}
        assert router.follow(keys) == ["make ready"]
        assert router.names(2) == {"one": 2}

    def test_one_that_was_added_is_checked(self, router: Router, one: HttpBackend, two: HttpBackend) -> None:
        router.start(SCHEME | at("1", one))
        router.follow(SCHEME | at("1", one) | at("2", two))
        two.close()
        until(lambda: [server.up for server in router.server.servers()["service-web"].values()] == [True, False])
        assert router.names() == {"one": 12}

    def test_the_state_is_that_of_a_fresh_start(self, router: Router, one: HttpBackend) -> None:
        keys = dict(SCHEME)
        for number in range(300):
            keys[instance_key("web", f"{number}:\udcff \n'\"#;\\{'x' * (number % 180)}")] = str(one.endpoint)
            keys[weight_key("web", f"{number}")] = str(number % 257)
        keys |= {instance_key("web", "six"): "[2001:db8::1]:80", instance_key("web", "_20"): "127.0.9.200:9"}
        routing = router.plan(keys | {service_key("web", "check"): "none"})
        router.start(SCHEME | {service_key("web", "check"): "none"})
        router.server.apply(routing)
        by_changes = router.server.servers()
        assert by_changes["service-web"].keys() == routing.backends["service-web"].servers.keys()
        router.server.stop()
        router.server.start(routing)
        assert router.server.servers() == by_changes


class TestConnections:
    @pytest.fixture
    def tcp(self, router: Router) -> Iterator[tuple[dict[str, str], TcpBackend, TcpBackend]]:
        backends = TcpBackend("one"), TcpBackend("two")
        port = router.server.options.https_port + 1
        keys = {service_key("web", "scheme"): "tcp", service_key("web", "host_port"): str(port)}
        yield keys, *backends
        for backend in backends:
            backend.close()

    def test_open_ones_outlive_their_instance(
        self, router: Router, tcp: tuple[dict[str, str], TcpBackend, TcpBackend]
    ) -> None:
        keys, one, two = tcp
        port = int(keys[service_key("web", "host_port")])
        router.start(keys | at("1", one))
        with router.client.connect(port) as connection:
            assert read_line(connection) == "one"
            assert router.follow(keys | at("2", two)) == ["add", "remove"]
            assert router.client.greeting(port) == "two"
            connection.sendall(b"still there?\n")
            assert read_line(connection) == "still there?"
            # It can't be deleted as long as somebody talks to it: that is tried again, and nothing else waits for it.
            assert router.follow(keys | at("2", two)) == ["delete"]
        until(lambda: router.follow(keys | at("2", two)) == [])
        assert len(router.server.servers()["service-web"]) == 1

    def test_one_that_comes_back_meanwhile_is_used_again(
        self, router: Router, tcp: tuple[dict[str, str], TcpBackend, TcpBackend]
    ) -> None:
        keys, one, _ = tcp
        port = int(keys[service_key("web", "host_port")])
        router.start(keys | at("1", one))
        with router.client.connect(port) as connection:
            assert read_line(connection) == "one"
            router.follow(keys)
            assert router.client.greeting(port) == ""
            assert router.follow(keys | at("1", one)) == ["make ready"]
            assert router.client.greeting(port) == "one"

    def test_no_request_is_lost_while_instances_come_and_go(
        self, router: Router, one: HttpBackend, two: HttpBackend
    ) -> None:
        base = SCHEME | at("1", one)
        router.start(base)
        answers: Counter[str] = Counter()
        stop = threading.Event()

        def ask() -> None:
            client = Client(ADDRESS)
            while not stop.is_set():
                answers[client.ask(router.server.options.http_port, host="web").name] += 1

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            for _ in range(40):
                router.follow(base | at("2", two))
                router.follow(base)
        finally:
            stop.set()
            asking.join()
        assert answers.keys() <= {"one", "two"}, answers
        assert answers["two"]

    def test_a_reload_keeps_what_came_by_the_runtime(self, router: Router, one: HttpBackend, two: HttpBackend) -> None:
        router.start(SCHEME | at("1", one))
        keys = SCHEME | at("1", one) | at("2", two)
        router.follow(keys)
        keys |= {service_key("other", "scheme"): "http", instance_key("other", "1"): str(two.endpoint)}
        router.server.reload(router.plan(keys))
        assert router.names() == {"one": 6, "two": 6}
        assert plan_changes(router.server.servers(), router.plan(keys)) == []
        assert router.client.ask(router.server.options.http_port, "/other/").name == "two"


def test_an_instance_is_what_its_server_is(router: Router, one: HttpBackend) -> None:
    """The server tells the endpoint and the weight that the key told."""
    router.start(SCHEME | at("1", one))
    wanted = Instance("1", one.endpoint)
    (found,) = router.server.servers()["service-web"].values()
    assert (found.endpoint, found.weight) == (wanted.endpoint, wanted.weight)
    assert found.endpoint == Endpoint("127.0.9.200", one.endpoint.port)
