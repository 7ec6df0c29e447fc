"""Whether the instances of a generation serve, read off Swarm's tasks and etcd's keys, seen again and again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from service_examples import IMAGE, Cluster, cluster, definition, record

from argosy.engine.swarm_model import SwarmService, Task
from argosy.etcd import Entry
from argosy.routing.haproxy import server_name
from argosy.schema import parse_directory, parse_endpoint
from argosy.services.record import Generation
from argosy.services.serving import (
    STEADY_SECONDS,
    TRIES,
    Gates,
    Watch,
    applied_reason,
    failing,
    registered_gates,
    running_gates,
    surplus_gates,
    unchecked,
    weighed_gates,
    weight_reason,
)
from argosy.services.state import Instance, Routers, Routes, Running, routers_of, routes_of

LEASE = 5
SERVICE = SwarmService("id8", 1, "air-web-8", {}, {})


def instance(slot: int, state: str = "running", desired: str = "running", machine: str = "", **more: Any) -> Instance:
    task = Task(f"t{slot}", "id8", f"node{slot}", slot, state, desired, **more)
    return Instance(task, machine or f"air-0{slot}", task.container_name("air-web-8"), 8)


FIRST, SECOND = instance(1), instance(2)


def running(*instances: Instance) -> Running:
    over = [instance for instance in instances if instance.task.over]
    return Running(8, SERVICE, tuple(instance for instance in instances if instance not in over), tuple(over))


def entry(key: str, value: str, revision: int = 10, lease: int = LEASE) -> Entry:
    return Entry(key, value, revision, revision, lease=lease)


def host(it: Instance, revision: int = 10, lease: int = LEASE) -> Entry:
    return entry(f"/services/web/hosts/{it.id}", "10.0.0.1:32768", revision, lease)


def weight(it: Instance, value: str, revision: int = 10, lease: int = LEASE) -> Entry:
    return entry(f"/services/web/weight/{it.id}", value, revision, lease)


def router(name: str, revision: int) -> Entry:
    return entry(f"/routers/{name}", str(revision))


def problems(*found: dict[str, object]) -> Entry:
    return entry("/routers/air-01/problems", json.dumps(found))


def routes(*entries: Entry) -> Routes:
    return routes_of("web", entries, routers_of(parse_directory(entries), entries))


class TestRoutes:
    def test_are_read_off_the_keys(self) -> None:
        found = routes(
            host(FIRST),
            weight(FIRST, "0"),
            entry("/services/web/generation/8", "0", lease=0),
            entry(f"/services/web/drain/{SECOND.id}", "scaling", lease=0),
            entry("/services/web/scheme", "http", lease=0),
            router("air-01", 12),
            problems({"service": "web", "key": "container air-web-8.1.t1", "reason": "its check fails"}),
            entry("/machines/air-02", json.dumps({"state": "draining"}), lease=0),
            entry("/machines/air-03", json.dumps({"state": "active"}), lease=0),
            entry("/machines/air-04", "no JSON", lease=0),
        )
        assert set(found.hosts) == set(found.weights) == {FIRST.id}
        assert (set(found.generations), set(found.drains)) == ({"8"}, {SECOND.id})
        assert found.routers == Routers(
            {"air-01": 12}, {"air-02": "it is draining"}, {"air-web-8.1.t1": "its check fails"}
        )

    @pytest.mark.parametrize("text", ["", "no JSON", "{}", '[{"key": 1}]', "[1]", "null"])
    def test_problems_that_can_t_be_read_are_none(self, text: str) -> None:
        assert routes(entry("/routers/air-01/problems", text)).routers.reasons == {}

    def test_a_generation_s_instances_are_those_of_its_containers_on_a_lease(self) -> None:
        old = replace(FIRST, container="air-web-80.1.t9")
        hand = replace(FIRST, container="air-web-8.3.t3")
        found = routes(host(FIRST), host(SECOND), host(old), host(hand, lease=0))
        assert found.registered("air-web-8") == [FIRST.id, SECOND.id]

    def test_servers_are_named_as_haproxy_has_them(self) -> None:
        bad = entry(f"/services/web/hosts/{SECOND.id}", "nowhere")
        found = routes(host(FIRST), bad)
        endpoint = parse_endpoint("10.0.0.1:32768")
        assert found.servers([FIRST.id, SECOND.id, "air-03:gone"]) == [server_name(FIRST.id, endpoint)]


class TestRunning:
    def test_all_do(self) -> None:
        assert failing(running_gates(2, running(FIRST, SECOND))) == ""

    def test_some_are_lacking(self) -> None:
        assert failing(running_gates(3, running(FIRST, SECOND))) == "instances: Swarm has created 2 of 3"
        assert failing(running_gates(0, running())) == ""

    def test_one_has_no_machine(self) -> None:
        waiting = replace(instance(3, "pending", message="no suitable node"), machine="")
        assert failing(running_gates(3, running(FIRST, SECOND, waiting))) == "air-web-8.3: pending: no suitable node"

    def test_one_failed_before(self) -> None:
        failed = instance(1, "failed", "shutdown", error="exit (1)")
        begins = instance(1, "starting")
        gates = running_gates(1, running(failed, begins))
        assert failing(gates) == "air-01: air-web-8.1: starting; the last one failed: exit (1)"
        assert failing(running_gates(1, running(failed, FIRST))) == ""

    def test_one_is_not_tried_again(self) -> None:
        failed = instance(2, "failed", "shutdown", error="exit (1)")
        assert failing(running_gates(2, running(FIRST, failed))) == (
            "instances: Swarm has created 1 of 2; air-web-8.2 failed: exit (1)"
        )

    def test_what_swarm_does_not_want_any_more_does_not_count(self) -> None:
        going = instance(2, desired="shutdown")
        assert failing(running_gates(1, running(FIRST, going))) == ""
        assert failing(surplus_gates(1, running(FIRST, going))) == "surplus: 1 of 2 have not ended yet"

    def test_what_is_lost_with_its_machine_is_not_waited_for_to_end(self) -> None:
        lost = replace(instance(2, desired="shutdown"), lost=True)
        assert failing(surplus_gates(1, running(FIRST, lost))) == ""


class TestRegistered:
    def test_with_its_weight_and_applied(self) -> None:
        found = routes(host(FIRST, 11), weight(FIRST, "0", 11), router("air-01", 11), router("air-02", 30))
        assert failing(registered_gates([FIRST], found, 0)) == ""

    def test_not_yet(self) -> None:
        found = routes(router("air-01", 11))
        assert failing(registered_gates([FIRST], found, 0)) == (
            "air-01: air-web-8.1: it runs, but its agent has not registered it yet"
        )

    def test_not_for_a_reason_that_its_agent_tells(self) -> None:
        told = problems({"service": "web", "key": "container air-web-8.1.t1", "reason": "status 503"})
        found = routes(told, router("air-01", 11))
        assert failing(registered_gates([FIRST], found, 0)) == "air-01: air-web-8.1: status 503"

    def test_not_applied_everywhere(self) -> None:
        found = routes(host(FIRST, 11), weight(FIRST, "0", 12), router("air-01", 11), router("air-02", 12))
        assert failing(registered_gates([FIRST], found, 0)) == (
            "air-01: air-web-8.1: not yet applied by the router of air-01"
        )

    def test_not_on_a_machine_that_is_out_of_service(self) -> None:
        draining = entry("/machines/air-02", json.dumps({"state": "draining"}), lease=0)
        found = routes(host(FIRST), weight(FIRST, "0"), draining)
        assert failing(registered_gates([FIRST, SECOND], found, 0)) == ""
        assert failing(registered_gates([SECOND], found, 0)) == (
            "machines: all of them are on machines that are out of service: air-02"
        )
        assert failing(registered_gates([], found, 0)) == ""

    def test_whatever_its_weight(self) -> None:
        found = routes(host(FIRST), weight(FIRST, "33"))
        assert failing(registered_gates([FIRST], found, None)) == ""


class TestWeights:
    @pytest.mark.parametrize(
        ("entries", "wanted", "reason"),
        [
            ([weight(FIRST, "33")], 33, ""),
            ([weight(FIRST, "33")], 100, "its weight is 33, not yet 100"),
            ([], 0, "its weight is none, not yet 0"),
            ([weight(FIRST, "50", lease=0)], 33, ""),
            ([weight(FIRST, "50", lease=0)], 0, "its weight is 50, not yet 0"),
            ([weight(FIRST, "0", lease=0)], 0, ""),
        ],
    )
    def test_an_operator_s_own_wins_unless_it_is_to_get_nothing(
        self, entries: list[Entry], wanted: int, reason: str
    ) -> None:
        assert weight_reason(FIRST.id, routes(*entries), wanted) == reason

    def test_of_a_generation_are_applied_when_the_key_is(self) -> None:
        own = entry("/services/web/generation/8", "0", 15, lease=0)
        found = routes(host(FIRST), weight(FIRST, "0", 12), own, router("air-01", 12))
        assert applied_reason(FIRST.id, found) == ""
        gates = weighed_gates([FIRST.id], 8, found, 0)
        assert gates["air-01", "air-web-8.1"] == ""
        assert failing(gates) == "routers: not yet applied by the router of air-01"
        assert failing(weighed_gates([], 8, replace(found, routers=Routers({"air-01": 15})), 0)) == ""


def watch(exact: bool = False, **keys: Any) -> Watch:
    return Watch("web", Generation(1, definition(**keys), IMAGE), exact)


def look(watched: Watch, found: Cluster, now: float = 0.0, count: int | None = 2) -> Gates:
    return watched.look(found.state(), count, now)


class TestWatch:
    def test_what_runs_and_is_registered_serves(self) -> None:
        assert failing(look(watch(), cluster(record()).runs())) == ""

    def test_what_does_not_is_said(self) -> None:
        assert failing(look(watch(), cluster(record()).runs(count=1))) == "instances: Swarm has created 1 of 2"
        assert failing(look(watch(), cluster(record()).runs(registered=False))) == (
            "air-01: air-web-1.1: it runs, but its agent has not registered it yet; "
            "air-02: air-web-1.2: it runs, but its agent has not registered it yet"
        )
        found = cluster(record()).runs(count=1)
        found.task(slot=2, state="pending", desired="running", error="no suitable node")
        assert failing(look(watch(), found)) == "air-02: air-web-1.2: pending: no suitable node"

    def test_more_than_wanted_serve_unless_it_is_to_be_exact(self) -> None:
        found = cluster(record()).runs(count=3)
        assert failing(look(watch(), found)) == ""
        assert failing(look(watch(exact=True), found)) == "surplus: 1 of 3 have not ended yet"

    def test_routers_have_to_know_them(self) -> None:
        found = cluster(record()).runs().key("/routers/air-03", "11")
        assert failing(look(watch(), found)) == "air-02: air-web-1.2: not yet applied by the router of air-03"

    def test_a_generation_that_swarm_does_not_have_is_not_waited_for(self) -> None:
        watched, found = watch(), cluster(record())
        assert watched.hopeless(found.state(), look(watched, found)) == "instances: Swarm does not have generation 1"

    def test_none_are_wanted(self) -> None:
        assert failing(look(watch(exact=True), cluster(record()).runs(count=0), count=0)) == ""

    def test_of_a_global_service_every_machine_that_takes_instances(self) -> None:
        found = cluster(record(replicas=None)).runs(count=2, replicas=None)
        assert failing(look(watch(), found, count=None)) == "instances: Swarm has created 2 of 3"
        found.nodes[2] = replace(found.nodes[2], state="down")
        assert failing(look(watch(), found, count=None)) == ""

    @pytest.mark.parametrize(
        ("keys", "asked"),
        [
            ({}, True),
            ({"discovery": None}, False),
            ({"discovery": {"port": 80, "check": "none"}}, False),
            ({"discovery": None, "check": {"command": ["true"]}}, True),
        ],
    )
    def test_what_nobody_asks_must_run_for_a_while(self, keys: dict[str, Any], asked: bool) -> None:
        assert unchecked(definition(**keys)) is not asked
        found, watched = cluster(record()).runs(), watch(**keys)
        assert (failing(look(watched, found, 10.0)) == "") is asked
        assert (failing(look(watched, found, 10.0 + STEADY_SECONDS / 2)) == "") is asked
        assert failing(look(watched, found, 10.0 + STEADY_SECONDS)) == ""

    def test_another_try_begins_the_while_anew(self) -> None:
        watched = watch(discovery=None)
        look(watched, cluster(record()).runs())
        found = cluster(record()).runs(count=1)
        found.task()
        found.task(slot=2)
        found.tasks.pop(1)
        assert failing(look(watched, found, STEADY_SECONDS)) == "instances: 2 run: watching whether they keep running"

    def test_failures_are_counted_though_swarm_forgets_them(self) -> None:
        watched = watch()
        found = cluster(record()).runs(count=1)
        for number in range(TRIES + 1):
            found.task(slot=2, state="failed", desired="shutdown", error=f"exit {number}")
            hopeless = watched.hopeless(found.state(), look(watched, found, float(number)))
            found.tasks.pop()
            found.task(slot=1, registered=False)  # takes the id, so that the next failure has another
            expected = f"air-web-1.2 has failed 3 times: exit {TRIES}" if number == TRIES else ""
            assert hopeless == expected, "what had failed before does not count"

    def test_what_has_failed_once_must_run_for_a_while(self) -> None:
        watched = watch()
        look(watched, cluster(record()).runs(count=1))
        found = cluster(record()).runs()
        found.task(slot=2, state="failed", desired="shutdown")
        assert failing(look(watched, found, 1.0)) == "instances: 2 run: watching whether they keep running"
        assert failing(look(watched, found, 1.0 + STEADY_SECONDS)) == ""
