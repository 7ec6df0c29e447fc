"""How the Swarm is told: machine by machine, and what of it is not as it must be."""

from __future__ import annotations

import json
from dataclasses import replace

from argosy.engine.swarm_model import Node, SwarmInfo
from argosy.model import Machine
from argosy.swarm.observed import ObservedSwarm, SwarmAnswer, unsettled
from argosy.swarm.plan import labels_of
from argosy.swarm.report import COLUMNS, SwarmReport, swarm_report

MACHINES = tuple(Machine(f"air-0{number}", f"10.0.0.{number}") for number in (1, 2, 3))
STATES = dict.fromkeys(("air-01", "air-02", "air-03"), "active")


def node(machine: Machine, **more: object) -> Node:
    found = Node(
        f"n-{machine.name}",
        1,
        machine.name,
        machine.address,
        "manager",
        reachable=True,
        leader=machine.name == "air-01",
        manager_address=f"{machine.address}:2377",
        labels=labels_of(machine),
    )
    return replace(found, **more)  # type: ignore[arg-type]


NODES = tuple(node(machine) for machine in MACHINES)


def seen(nodes: tuple[Node, ...] = NODES, silent: dict[str, str] | None = None, **infos: SwarmInfo) -> ObservedSwarm:
    given = {name.replace("_", "-"): info for name, info in infos.items()}
    known = {node.id: node.manager_address for node in NODES}
    silent = silent or {}
    every = {
        node.hostname: given.get(node.hostname, SwarmInfo("active", node.id, True, "swarm", managers=known))
        for node in NODES
    }
    answering = {name: swarm_info for name, swarm_info in every.items() if name not in silent}
    return ObservedSwarm(MACHINES, frozenset(STATES), answering, {"swarm": SwarmAnswer(nodes)}, silent)


def problems(at: ObservedSwarm) -> list[str]:
    return swarm_report(at, STATES).problems()


def test_a_swarm_as_it_must_be_has_no_problems() -> None:
    report = swarm_report(seen(), STATES)
    assert report.problems() == []
    assert report.rows()[0] == ["air-01", "10.0.0.1", "manager", "active", "ready", "leader", ""]
    assert [row[5] for row in report.rows()] == ["leader", "reachable", "reachable"]
    assert len(report.rows()[0]) == len(COLUMNS)


def test_the_json_is_the_documented_one() -> None:
    shown = swarm_report(seen(), STATES).to_json()
    assert json.loads(json.dumps(shown)) == shown
    assert list(shown) == ["healthy", "problems", "notes", "nodes"]
    assert shown["nodes"][0] == {
        "machine": "air-01",
        "address": "10.0.0.1",
        "role": "manager",
        "availability": "active",
        "state": "ready",
        "manager": "leader",
        "differs": [],
    }


def test_what_is_to_be_done_stands_with_its_machine() -> None:
    nodes = (NODES[0], NODES[1], replace(NODES[2], labels={}))
    assert problems(seen(nodes)) == ["air-03: swarm: to do: label its node with its name and metadata"]
    out = seen(NODES[:2], air_03=SwarmInfo("inactive"))
    assert problems(out) == [
        "air-03: swarm: to do: join the Swarm as a manager",
        "air-03: swarm: to do: label its node with its name and metadata",
        "swarm: to do: make the tokens worthless that were used for joining",
    ]
    assert swarm_report(out, STATES).rows()[2][2] == "-"


def test_a_machine_that_is_down_and_can_not_be_asked_is_told_once() -> None:
    nodes = (*NODES[:2], replace(NODES[2], state="down", reachable=False))
    report = swarm_report(seen(nodes, {"air-03": "air-03: no ssh connection"}), STATES)
    assert report.nodes[2].differs == ("its engine can't be asked: no ssh connection", "its node is down")
    assert report.rows()[2][5] == "unreachable"
    assert len(report.notes) == 1


def test_a_node_that_takes_nothing_though_its_machine_serves_is_wrong_and_one_that_drains_is_not() -> None:
    nodes = (NODES[0], replace(NODES[1], availability="drain"), NODES[2])
    assert problems(seen(nodes)) == [
        "air-02: swarm: it is in service, and its node takes no instances (drain): inv cluster.swarm --ensure"
    ]
    assert swarm_report(seen(nodes), STATES | {"air-02": "draining"}).problems() == []
    assert swarm_report(seen(nodes)).problems() == []


def test_a_node_that_no_machine_is_has_a_line_of_its_own() -> None:
    gone = replace(NODES[2], id="old", address="10.0.0.9", hostname="air-09", state="down", labels={}, reachable=False)
    report = swarm_report(seen((*NODES, gone)), STATES)
    assert report.rows()[3][0] == "air-09"
    assert report.nodes[3].differs == (
        "to do: let it manage the Swarm no longer",
        "to do: remove its node from the Swarm (it belongs to no machine)",
    )


def test_why_nothing_can_be_done_is_told_of_the_whole() -> None:
    known = {node.id: node.manager_address for node in NODES}
    lost = ObservedSwarm(
        MACHINES, frozenset(STATES), {"air-01": SwarmInfo("pending", "n-air-01", True, managers=known)}
    )
    report = swarm_report(lost, STATES)
    assert report.problems()[-1].startswith("swarm: the Swarm has no quorum: 1 of 3 managers is there")
    assert isinstance(report, SwarmReport)


def test_what_is_about_to_change_is_seen() -> None:
    assert unsettled(seen()) == []
    assert unsettled(seen((*NODES[:2], replace(NODES[2], state="unknown")))) == ["air-03"]
    assert unsettled(seen((*NODES[:2], replace(NODES[2], role="worker")))) == ["air-03"]
    assert unsettled(seen((*NODES[:2], replace(NODES[2], reachable=False)))) == ["air-03"]
    assert unsettled(seen(air_02=SwarmInfo("pending", "n-air-02", True))) == ["air-02"]
    down = seen((*NODES[:2], replace(NODES[2], state="down", reachable=False)), {"air-03": "off"})
    assert unsettled(down) == []  # nobody is there whom to wait for
