"""What moves before a machine is taken out of service, and what is put right after a drain that nobody ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from service_examples import Cluster, definition, record

from argosy.services.evacuation.plan import (
    Move,
    closed_nodes,
    left_behind,
    miscounted,
    moving,
    plan_moves,
    progress,
    registered_on,
    settling,
    spec_with,
    surplus,
    unplaced,
    wanted,
    with_move,
    without,
)
from argosy.services.state import Running, ServiceState

LABELS = {"argosy.system": "air", "argosy.scheduled": "web", "argosy.generation": "1"}
ROUTED = {"TaskTemplate": {"ContainerSpec": {"Labels": {"argosy.service": "web"}}}}


def cluster(count: int = 3, replicas: int = 3, moves: dict[str, int] | None = None, **more: Any) -> Cluster:
    """Return `count` instances on air-01, air-02, air-03 in turn; the service has `replicas` beside what moves."""
    made = Cluster().knows(record(replicas=replicas, **more)).runs(count=count)
    return changed(made, replicas + sum((moves or {}).values()), moves)


def changed(made: Cluster, replicas: int, moves: dict[str, int] | None = None) -> Cluster:
    (service,) = made.services
    labels = LABELS | {f"argosy.moving.{name}": str(move) for name, move in (moves or {}).items()}
    labels |= {"argosy.replicas": str(replicas - sum(moves.values()))} if moves else {}
    spec = {**ROUTED, "Mode": {"Replicated": {"Replicas": replicas}}, "Labels": labels}
    made.services = [replace(service, labels=labels, spec=spec)]
    return made


def seen(made: Cluster, number: int = 1) -> tuple[ServiceState, Running]:
    found = made.state().of("web")
    return found, found.generations[number]


# What has to move


def test_as_many_more_are_started_as_there_are_on_the_machine() -> None:
    assert plan_moves(cluster(count=4, replicas=4).state(), "air-01") == [Move("web", 1, 2, 4)]
    assert plan_moves(cluster().state(), "air-02") == [Move("web", 1, 1, 3)]
    assert str(Move("web", 1, 2, 4)) == "start 2 instances of web elsewhere"
    assert str(Move("web", 1, 1, 4)) == "start 1 instance of web elsewhere"


def test_a_service_that_lacks_some_is_not_waited_for_to_get_them() -> None:
    made = cluster(count=2, replicas=3)
    assert plan_moves(made.state(), "air-01") == [Move("web", 1, 1, 2)]


def test_gone_on_with_it_is_the_same_move() -> None:
    made = cluster(count=4, replicas=3, moves={"air-02": 1})
    assert plan_moves(made.state(), "air-02") == [Move("web", 1, 1, 3)]


@pytest.mark.parametrize(
    "made",
    [
        Cluster(),
        Cluster().knows(record(replicas=None)).runs(count=3, replicas=None),
        cluster(replicas=3, stopped=True),
        changed(Cluster().knows(record(replicas=0)).runs(count=1), 0),
    ],
)
def test_global_stopped_and_absent_services_do_not_move(made: Cluster) -> None:
    assert plan_moves(made.state(), "air-01") == []


# What is wanted, and the write that says so


def test_what_is_wanted_is_the_record_s_of_its_generation() -> None:
    assert wanted(*seen(cluster(replicas=3, moves={"air-01": 2}))) == 3
    assert wanted(*seen(cluster(stopped=True))) == 0
    everywhere = Cluster().knows(record(replicas=None)).runs(count=3, replicas=None)
    assert wanted(*seen(everywhere)) is None


def test_of_another_generation_it_is_what_it_had_before() -> None:
    made = changed(Cluster().knows(record(number=2)).runs(number=1, count=3), 5, {"air-01": 2})
    assert wanted(*seen(made)) == 3
    service = made.services[0]
    made.services = [replace(service, labels={**service.labels, "argosy.replicas": "4"})]
    assert wanted(*seen(made)) == 4
    made.services = [replace(service, labels=LABELS | {"argosy.moving.air-01": "1"})]
    assert wanted(*seen(made)) == 4


def test_in_the_middle_of_an_update_it_is_what_the_update_has_made_it() -> None:
    made = changed(cluster(count=2, replicas=3).updates("web"), 2)
    assert wanted(*seen(made)) == 2
    assert spec_with(*seen(made), {}) is None


def test_moves_and_numbers_change_in_one_write_and_add_up() -> None:
    found, running = seen(cluster())
    spec = spec_with(found, running, {"air-01": 1, "air-02": 2})
    assert spec
    assert spec["Mode"] == {"Replicated": {"Replicas": 6}}
    assert spec["Labels"] == LABELS | {
        "argosy.moving.air-01": "1",
        "argosy.moving.air-02": "2",
        "argosy.replicas": "3",
    }
    assert spec["TaskTemplate"] == running.service.spec["TaskTemplate"]
    again = replace(running, service=replace(running.service, labels=spec["Labels"], spec=spec))
    assert moving(again.service) == {"air-01": 1, "air-02": 2}
    assert spec_with(found, again, {"air-01": 1, "air-02": 2}) is None
    back = spec_with(found, again, without(("air-01", "air-02"), moving(again.service)))
    assert back
    assert (back["Mode"], back["Labels"]) == ({"Replicated": {"Replicas": 3}}, LABELS)


def test_moves_of_other_machines_stay() -> None:
    assert with_move("air-01", 2, {"air-02": 1, "air-01": 1}) == {"air-01": 2, "air-02": 1}
    assert without(("air-01",), {"air-02": 1, "air-01": 1}) == {"air-02": 1}


# How far it is


def test_it_is_done_when_as_many_serve_elsewhere() -> None:
    made = cluster(count=4, replicas=3, moves={"air-01": 1})
    made.tasks[3] = replace(made.tasks[3], node_id="node-air-02", state="starting")
    move = Move("web", 1, 1, 3)
    assert progress(made.state(), move, "air-01").serving == 2
    running = Cluster(machines=("air-02", "air-03", "air-01")).knows(record(replicas=3)).runs(count=3)
    found = progress(changed(running, 4, {"air-01": 1}).state(), replace(move, needed=2), "air-01")
    assert (found.serving, found.homeless) == (2, "")
    running.key("/routers/air-01", "10")
    assert progress(running.state(), replace(move, needed=2), "air-01").serving == 0, "its router has not applied them"


def test_what_runs_and_is_not_registered_does_not_serve_where_discovery_finds_it() -> None:
    made = Cluster().knows(record(replicas=2)).runs(count=2, registered=False)
    assert progress(changed(made, 2).state(), Move("web", 1, 1, 1), "air-01").serving == 0
    (service,) = made.services
    made.services = [replace(service, spec={**service.spec, "TaskTemplate": {"ContainerSpec": {}}})]
    assert progress(made.state(), Move("web", 1, 1, 1), "air-01").serving == 1


def test_instances_on_machines_that_are_drained_beside_do_not_count() -> None:
    made = cluster(count=3, replicas=3, moves={"air-01": 1, "air-02": 1})
    assert progress(made.state(), Move("web", 1, 1, 3), "air-01").serving == 1


def test_that_swarm_finds_no_place_is_told_with_its_reason() -> None:
    made = cluster(count=1, replicas=1, moves={"air-01": 1})
    made.task(slot=2, state="pending", error="no suitable node (1 node not available)")
    made.tasks[-1] = replace(made.tasks[-1], node_id="")
    found = progress(made.state(), Move("web", 1, 1, 1), "air-01")
    assert (found.serving, found.homeless) == (0, "no suitable node (1 node not available)")


def test_a_service_that_is_gone_is_not_waited_for() -> None:
    assert progress(Cluster().state(), Move("web", 1, 1, 1), "air-01").serving == 1


# What Swarm stops, and what it loses count of


def test_what_swarm_will_stop_is_known_before() -> None:
    found, running = seen(cluster(count=4, replicas=3, moves={"air-03": 1}))
    spec = spec_with(found, running, {})
    assert spec
    assert [instance.task.slot for instance in running.instances_to_stop(3)] == [4]
    assert registered_on(cluster().state(), "air-02") == {"web": ["air-02:air-web-1.2.task1"]}
    assert registered_on(cluster().state(), "air-04") == {}


def test_what_waits_for_a_place_and_what_is_too_many_is_found() -> None:
    made = cluster(count=2, replicas=3)
    made.task(slot=3, state="pending")
    (key, running), *_ = miscounted(made.state()).items()
    assert (key, unplaced(running), surplus(running)) == (("web", 1), frozenset({"task2"}), 0)
    (key, running), *_ = miscounted(changed(cluster(count=3), 2).state()).items()
    assert (key, unplaced(running), surplus(running)) == (("web", 1), frozenset(), 1)
    assert miscounted(cluster().state()) == {}


# After a kill

STATES = {"air-01": "active", "air-02": "draining", "air-03": "active"}


@pytest.mark.parametrize(
    ("made", "behind"),
    [
        (cluster(), []),
        (cluster(count=4, moves={"air-02": 1}), []),  # whose drain goes on
        (cluster(count=4, moves={"air-01": 1}), [("web", 1, frozenset({"air-01"}))]),
        (cluster(count=4, moves={"gone": 1}), [("web", 1, frozenset({"gone"}))]),
        (changed(cluster(count=2), 2), [("web", 1, frozenset())]),
    ],
)
def test_moves_that_nobody_ends_are_found(made: Cluster, behind: list[Any]) -> None:
    assert left_behind(made.state(), STATES) == behind


def test_nodes_that_are_closed_while_their_machines_serve_are_found() -> None:
    made = cluster()
    made.nodes = [replace(node, availability="pause") for node in made.nodes]
    assert [node.hostname for node in closed_nodes(made.state(), STATES)] == ["air-01", "air-03"]
    assert settling(made.state(), STATES) == [
        "let air-01, which is in service, take instances again",
        "let air-03, which is in service, take instances again",
    ]
    assert settling(cluster(count=4, moves={"air-01": 1}).state(), STATES) == [
        "let generation 1 of web have its own number of instances again"
    ]
    assert settling(cluster().state(), STATES) == []


def test_the_examples_are_of_services_that_discovery_finds() -> None:
    assert definition().discovery is not None
