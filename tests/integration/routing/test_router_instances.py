"""Which instance gets a request, and what a machine says of itself, through a real HAProxy to real backends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from haproxy_server import HaproxyServer, free_ports, haproxy_server, requires_haproxy
from router_backends import (
    Client,
    HttpBackend,
    TcpBackend,
)
from waiting import until

from argosy.etcd import Entry
from argosy.routing.plan import BALANCER_HEALTH_PATH, HEALTH_PATH, plan_routing
from argosy.routing.values import RouterOptions, Routing
from argosy.schema import (
    DEFAULT_SERVICE,
    drain_key,
    instance_key,
    parse_directory,
    service_key,
    weight_key,
)

pytestmark = [pytest.mark.integration, requires_haproxy]


def planned(keys: dict[str, str], options: RouterOptions) -> Routing:
    """Return the plan for the keys; the first is the oldest."""
    entries = [Entry(key, value, number, number) for number, (key, value) in enumerate(keys.items(), 1)]
    return plan_routing(parse_directory(entries), options)


@pytest.fixture
def fresh() -> Iterator[HaproxyServer]:
    with haproxy_server("127.0.9.2") as server:
        yield server


@pytest.fixture
def two() -> Iterator[tuple[HttpBackend, HttpBackend]]:
    backends = HttpBackend("one"), HttpBackend("two")
    yield backends
    for backend in backends:
        backend.close()


class TestInstances:
    def shares(self, server: HaproxyServer, count: int = 20) -> Counter[str]:
        client = Client("127.0.9.2")
        return Counter(client.ask(server.options.http_port, host="web").name for _ in range(count))

    def keys(self, two: tuple[HttpBackend, HttpBackend]) -> dict[str, str]:
        return {
            service_key("web", "scheme"): "http",
            instance_key("web", "1"): str(two[0].endpoint),
            instance_key("web", "2"): str(two[1].endpoint),
        }

    def test_weights(self, fresh: HaproxyServer, two: tuple[HttpBackend, HttpBackend]) -> None:
        keys = self.keys(two) | {weight_key("web", "1"): "30", weight_key("web", "2"): "10"}
        fresh.start(planned(keys, fresh.options))
        assert self.shares(fresh) == {"one": 15, "two": 5}

    def test_a_draining_instance_gets_nothing(self, fresh: HaproxyServer, two: tuple[HttpBackend, HttpBackend]) -> None:
        fresh.start(planned(self.keys(two) | {drain_key("web", "1"): ""}, fresh.options))
        assert self.shares(fresh, 6) == {"two": 6}

    def test_all_weightless_is_503(self, fresh: HaproxyServer, two: tuple[HttpBackend, HttpBackend]) -> None:
        keys = self.keys(two) | {weight_key("web", "1"): "0", drain_key("web", "2"): ""}
        fresh.start(planned(keys, fresh.options))
        assert self.shares(fresh, 2) == {"503": 2}

    def test_an_instance_that_can_t_be_reached_costs_no_request(
        self, fresh: HaproxyServer, two: tuple[HttpBackend, HttpBackend]
    ) -> None:
        keys = self.keys(two) | {service_key("web", "check"): "none"}
        fresh.start(planned(keys, fresh.options))
        two[1].close()
        assert self.shares(fresh, 10) == {"one": 10}

    def test_a_request_that_gets_no_answer_goes_to_another_one(
        self, fresh: HaproxyServer, two: tuple[HttpBackend, HttpBackend]
    ) -> None:
        fresh.start(planned(self.keys(two) | {service_key("web", "check"): "none"}, fresh.options))
        two[0].answer(lambda _path: 0)
        assert self.shares(fresh, 6) == {"two": 6}
        assert two[0].requests

    def test_but_not_one_that_may_have_had_its_effect(
        self, fresh: HaproxyServer, two: tuple[HttpBackend, HttpBackend]
    ) -> None:
        fresh.start(planned(self.keys(two) | {service_key("web", "check"): "none"}, fresh.options))
        two[0].answer(lambda _path: 0)
        client = Client("127.0.9.2")
        answers = [client.ask(fresh.options.http_port, host="web", method="POST") for _ in range(4)]
        assert sorted(answer.name for answer in answers) == ["502", "502", "two", "two"]

    @pytest.mark.parametrize(("check", "well"), [("http /well", 200), ("http /well 204,418", 418)])
    def test_a_check_by_http_takes_an_instance_out_and_back(
        self, fresh: HaproxyServer, two: tuple[HttpBackend, HttpBackend], check: str, well: int
    ) -> None:
        def answers(status: int) -> None:
            two[0].answer(lambda path: status if path == "/well" else 200)

        two[1].answer(lambda path: well if path == "/well" else 200)
        answers(500)
        routing = planned(self.keys(two) | {service_key("web", "check"): check}, fresh.options)
        fresh.start(routing)
        name = next(iter(routing.backends["service-web"].servers))
        until(lambda: not fresh.servers()["service-web"][name].up)
        assert self.shares(fresh, 4) == {"two": 4}
        answers(well)
        until(lambda: fresh.servers()["service-web"][name].up)
        assert self.shares(fresh, 4) == {"one": 2, "two": 2}

    def test_a_check_by_tcp_does_it_by_default(
        self, fresh: HaproxyServer, two: tuple[HttpBackend, HttpBackend]
    ) -> None:
        routing = planned(self.keys(two), fresh.options)
        fresh.start(routing)
        two[0].close()
        name = next(iter(routing.backends["service-web"].servers))
        until(lambda: not fresh.servers()["service-web"][name].up)


class TestTheRest:
    def test_a_default_service_gets_what_names_none(
        self, fresh: HaproxyServer, two: tuple[HttpBackend, HttpBackend]
    ) -> None:
        keys = {
            service_key("web", "scheme"): "http",
            instance_key("web", "1"): str(two[0].endpoint),
            service_key("api", "scheme"): "http",
            instance_key("api", "1"): str(two[1].endpoint),
            DEFAULT_SERVICE: "web",
        }
        fresh.start(planned(keys, fresh.options))
        client = Client("127.0.9.2")
        asked = [("", "/"), ("unknown", "/x"), ("api", "/"), ("", "/api")]
        names = [client.ask(fresh.options.http_port, path, host).name for host, path in asked]
        assert names == ["one", "one", "two", "two"]

    def test_a_draining_machine_says_so_and_serves_on(
        self, fresh: HaproxyServer, two: tuple[HttpBackend, HttpBackend]
    ) -> None:
        keys = {service_key("web", "scheme"): "http", instance_key("web", "1"): str(two[0].endpoint)}
        fresh.start(planned(keys, replace(fresh.options, draining=True)))
        client = Client("127.0.9.2")
        port = fresh.options.http_port
        assert client.ask(port, HEALTH_PATH).status == 503
        assert client.ask(port, BALANCER_HEALTH_PATH).status == 404
        assert client.ask(port, host="web").name == "one"

    def test_it_begins_and_ends_to_drain_without_a_reload(self, fresh: HaproxyServer) -> None:
        fresh.start(planned({}, fresh.options))
        client, paths, worker = Client("127.0.9.2"), (HEALTH_PATH, BALANCER_HEALTH_PATH), fresh.workers()
        for draining, statuses in ((True, [503, 404]), (False, [200, 200])) * 2:
            fresh.apply(planned({}, replace(fresh.options, draining=draining)))
            assert [client.ask(fresh.options.http_port, path).status for path in paths] == statuses
        assert fresh.workers() == worker

    def test_a_forward_leads_to_a_container(self, fresh: HaproxyServer) -> None:
        backend = TcpBackend("container")
        (port,) = free_ports("127.0.9.2", 1)
        fresh.start(planned({}, replace(fresh.options, forwards={port: backend.endpoint})))
        assert Client("127.0.9.2").greeting(port) == "container"
        backend.close()

    def test_no_keys_at_all(self, fresh: HaproxyServer) -> None:
        fresh.start(planned({}, fresh.options))
        assert Client("127.0.9.2").ask(fresh.options.http_port, host="web").status == 404
