"""What must hold of the instances of a generation, read off Swarm's tasks and etcd's keys: `update_gates`."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from argosy.etcd import Entry
from argosy.router_config import server_name
from argosy.schema import parse_endpoint
from argosy.update_gates import (
    Instance,
    Known,
    applied_reason,
    failing,
    known,
    prefixes,
    registered_gates,
    running_gates,
    weighed_gates,
    weight_reason,
)

FIRST = Instance("t1", "air-01", "air-web-8.1.t1", "air-web-8.1", "running", runs=True)
SECOND = Instance("t2", "air-02", "air-web-8.2.t2", "air-web-8.2", "running", runs=True)
LEASE = 5


def entry(key: str, value: str, revision: int = 10, lease: int = LEASE) -> Entry:
    return Entry(key, value, revision, revision, lease=lease)


def host(it: Instance, revision: int = 10, lease: int = LEASE) -> Entry:
    return entry(f"/services/web/hosts/{it.id}", "10.0.0.1:32768", revision, lease)


def weight(it: Instance, value: str, revision: int = 10, lease: int = LEASE) -> Entry:
    return entry(f"/services/web/weight/{it.id}", value, revision, lease)


def router(name: str, revision: int) -> Entry:
    return entry(f"/routers/{name}", str(revision))


def seen(*entries: Entry) -> Known:
    return known("web", entries)


class TestWhatIsKnown:
    def test_is_read_off_the_keys(self) -> None:
        problems = [{"service": "web", "key": "container air-web-8.1.t1", "reason": "not registered: its check fails"}]
        found = seen(
            host(FIRST),
            weight(FIRST, "0"),
            entry("/services/web/generation/8", "0", lease=0),
            entry("/services/web/scheme", "http", lease=0),
            router("air-01", 12),
            entry("/routers/air-01/problems", json.dumps(problems)),
            entry("/machines/air-02", json.dumps({"state": "draining"}), lease=0),
            entry("/machines/air-03", json.dumps({"state": "active"}), lease=0),
            entry("/machines/air-04", "no JSON", lease=0),
        )
        assert set(found.hosts) == set(found.weights) == {FIRST.id}
        assert set(found.generations) == {"8"}
        assert found.applied == {"air-01": 12}
        assert found.away == {"air-02": "it is draining"}
        assert found.reasons == {"air-web-8.1.t1": "not registered: its check fails"}
        assert prefixes("web") == ("/services/web/", "/machines/", "/routers/")

    @pytest.mark.parametrize("text", ["", "no JSON", "{}", '[{"key": 1}]', "[1]", "null"])
    def test_problems_that_can_t_be_read_are_none(self, text: str) -> None:
        assert seen(entry("/routers/air-01/problems", text)).reasons == {}

    def test_a_generation_s_instances_are_those_of_its_containers_on_a_lease(self) -> None:
        old = replace(FIRST, container="air-web-80.1.t9")
        hand = replace(FIRST, container="air-web-8.3.t3")
        found = seen(host(FIRST), host(SECOND), host(old), host(hand, lease=0))
        assert found.of("air-web-8.") == [FIRST.id, SECOND.id]

    def test_servers_are_named_as_haproxy_has_them(self) -> None:
        bad = entry(f"/services/web/hosts/{SECOND.id}", "nowhere")
        found = seen(host(FIRST), bad)
        endpoint = parse_endpoint("10.0.0.1:32768")
        assert found.servers([FIRST.id, SECOND.id, "air-03:gone"]) == [server_name(FIRST.id, endpoint)]


class TestRunning:
    def test_all_do(self) -> None:
        assert failing(running_gates(2, [FIRST, SECOND])) == ""

    def test_some_are_lacking(self) -> None:
        assert failing(running_gates(3, [FIRST, SECOND])) == "instances: Swarm has begun 2 of 3"
        assert failing(running_gates(None, [])) == "instances: Swarm has begun 0"
        assert failing(running_gates(0, [])) == ""

    def test_one_has_no_machine(self) -> None:
        waiting = Instance("t3", "", "air-web-8.3.t3", "air-web-8.3", "pending", trouble="no suitable node")
        assert failing(running_gates(3, [FIRST, SECOND, waiting])) == "air-web-8.3: pending: no suitable node"

    def test_one_failed_before(self) -> None:
        failed = replace(FIRST, task="t0", state="failed", runs=False, over=True, failed=True, trouble="exit (1)")
        begins = replace(FIRST, state="starting", runs=False)
        gates = running_gates(1, [failed, begins])
        assert failing(gates) == "air-01: air-web-8.1: starting; the last one failed: exit (1)"
        assert failing(running_gates(1, [failed, FIRST])) == ""

    def test_what_swarm_does_not_want_any_more_does_not_count(self) -> None:
        going = replace(SECOND, wanted=False)
        assert failing(running_gates(1, [FIRST, going])) == ""


class TestRegistered:
    def test_with_its_weight_and_applied(self) -> None:
        found = seen(host(FIRST, 11), weight(FIRST, "0", 11), router("air-01", 11), router("air-02", 30))
        assert failing(registered_gates([FIRST], found, 0)) == ""

    def test_not_yet(self) -> None:
        found = seen(router("air-01", 11))
        assert failing(registered_gates([FIRST], found, 0)) == (
            "air-01: air-web-8.1: it runs, but its agent has not registered it yet"
        )

    def test_not_for_a_reason_that_its_agent_tells(self) -> None:
        problems = [{"service": "web", "key": "container air-web-8.1.t1", "reason": "not registered: status 503"}]
        found = seen(entry("/routers/air-01/problems", json.dumps(problems)))
        assert failing(registered_gates([FIRST], found, 0)) == "air-01: air-web-8.1: not registered: status 503"

    def test_not_applied_everywhere(self) -> None:
        found = seen(host(FIRST, 11), weight(FIRST, "0", 12), router("air-01", 11), router("air-02", 12))
        assert failing(registered_gates([FIRST], found, 0)) == (
            "air-01: air-web-8.1: not yet applied by the router of air-01"
        )

    def test_not_on_a_machine_that_is_out_of_service(self) -> None:
        draining = entry("/machines/air-02", json.dumps({"state": "draining"}), lease=0)
        found = seen(host(FIRST), weight(FIRST, "0"), draining)
        assert failing(registered_gates([FIRST, SECOND], found, 0)) == ""
        assert failing(registered_gates([SECOND], found, 0)) == (
            "machines: all of them are on machines that are out of service: air-02"
        )
        assert failing(registered_gates([], found, 0)) == ""

    def test_whatever_its_weight(self) -> None:
        found = seen(host(FIRST), weight(FIRST, "33"))
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
        assert weight_reason(FIRST.id, seen(*entries), wanted) == reason

    def test_of_a_generation_are_applied_when_the_key_is(self) -> None:
        own = entry("/services/web/generation/8", "0", 15, lease=0)
        found = seen(host(FIRST), weight(FIRST, "0", 12), own, router("air-01", 12))
        assert applied_reason(FIRST.id, found) == ""
        gates = weighed_gates([FIRST.id], 8, found, 0)
        assert gates["air-01", "air-web-8.1"] == ""
        assert failing(gates) == "routers: not yet applied by the router of air-01"
        assert failing(weighed_gates([], 8, replace(found, applied={"air-01": 15}), 0)) == ""
