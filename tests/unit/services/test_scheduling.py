"""What becomes of scheduled services, decided from what is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from service_examples import BY, IMAGE, NOW, Cluster, cluster, definition, node, record

from argosy.errors import ConfigError, Refused
from argosy.scheduled_actions import Plan
from argosy.scheduled_record import PREFIX, Generation, ServiceImage
from argosy.scheduled_state import Fleet, fits
from argosy.scheduled_victims import victims
from argosy.scheduling import (
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
from argosy.schema import KeyValue, Problem


def wanted(name: str = "web", count: int | None = None, **keys: Any) -> Wanted:
    return Wanted(name, definition(**{"replicas": 2, **keys}), IMAGE, count)


def submitted(fleet: Fleet, what: Wanted) -> Plan:
    return plan_submit(fleet, what, NOW, BY)


def steps(plan: Plan) -> list[str]:
    return [it.action for it in plan.steps()]


REMEMBER = "generation 1, version 0.1.3: 2 instances"
START = f"start 2 instances of {IMAGE.reference}"
AWAIT = "wait until 2 instances run, are registered, and every router has them"


class TestSubmit:
    def test_what_is_new_is_remembered_and_started(self) -> None:
        plan = submitted(cluster().fleet(), wanted())
        assert steps(plan) == [REMEMBER, START, AWAIT]
        assert plan.changes

    def test_a_number_of_instances_given_beside_it_counts(self) -> None:
        assert steps(submitted(cluster().fleet(), wanted(count=3)))[0].endswith(": 3 instances")

    def test_the_same_again_waits_alone(self) -> None:
        plan = submitted(cluster(record()).runs().fleet(), wanted())
        assert steps(plan) == [AWAIT]
        assert not plan.changes

    def test_killed_after_the_record_it_goes_on(self) -> None:
        assert steps(submitted(cluster(record()).fleet(), wanted())) == [START, AWAIT]

    def test_scaled_meanwhile_it_stays_so(self) -> None:
        scaled = replace(record(), replicas=4)
        assert steps(submitted(cluster(scaled).runs(count=4).fleet(), wanted()))[0].startswith("wait until 4 instances")

    def test_another_definition_is_an_update(self) -> None:
        with pytest.raises(Refused, match=r"another env, memory_megabytes: inv service.update web"):
            submitted(cluster(record()).runs().fleet(), wanted(env={"A": "b"}, memory_megabytes=64))

    def test_another_number_is_scaled_to_when_the_command_says_it(self) -> None:
        plan = submitted(cluster(record()).runs().fleet(), wanted(count=5))
        assert plan == plan_scale(cluster(record()).runs().fleet(), "web", 5)
        assert plan.changes
        assert not submitted(cluster(record()).runs().fleet(), wanted(replicas=5)).changes

    def test_a_newer_version_is_told_and_not_taken(self) -> None:
        newer = Wanted("web", definition(replicas=2), ServiceImage("x@sha256:2", "0.1.4"))
        plan = submitted(cluster(record()).runs().fleet(), newer)
        assert not plan.changes
        assert plan.said == ("version 0.1.3 is what is wanted; inv service.update web brings 0.1.4",)

    def test_what_is_stopped_stays_so(self) -> None:
        plan = submitted(cluster(record(stopped=True)).fleet(), wanted())
        assert plan.actions == ()
        assert plan.said == ("it is stopped: inv service.start web",)

    def test_no_machine_fits(self) -> None:
        with pytest.raises(Refused, match="no machine fits tier=green; they have machine=air-01, machine=air-02, "):
            submitted(cluster().fleet(), wanted(constraints=["tier=green"]))

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
            submitted(cluster().fleet(), wanted(count=4, **keys))
        assert submitted(cluster().fleet(), wanted(count=3, **keys)).changes

    def test_what_it_conflicts_with_has_to_know(self) -> None:
        with pytest.raises(Refused, match=r"conflicts with db, which runs without knowing it: inv service.update db"):
            submitted(cluster(record("db")).runs("db").fleet(), wanted(conflicts=["db"]))
        knowing = record("db", conflicts=["web"])
        assert submitted(cluster(knowing).runs("db").fleet(), wanted(conflicts=["db"])).changes

    def test_a_port_that_another_has_is_refused(self) -> None:
        taken = cluster().key("/services/db/scheme", "tcp").key("/services/db/host_port", "5432")
        what = wanted(discovery={"port": 80, "scheme": "tcp", "host_port": 5432})

        def conflicts(entries: Sequence[KeyValue]) -> list[Problem]:
            found = [it for it in entries if it.key.endswith("/host_port") and it.value == "5432"]
            return [Problem(it.key.split("/")[2], it.key, "port 5432 is db's") for it in found[1:]]

        with pytest.raises(Refused, match="port 5432 is db's: nothing was changed"):
            plan_submit(taken.fleet(), what, NOW, BY, conflicts)
        assert plan_submit(cluster().fleet(), what, NOW, BY, conflicts).changes

    def test_a_global_service_is_not_counted(self) -> None:
        what = Wanted("web", definition(**{"global": True}), IMAGE)
        assert steps(submitted(cluster().fleet(), what))[1].startswith("start one instance on every machine that fits")
        with pytest.raises(ConfigError, match="replicas: web is global"):
            submitted(cluster().fleet(), replace(what, replicas=2))

    def test_in_an_update_it_is_refused(self) -> None:
        with pytest.raises(Refused, match="an update of web is under way or was left"):
            submitted(cluster(record()).runs().updates("web").fleet(), wanted())

    def test_what_etcd_does_not_know_is_not_taken_over(self) -> None:
        with pytest.raises(Refused, match=r"Swarm runs generation 1 of it, .*inv service.destroy web"):
            submitted(cluster().runs().fleet(), wanted())

    def test_a_record_that_is_none_is_refused(self) -> None:
        with pytest.raises(Refused, match="not the record of a scheduled service"):
            submitted(cluster().key(PREFIX + "web", "nonsense").fleet(), wanted())


class TestStop:
    def test_first_out_of_the_routers_then_out_of_swarm(self) -> None:
        assert steps(plan_stop(cluster(record()).runs().fleet(), "web")) == [
            "generation 1, version 0.1.3: stopped",
            "no more requests to generation 1, on any router",
            "stop 2 instances of generation 1",
            "forget the weight of generation 1",
        ]

    def test_what_is_registered_nowhere_need_not_be_silenced(self) -> None:
        assert steps(plan_stop(cluster(record()).runs(registered=False).fleet(), "web"))[1:] == [
            "stop 2 instances of generation 1"
        ]

    def test_killed_on_the_way_it_goes_on(self) -> None:
        stopped = record(stopped=True)
        silenced = cluster(stopped).runs().weighs("web", 1, "0").fleet()
        assert steps(plan_stop(silenced, "web"))[-1] == "forget the weight of generation 1"
        removed = cluster(stopped).weighs("web", 1, "0").fleet()
        assert steps(plan_stop(removed, "web")) == ["forget the weight of generation 1"]

    def test_stopped_there_is_nothing_to_do(self) -> None:
        assert plan_stop(cluster(record(stopped=True)).fleet(), "web").actions == ()

    def test_it_has_to_be_known(self) -> None:
        with pytest.raises(Refused, match=r"no scheduled service wbe \(did you mean 'web'\?\)"):
            plan_stop(cluster(record()).fleet(), "wbe")


class TestStart:
    def test_what_was_stopped_runs_again_as_it_did(self) -> None:
        assert steps(plan_start(cluster(record(stopped=True)).fleet(), "web")) == [REMEMBER, START, AWAIT]

    def test_a_weight_that_a_killed_stop_has_left_is_forgotten_before(self) -> None:
        fleet = cluster(record(stopped=True)).weighs("web", 1, "0").fleet()
        assert steps(plan_start(fleet, "web")) == [REMEMBER, "forget the weight of generation 1", START, AWAIT]

    def test_the_weight_that_an_update_has_given_stays(self) -> None:
        fleet = cluster(record(stopped=True)).weighs("web", 1, "100").fleet()
        assert steps(plan_start(fleet, "web")) == [REMEMBER, START, AWAIT]

    def test_in_the_middle_of_a_stop_it_turns_back(self) -> None:
        fleet = cluster(record(stopped=True)).runs().weighs("web", 1, "0").fleet()
        assert steps(plan_start(fleet, "web")) == [REMEMBER, "forget the weight of generation 1", AWAIT]

    def test_what_runs_is_waited_for(self) -> None:
        assert steps(plan_start(cluster(record()).runs().fleet(), "web")) == [AWAIT]

    def test_a_generation_that_somebody_has_left_behind_is_cleared_away(self) -> None:
        fleet = cluster(record(number=2)).runs(number=2).runs(number=1).fleet()
        assert steps(plan_start(fleet, "web")) == [
            AWAIT,
            "no more requests to generation 1, on any router",
            "stop 2 instances of generation 1",
            "forget the weight of generation 1",
        ]


class TestScale:
    def test_the_number_is_remembered_and_told(self) -> None:
        assert steps(plan_scale(cluster(record()).runs().fleet(), "web", 4)) == [
            "generation 1, version 0.1.3: 4 instances",
            "let Swarm run 4 instances",
            AWAIT.replace("2", "4"),
        ]

    def test_killed_after_the_record_it_goes_on(self) -> None:
        scaled = replace(record(), replicas=4)
        assert steps(plan_scale(cluster(scaled).runs().fleet(), "web", 4))[0] == "let Swarm run 4 instances"

    def test_to_what_it_is_it_waits_alone(self) -> None:
        assert steps(plan_scale(cluster(record()).runs().fleet(), "web", 2)) == [AWAIT]

    def test_down_those_that_swarm_will_stop_leave_the_routers_first(self) -> None:
        found = cluster(record(replicas=4)).runs(count=4)
        assert steps(plan_scale(found.fleet(), "web", 2))[1:] == [
            "no more requests to air-03:air-web-1.3.task2, air-01:air-web-1.4.task3, on any router",
            "let Swarm run 2 instances",
            AWAIT,
            "forget that 2 were to get no more requests",
        ]

    def test_down_and_killed_before_swarm_was_told_the_same_ones_go(self) -> None:
        found = cluster(record()).runs(count=4)
        for slot in (3, 4):
            found.withdraws(slot)
        assert steps(plan_scale(found.fleet(), "web", 2))[0].startswith("no more requests to air-03:air-web-1.3.task2")
        back = steps(plan_scale(found.fleet(), "web", 4))
        assert back[-1] == "forget that 2 were to get no more requests"

    def test_down_and_killed_after_it_what_was_left_is_forgotten(self) -> None:
        found = cluster(record()).runs(count=2).key("/services/web/drain/air-03:gone", "scaling")
        assert steps(plan_scale(found.fleet(), "web", 2)) == [AWAIT, "forget that 1 were to get no more requests"]

    def test_what_an_operator_drains_stays_so(self) -> None:
        found = cluster(record()).runs(count=2).key("/services/web/drain/air-01:air-web-1.1.task0", "true")
        assert steps(plan_scale(found.fleet(), "web", 2)) == [AWAIT]

    def test_to_none(self) -> None:
        assert "let Swarm run 0 instances" in steps(plan_scale(cluster(record()).runs().fleet(), "web", 0))

    def test_stopped_the_number_is_remembered_alone(self) -> None:
        plan = plan_scale(cluster(record(stopped=True)).fleet(), "web", 4)
        assert steps(plan) == ["generation 1, version 0.1.3: stopped"]
        assert plan.said == ("it is stopped: inv service.start web starts 4 instances",)

    def test_a_global_service_can_t_be(self) -> None:
        with pytest.raises(Refused, match="can't be scaled"):
            plan_scale(cluster(record(replicas=None)).fleet(), "web", 4)

    def test_not_to_less_than_none(self) -> None:
        with pytest.raises(ConfigError, match="count: it can't be less than none"):
            plan_scale(cluster(record()).fleet(), "web", -1)


class TestDestroy:
    def test_nothing_is_left(self) -> None:
        assert steps(plan_destroy(cluster(record()).runs().fleet(), "web")) == [
            "no more requests to generation 1, on any router",
            "stop 2 instances of generation 1",
            "forget the weight of generation 1",
            "forget its definition and its routes",
        ]

    def test_every_generation_of_an_update_that_was_left_goes(self) -> None:
        fleet = cluster(record()).runs().runs(number=2, registered=False).updates("web").fleet()
        assert [it for it in steps(plan_destroy(fleet, "web")) if it.startswith("stop")] == [
            "stop 2 instances of generation 1",
            "stop 2 instances of generation 2",
        ]

    def test_what_is_none_of_ours_keeps_its_routes(self) -> None:
        fleet = cluster(record()).runs().key("/services/web/hosts/10.0.0.9:80", "10.0.0.9:80").fleet()
        plan = plan_destroy(fleet, "web")
        assert steps(plan)[-1] == "forget its definition"
        assert plan.said == ("10.0.0.9:80 stay registered under its name: inv discovery.deregister web",)

    def test_a_record_that_is_none_goes_too(self) -> None:
        fleet = cluster().key(PREFIX + "web", "nonsense").fleet()
        assert steps(plan_destroy(fleet, "web")) == ["forget its definition and its routes"]

    def test_what_is_not_there_is_no_failure(self) -> None:
        plan = plan_destroy(cluster(record()).fleet(), "wbe")
        assert plan.actions == ()
        assert plan.said == ("there is no such scheduled service (did you mean 'web'?)",)


class TestRevive:
    def test_what_swarm_has_lost_is_made_anew(self) -> None:
        assert steps(plan_revive(cluster(record()).fleet(), "web")) == [START, AWAIT]

    def test_what_runs_is_left_alone(self) -> None:
        assert steps(plan_revive(cluster(record()).runs().fleet(), "web")) == [AWAIT]

    def failed(self, replicas: int | None = 2) -> Cluster:
        found = cluster(record(replicas=replicas)).runs(count=1, replicas=replicas)
        found.task(slot=2, state="failed", desired="shutdown", error="non-zero exit (1)")
        found.task(slot=2, state="failed", desired="shutdown", error="non-zero exit (1)")
        return found

    def test_what_has_failed_is_started_anew(self) -> None:
        assert steps(plan_revive(self.failed().fleet(), "web")) == ["start anew 1 that failed", AWAIT]

    def test_a_slot_that_is_tried_again_has_not_failed(self) -> None:
        found = self.failed()
        found.task(slot=2, state="preparing", desired="running", registered=False)
        assert failed_slots(found.fleet().of("web"), record()) == ()

    def test_what_was_scaled_away_has_not_failed(self) -> None:
        found = cluster(record()).runs()
        found.task(slot=3, state="shutdown", desired="remove")
        assert failed_slots(found.fleet().of("web"), record()) == ()

    def test_of_a_global_service_a_machine_counts(self) -> None:
        assert failed_slots(self.failed(None).fleet().of("web"), record(replicas=None)) == (2,)

    def test_what_is_stopped_stays_so(self) -> None:
        plan = plan_revive(cluster(record(stopped=True)).fleet(), "web")
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
    assert [it.hostname for it in nodes if fits(it, entry)] == found


def test_what_is_seen_of_an_instance() -> None:
    found = cluster(record()).runs()
    found.weight("web", 1, found.tasks[0], 0)
    found.task(slot=3, state="preparing", desired="running")
    running = found.fleet().of("web").generations[1]
    assert [(it.id, it.registered, it.weight, it.revision) for it in running.instances] == [
        ("air-01:air-web-1.1.task0", True, 0, 99),
        ("air-02:air-web-1.2.task1", True, 100, 12),
        ("air-03:air-web-1.3.task2", False, 0, 0),
    ]
    assert [it.task.slot for it in running.up] == [1, 2]


def test_services_of_swarm_that_are_none_of_ours_are_not_seen() -> None:
    found = cluster()
    found.runs()
    found.services = [replace(it, labels={"argosy.system": "air"}) for it in found.services]
    assert found.fleet().services == {}


def test_names_are_chosen_and_unknown_ones_refused() -> None:
    known = {"web": 1, "db": 2}
    assert chosen([], known, everything=True) == ["db", "web"]
    assert chosen(["web", "web"], known, everything=False) == ["web"]
    for names, everything in (([], False), (["web"], True), (["wbe"], False)):
        with pytest.raises(ConfigError):
            chosen(names, known, everything)


def test_a_generation_keeps_its_number_in_the_record() -> None:
    previous = Generation(1, definition(), IMAGE)
    assert record(number=2, previous=previous).previous == previous


def test_swarm_stops_the_last_of_the_fullest_machines() -> None:
    found = cluster(record(), machines=["air-01", "air-02"])
    found.runs(count=3)
    found.task(slot=5)
    found.task(slot=4, state="pending", desired="running")
    running = found.fleet().of("web").generations[1]
    # On air-01 run 1, 3 and 5, on air-02 2, and 4 is still to come there.
    assert [it.task.slot for it in victims(running.instances, 4)] == [5]
    assert [it.task.slot for it in victims(running.instances, 2)] == [3, 4, 5]
    assert victims(running.instances, 5) == []
