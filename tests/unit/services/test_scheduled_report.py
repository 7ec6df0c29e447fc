"""What is told of scheduled services, from what is seen."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from raised import raises
from service_examples import Cluster, cluster, definition, record

from argosy.errors import ConfigError, Refused
from argosy.services.reaching import choose
from argosy.services.report import ServicesReport, tables


def report(found: Cluster, **more: Any) -> ServicesReport:
    return ServicesReport(found.state(), **more)


def state(found: Cluster, **more: Any) -> str:
    return report(found, **more).state("web")


def test_a_service_that_runs() -> None:
    found = report(cluster(record()).runs())
    assert found.rows() == [["web", 2, 2, 2, "0.1.3", 1, "air-01, air-02", "running"]]
    (told,) = found.to_json()
    assert {
        key: told[key] for key in ("name", "state", "wanted", "running", "registered", "generation", "version")
    } == {
        "name": "web",
        "state": "running",
        "wanted": 2,
        "running": 2,
        "registered": 2,
        "generation": 1,
        "version": "0.1.3",
    }
    assert told["instances"][0] == {
        "id": "air-01:air-web-1.1.task0",
        "slot": 1,
        "machine": "air-01",
        "container": "air-web-1.1.task0",
        "generation": 1,
        "state": "running",
        "since": "",
        "endpoint": "10.0.0.1:32769",
        "weight": 100,
        "error": "",
        "health": {},
    }
    json.dumps(told)


def test_a_global_service_counts_the_machines_that_take_instances() -> None:
    found = cluster(record(replicas=None)).runs(count=3, replicas=None)
    assert report(found).rows()[0][1:4] == ["every machine", 3, 3]
    assert state(found) == "running"
    found.nodes[2] = replace(found.nodes[2], availability="drain")
    assert state(found) == "1 too many"


def test_an_instance_whose_machine_is_down_is_lost_whatever_swarm_heard_of_it_last() -> None:
    found = cluster(record()).runs()
    found.nodes[1] = replace(found.nodes[1], state="down")
    (told,) = report(found).to_json()
    assert {instance["machine"]: instance["state"] for instance in told["instances"]} == {
        "air-01": "running",
        "air-02": "lost",
    }
    assert [row[3] for row in report(found).instance_rows("web")] == ["running", "lost: its machine is down"]
    found.nodes[1] = replace(found.nodes[1], state="unknown")
    assert [row[3] for row in report(found).instance_rows("web")] == ["running", "running"]


def test_what_is_wrong_is_said() -> None:
    assert state(cluster(record())) == "Swarm has lost it: inv service.revive web"
    assert state(cluster(record(stopped=True))) == "stopped"
    assert state(cluster(record(stopped=True)).runs()) == "still stopping"
    assert state(cluster(record()).runs().updates("web")) == "an update is under way or was left"
    assert state(cluster(record()).runs(registered=False)) == "2 not registered"
    assert state(cluster().runs()) == "etcd does not know it: inv service.destroy"
    assert state(cluster(), defined={"web": definition()}) == "not submitted"
    assert state(cluster().key("/cluster/scheduled/web", "x")).startswith("unknown: not the record")


def test_what_does_not_run_is_said_with_the_reason() -> None:
    found = cluster(record(replicas=3)).runs(count=1, replicas=3)
    found.task(slot=2, state="pending", desired="running", error="no suitable node")
    found.task(slot=3, state="failed", desired="shutdown", error="exit 1", updated="2026-01-31T12:00:05.123Z")
    assert state(found) == "1 failed and not tried again: inv service.revive web; 1 not running: no suitable node"
    shown = tables(report(found), "web")
    assert [columns[0] for columns, _ in shown] == ["service", "instance", "ended", "defined as"]
    assert shown[1][1][1][:4] == ["1/2", "air-02", "air-web-1.2.task1", "pending: no suitable node"]
    assert shown[2][1] == [["1/3", "air-03", "failed", "2026-01-31T12:00:05", "exit 1"]]
    assert ["replicas", "3"] in shown[3][1]


def test_what_the_routers_say_stands_beside_the_instance() -> None:
    health = {"air-01:air-web-1.1.task0": {"air-01": "up", "air-02": "down"}}
    rows = report(cluster(record()).runs(), health=health).instance_rows("web")
    assert [row[-1] for row in rows] == ["down on air-02, up on 1 of 2", ""]


def test_one_is_shown_with_its_definition_and_what_was_before() -> None:
    before = record().current
    shown = report(cluster(record(number=2, previous=before)).runs(number=2)).shown("web")
    assert shown["definition"]["discovery"] == {"port": 80, "scheme": "http"}
    assert shown["previous"]["generation"] == 1
    assert report(cluster(), defined={"web": definition(replicas=4)}).shown("web")["definition"]["replicas"] == 4


@pytest.mark.parametrize(
    ("word", "slot"),
    [("", 1), ("2", 2), ("air-02", 2), ("air-web-1.2.task1", 2), ("1/1", 1), ("air-02:air-web-1.2.task1", 2)],
)
def test_an_instance_is_chosen(word: str, slot: int) -> None:
    assert choose(cluster(record()).runs().state().of("web"), word).task.slot == slot


def test_an_instance_that_is_not_there_is_refused() -> None:
    with raises(ConfigError, "1 on air-01, 2 on air-02", path="9"):
        choose(cluster(record()).runs().state().of("web"), "9")
    with pytest.raises(Refused, match="no instance of web runs"):
        choose(cluster(record()).state().of("web"), "")
