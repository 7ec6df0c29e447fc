"""What becomes of scheduled services, decided from what is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from raised import raises
from service_examples import BY, IMAGE, NOW, Cluster, cluster, definition, node, record

from argosy.errors import ConfigError, Refused
from argosy.etcd.values import Entry
from argosy.schema import Problem
from argosy.services.actions import Plan
from argosy.services.plan import (
    Wanted,
    chosen,
    failed_slots,
    plan_destroy,
    plan_revive,
    plan_scale,
    plan_start,
    plan_stop,
    plan_submit,
)
from argosy.services.record import PREFIX, Generation, ServiceImage
from argosy.services.spec import HELD
from argosy.services.state import ServicesState, fits


def wanted(name: str = "web", count: int | None = None, **keys: Any) -> Wanted:
    return Wanted(name, definition(**{"replicas": 2, **keys}), IMAGE, count)


def submitted(state: ServicesState, what: Wanted) -> Plan:
    return plan_submit(state, what, NOW, BY)


def steps(plan: Plan) -> list[str]:
    return [step.action for step in plan.steps()]


REMEMBER = "generation 1, version 0.1.3: 2 instances"
START = f"start 2 instances of {IMAGE.reference}"
AWAIT = "wait until 2 instances run, are registered, and every router has them"


class TestSubmit:
    def test_what_is_new_is_remembered_and_started(self) -> None:
        plan = submitted(cluster().state(), wanted())
        assert steps(plan) == [REMEMBER, START, AWAIT]
        assert plan.changes

    def test_a_number_of_instances_given_beside_it_counts(self) -> None:
        assert steps(submitted(cluster().state(), wanted(count=3)))[0].endswith(": 3 instances")

    def test_the_same_again_waits_alone(self) -> None:
        plan = submitted(cluster(record()).runs().state(), wanted())
        assert steps(plan) == [AWAIT]
        assert not plan.changes

    def test_killed_after_the_record_it_goes_on(self) -> None:
        assert steps(submitted(cluster(record()).state(), wanted())) == [START, AWAIT]

    def test_killed_before_it_was_let_run_it_is_started(self) -> None:
        held = cluster(record()).runs(count=0, replicas=0)
        held.services = [replace(service, labels={**service.labels, HELD: "true"}) for service in held.services]
        assert steps(submitted(held.state(), wanted())) == [START, AWAIT]

    def test_scaled_meanwhile_it_stays_so(self) -> None:
        scaled = replace(record(), replicas=4)
        assert steps(submitted(cluster(scaled).runs(count=4).state(), wanted()))[0].startswith("wait until 4 instances")

    def test_another_definition_is_an_update(self) -> None:
        with pytest.raises(Refused, match=r"another env, memory_megabytes: inv service.update web"):
            submitted(cluster(record()).runs().state(), wanted(env={"A": "b"}, memory_megabytes=64))

    def test_another_number_is_scaled_to_when_the_command_says_it(self) -> None:
        plan = submitted(cluster(record()).runs().state(), wanted(count=5))
        assert plan == plan_scale(cluster(record()).runs().state(), "web", 5)
        assert plan.changes
        assert not submitted(cluster(record()).runs().state(), wanted(replicas=5)).changes

    def test_a_newer_version_is_told_and_not_taken(self) -> None:
        newer = Wanted("web", definition(replicas=2), ServiceImage("x@sha256:2", "0.1.4"))
        plan = submitted(cluster(record()).runs().state(), newer)
        assert not plan.changes
        assert plan.said == ("version 0.1.3 is what is wanted; inv service.update web brings 0.1.4",)

    def test_what_is_stopped_stays_so(self) -> None:
        plan = submitted(cluster(record(stopped=True)).state(), wanted())
        assert plan.actions == ()
        assert plan.said == ("it is stopped: inv service.start web",)

    def test_no_machine_fits(self) -> None:
        with pytest.raises(Refused, match="no machine fits tier=green; they have machine=air-01, machine=air-02, "):
            submitted(cluster().state(), wanted(constraints=["tier=green"]))

    @pytest.mark.parametrize(
        ("keys", "reason"),
        [
            ({"max_per_machine": 1}, "max_per_machine allows 1"),
            ({"ports": ["80:80"], "update": {"order": "stop-first"}}, "a fixed port allows 1"),
            ({"conflicts": ["other"]}, "conflicts allows 1"),
        ],
    )
    def test_more_than_there_are_places(self, keys: dict[str, Any], reason: str) -> None:
        with pytest.raises(Refused, match=f"4 instances have no place: {reason} on each of the 3 machines"):
            submitted(cluster().state(), wanted(count=4, **keys))
        assert submitted(cluster().state(), wanted(count=3, **keys)).changes

    @pytest.mark.parametrize(
        ("keys", "count", "free"),
        [
            ({"reserve": {"memory_megabytes": 600}}, 3, "air-01: 1, air-02: 1"),
            ({"reserve": {"cpus": 1.5}}, 3, "air-01: 1, air-02: 1"),
            ({"reserve": {"cpus": 0.1, "memory_megabytes": 2000}}, 1, "air-01: 0, air-02: 0"),
            ({"reserve": {"memory_megabytes": 100}, "max_per_machine": 1, "constraints": ["machine=air-01"]}, 1, ""),
            ({"reserve": {"memory_megabytes": 600}}, 2, ""),
        ],
    )
    def test_more_than_there_is_room_for(self, keys: dict[str, Any], count: int, free: str) -> None:
        nodes = [node(name, nano_cpus=2 * 10**9, memory_bytes=2**30) for name in ("air-01", "air-02")]
        if not free:
            assert submitted(Cluster(nodes=nodes).state(), wanted(count=count, **keys)).changes
            return
        with pytest.raises(Refused, match=f"have no room: each reserves .*, there is room on {free}"):
            submitted(Cluster(nodes=nodes).state(), wanted(count=count, **keys))

    def test_what_others_reserve_leaves_less_room(self) -> None:
        seen = Cluster(nodes=[node("air-01", nano_cpus=10**9, memory_bytes=2**30)]).knows(record("db")).runs("db")
        reserved = {"TaskTemplate": {"Resources": {"Reservations": {"MemoryBytes": 300 * 2**20}}}}
        seen.services = [replace(service, spec={**service.spec, **reserved}) for service in seen.services]
        reserve = {"memory_megabytes": 300}
        assert submitted(seen.state(), wanted(count=1, reserve=reserve)).changes
        with pytest.raises(Refused, match=r"2 instances have no room: each reserves memory_megabytes: 300"):
            submitted(seen.state(), wanted(count=2, reserve=reserve))

    def test_what_it_conflicts_with_has_to_know(self) -> None:
        with pytest.raises(Refused, match=r"conflicts with db, which runs without knowing it: inv service.update db"):
            submitted(cluster(record("db")).runs("db").state(), wanted(conflicts=["db"]))
        knowing = record("db", conflicts=["web"])
        assert submitted(cluster(knowing).runs("db").state(), wanted(conflicts=["db"])).changes

    def test_a_port_that_another_has_is_refused(self) -> None:
        taken = cluster().key("/services/db/scheme", "tcp").key("/services/db/host_port", "5432")
        what = replace(wanted(), attributes={"scheme": "tcp", "host_port": "5432"})

        def conflicts(entries: Sequence[Entry]) -> list[Problem]:
            found = [entry for entry in entries if entry.key.endswith("/host_port") and entry.value == "5432"]
            return [Problem(entry.key.split("/")[2], entry.key, "port 5432 is db's") for entry in found[1:]]

        with pytest.raises(Refused, match="port 5432 is db's: nothing was changed"):
            plan_submit(taken.state(), what, NOW, BY, conflicts)
        assert plan_submit(cluster().state(), what, NOW, BY, conflicts).changes

    def test_a_global_service_is_not_counted(self) -> None:
        what = Wanted("web", definition(**{"global": True}), IMAGE)
        assert steps(submitted(cluster().state(), what))[1].startswith("start one instance on every machine that fits")
        with raises(ConfigError, "web", path="replicas"):
            submitted(cluster().state(), replace(what, replicas=2))

    def test_in_an_update_it_is_refused(self) -> None:
        with pytest.raises(Refused, match="an update of web is under way or was left"):
            submitted(cluster(record()).runs().updates("web").state(), wanted())

    def test_what_etcd_does_not_know_is_not_taken_over(self) -> None:
        with pytest.raises(Refused, match=r"Swarm runs generation 1 of it, .*inv service.destroy web"):
            submitted(cluster().runs().state(), wanted())

    def test_a_record_that_is_none_is_refused(self) -> None:
        with pytest.raises(Refused, match="not the record of a scheduled service"):
            submitted(cluster().key(PREFIX + "web", "nonsense").state(), wanted())


class TestStop:
    def test_first_out_of_the_routers_then_out_of_swarm(self) -> None:
        assert steps(plan_stop(cluster(record()).runs().state(), "web")) == [
            "generation 1, version 0.1.3: stopped",
            "no more requests to generation 1, on any router",
            "stop 2 instances of generation 1",
            "forget the weight of generation 1",
        ]

    def test_what_is_registered_nowhere_need_not_be_silenced(self) -> None:
        assert steps(plan_stop(cluster(record()).runs(registered=False).state(), "web"))[1:] == [
            "stop 2 instances of generation 1"
        ]

    def test_killed_on_the_way_it_goes_on(self) -> None:
        stopped = record(stopped=True)
        silenced = cluster(stopped).runs().weighs("web", 1, "0").state()
        assert steps(plan_stop(silenced, "web"))[-1] == "forget the weight of generation 1"
        removed = cluster(stopped).weighs("web", 1, "0").state()
        assert steps(plan_stop(removed, "web")) == ["forget the weight of generation 1"]

    def test_stopped_there_is_nothing_to_do(self) -> None:
        assert plan_stop(cluster(record(stopped=True)).state(), "web").actions == ()

    def test_it_has_to_be_known(self) -> None:
        with pytest.raises(Refused, match=r"no scheduled service wbe \(did you mean 'web'\?\)"):
            plan_stop(cluster(record()).state(), "wbe")


class TestStart:
    def test_what_was_stopped_runs_again_as_it_did(self) -> None:
        assert steps(plan_start(cluster(record(stopped=True)).state(), "web")) == [REMEMBER, START, AWAIT]

    def test_a_weight_that_a_killed_stop_has_left_is_forgotten_before(self) -> None:
        state = cluster(record(stopped=True)).weighs("web", 1, "0").state()
        assert steps(plan_start(state, "web")) == [REMEMBER, "forget the weight of generation 1", START, AWAIT]

    def test_the_weight_that_an_update_has_given_stays(self) -> None:
        state = cluster(record(stopped=True)).weighs("web", 1, "100").state()
        assert steps(plan_start(state, "web")) == [REMEMBER, START, AWAIT]

    def test_in_the_middle_of_a_stop_it_turns_back(self) -> None:
        state = cluster(record(stopped=True)).runs().weighs("web", 1, "0").state()
        assert steps(plan_start(state, "web")) == [REMEMBER, "forget the weight of generation 1", AWAIT]

    def test_what_runs_is_waited_for(self) -> None:
        assert steps(plan_start(cluster(record()).runs().state(), "web")) == [AWAIT]

    def test_a_generation_that_somebody_has_left_behind_is_cleared_away(self) -> None:
        state = cluster(record(number=2)).runs(number=2).runs(number=1).state()
        assert steps(plan_start(state, "web")) == [
            AWAIT,
            "no more requests to generation 1, on any router",
            "stop 2 instances of generation 1",
            "forget the weight of generation 1",
        ]


class TestScale:
    def test_the_number_is_remembered_and_told(self) -> None:
        assert steps(plan_scale(cluster(record()).runs().state(), "web", 4)) == [
            "generation 1, version 0.1.3: 4 instances",
            "let Swarm run 4 instances",
            AWAIT.replace("2", "4"),
        ]

    def test_killed_after_the_record_it_goes_on(self) -> None:
        scaled = replace(record(), replicas=4)
        assert steps(plan_scale(cluster(scaled).runs().state(), "web", 4))[0] == "let Swarm run 4 instances"

    def test_to_what_it_is_it_waits_alone(self) -> None:
        assert steps(plan_scale(cluster(record()).runs().state(), "web", 2)) == [AWAIT]

    def test_down_those_that_swarm_will_stop_leave_the_routers_first(self) -> None:
        found = cluster(record(replicas=4)).runs(count=4)
        assert steps(plan_scale(found.state(), "web", 2))[1:] == [
            "no more requests to air-03:air-web-1.3.task2, air-01:air-web-1.4.task3, on any router",
            "let Swarm run 2 instances",
            AWAIT,
            "forget that 2 were to get no more requests",
        ]

    def test_down_and_killed_before_swarm_was_told_the_same_ones_go(self) -> None:
        found = cluster(record()).runs(count=4)
        for slot in (3, 4):
            found.withdraws(slot)
        assert steps(plan_scale(found.state(), "web", 2))[0].startswith("no more requests to air-03:air-web-1.3.task2")
        back = steps(plan_scale(found.state(), "web", 4))
        assert back[-1] == "forget that 2 were to get no more requests"

    def test_down_and_killed_after_it_what_was_left_is_forgotten(self) -> None:
        found = cluster(record()).runs(count=2).key("/services/web/drain/air-03:gone", "scaling")
        assert steps(plan_scale(found.state(), "web", 2)) == [AWAIT, "forget that 1 were to get no more requests"]

    def test_what_an_operator_drains_stays_so(self) -> None:
        found = cluster(record()).runs(count=2).key("/services/web/drain/air-01:air-web-1.1.task0", "true")
        assert steps(plan_scale(found.state(), "web", 2)) == [AWAIT]

    def test_to_none(self) -> None:
        assert "let Swarm run 0 instances" in steps(plan_scale(cluster(record()).runs().state(), "web", 0))

    def test_stopped_the_number_is_remembered_alone(self) -> None:
        plan = plan_scale(cluster(record(stopped=True)).state(), "web", 4)
        assert steps(plan) == ["generation 1, version 0.1.3: stopped"]
        assert plan.said == ("it is stopped: inv service.start web starts 4 instances",)

    def test_a_global_service_can_t_be(self) -> None:
        with pytest.raises(Refused, match="can't be scaled"):
            plan_scale(cluster(record(replicas=None)).state(), "web", 4)

    def test_not_to_less_than_none(self) -> None:
        with raises(ConfigError, path="count"):
            plan_scale(cluster(record()).state(), "web", -1)


class TestDestroy:
    def test_nothing_is_left(self) -> None:
        assert steps(plan_destroy(cluster(record()).runs().state(), "web")) == [
            "no more requests to generation 1, on any router",
            "stop 2 instances of generation 1",
            "forget the weight of generation 1",
            "forget its definition and its routes",
        ]

    def test_every_generation_of_an_update_that_was_left_goes(self) -> None:
        state = cluster(record()).runs().runs(number=2, registered=False).updates("web").state()
        assert [step for step in steps(plan_destroy(state, "web")) if step.startswith("stop")] == [
            "stop 2 instances of generation 1",
            "stop 2 instances of generation 2",
        ]

    def test_what_is_none_of_ours_keeps_its_routes(self) -> None:
        state = cluster(record()).runs().key("/services/web/hosts/10.0.0.9:80", "10.0.0.9:80").state()
        plan = plan_destroy(state, "web")
        assert steps(plan)[-1] == "forget its definition"
        assert plan.said == ("10.0.0.9:80 stay registered under its name: inv discovery.deregister web",)

    def test_a_record_that_is_none_goes_too(self) -> None:
        state = cluster().key(PREFIX + "web", "nonsense").state()
        assert steps(plan_destroy(state, "web")) == ["forget its definition and its routes"]

    def test_what_is_not_there_is_no_failure(self) -> None:
        plan = plan_destroy(cluster(record()).state(), "wbe")
        assert plan.actions == ()
        assert plan.said == ("there is no such scheduled service (did you mean 'web'?)",)


class TestRevive:
    def test_what_swarm_has_lost_is_made_anew(self) -> None:
        assert steps(plan_revive(cluster(record()).state(), "web")) == [START, AWAIT]

    def test_what_runs_is_left_alone(self) -> None:
        assert steps(plan_revive(cluster(record()).runs().state(), "web")) == [AWAIT]

    def failed(self, replicas: int | None = 2) -> Cluster:
        found = cluster(record(replicas=replicas)).runs(count=1, replicas=replicas)
        found.task(slot=2, state="failed", desired="shutdown", error="non-zero exit (1)")
        found.task(slot=2, state="failed", desired="shutdown", error="non-zero exit (1)")
        return found

    def test_what_has_failed_is_started_anew(self) -> None:
        assert steps(plan_revive(self.failed().state(), "web")) == ["start anew 1 that failed", AWAIT]

    def test_a_slot_that_is_tried_again_has_not_failed(self) -> None:
        found = self.failed()
        found.task(slot=2, state="preparing", desired="running", registered=False)
        assert failed_slots(found.state(), "web") == ()

    def test_what_was_scaled_away_has_not_failed(self) -> None:
        found = cluster(record()).runs()
        found.task(slot=3, state="shutdown", desired="remove")
        assert failed_slots(found.state(), "web") == ()

    def test_what_was_moved_off_a_machine_has_not_failed(self) -> None:
        found = cluster(record(replicas=3)).runs(count=1, replicas=3)
        found.task(slot=2, state="shutdown", desired="shutdown")
        for slot in (3, 4):
            found.task(slot=slot)
        assert failed_slots(found.state(), "web") == (), "slot 4 has its place"

    def test_one_that_failed_is_found_among_those_that_were_moved(self) -> None:
        found = cluster(record(replicas=3)).runs(count=1, replicas=3)
        found.task(slot=2, state="shutdown", desired="shutdown")
        found.task(slot=3, state="failed", desired="shutdown")
        found.task(slot=4)
        assert failed_slots(found.state(), "web") == (3,)
        found.task(slot=5)
        assert failed_slots(found.state(), "web") == ()

    def test_one_that_was_ended_and_not_replaced_is_told_too(self) -> None:
        found = cluster(record()).runs(count=1, replicas=2)
        found.task(slot=2, state="shutdown", desired="shutdown")
        assert failed_slots(found.state(), "web") == (2,)

    def test_a_global_service_has_not_failed_where_it_may_not_run(self) -> None:
        found = self.failed(None)
        found.nodes[1] = replace(found.nodes[1], availability="drain")
        assert failed_slots(found.state(), "web") == ()

    def test_of_a_global_service_a_machine_counts(self) -> None:
        assert failed_slots(self.failed(None).state(), "web") == (2,)

    def test_what_is_stopped_stays_so(self) -> None:
        plan = plan_revive(cluster(record(stopped=True)).state(), "web")
        assert (plan.actions, plan.said) == ((), ("it is stopped: inv service.start web",))


@pytest.mark.parametrize(
    ("constraint", "found"),
    [
        ("tier=green", ["air-01"]),
        ("tier!=green", ["air-02", "air-03"]),
        ("tier=GREEN", ["air-01"]),
        ("machine=air-02", ["air-02"]),
        ("machine!=air-02", ["air-01", "air-03"]),
        ("rack=r1", []),
        ("rack!=r1", ["air-01", "air-02", "air-03"]),
    ],
)
def test_a_machine_fits_as_swarm_would_say(constraint: str, found: list[str]) -> None:
    nodes = [node("air-01", labels={"tier": "green"}), node("air-02", labels={"tier": "blue"}), node("air-03")]
    entry = definition(constraints=[constraint])
    assert [node.hostname for node in nodes if fits(node, entry)] == found


def test_what_is_seen_of_an_instance() -> None:
    found = cluster(record()).runs()
    found.weight("web", 1, found.tasks[0], 0)
    found.task(slot=3, state="preparing", desired="running")
    running = found.state().of("web").generations[1]
    assert [(instance.id, instance.short, instance.registered, instance.weight) for instance in running.instances] == [
        ("air-01:air-web-1.1.task0", "air-web-1.1", True, 0),
        ("air-02:air-web-1.2.task1", "air-web-1.2", True, 100),
        ("air-03:air-web-1.3.task2", "air-web-1.3", False, 0),
    ]
    assert [instance.task.slot for instance in running.up] == [1, 2]


def test_services_of_swarm_that_are_none_of_ours_are_not_seen() -> None:
    found = cluster()
    found.runs()
    found.services = [replace(service, labels={"argosy.system": "air"}) for service in found.services]
    assert found.state().services == {}


def test_names_are_chosen_and_unknown_ones_refused() -> None:
    known = {"web": 1, "db": 2}
    assert chosen([], known, everything=True) == ["db", "web"]
    assert chosen(["web", "web"], known, everything=False) == ["web"]
    for names, everything in (([], False), (["web"], True), (["wbe"], False)):
        with pytest.raises(ConfigError):
            chosen(names, known, everything)


def test_a_service_of_every_machine_is_none_of_the_scheduled() -> None:
    with raises(ConfigError, "every machine", "inv cluster.logs backend", path="backend"):
        chosen(["backend"], {"web": 1}, everything=False, system=["backend"])
    assert chosen(["web"], {"web": 1}, everything=False, system=["web"]) == ["web"]


def test_a_generation_keeps_its_number_in_the_record() -> None:
    previous = Generation(1, definition(), IMAGE)
    assert record(number=2, previous=previous).previous == previous


def test_swarm_stops_the_last_of_the_fullest_machines() -> None:
    found = cluster(record(), machines=["air-01", "air-02"])
    found.runs(count=3)
    found.task(slot=5)
    found.task(slot=4, state="pending", desired="running")
    running = found.state().of("web").generations[1]
    # On air-01 run 1, 3 and 5, on air-02 2, and 4 is still to come there.
    assert [instance.task.slot for instance in running.instances_to_stop(4)] == [5]
    assert [instance.task.slot for instance in running.instances_to_stop(2)] == [3, 4, 5]
    assert running.instances_to_stop(5) == []
