"""The life of a scheduled service in a whole cluster: found by name, scaled under load, stopped, destroyed, made anew.

After test_local_cluster, whose `local.start` has submitted it.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from lab import Lab, eventually
from steady import Steady
from swarm_checks import is_settled, nodes

MACHINES = ["sea-01", "sea-02", "sea-03"]
RATE = 100
SERVE_SECONDS = 30

pytestmark = [pytest.mark.e2e, pytest.mark.slow(12), pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def _started(cluster: Lab) -> None:
    """The cluster's three machines, healthy."""


def ask(lab: Lab, machine: str, host: str = "web.any.example") -> dict[str, Any]:
    address = f"192.168.{lab.third}.{100 + int(machine[-2:])}"
    request = urllib.request.Request(f"http://{address}/", headers={"Host": host})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def told(lab: Lab) -> dict[str, Any]:
    (found,) = lab.json("service.list", "web")
    return dict(found)


def test_the_machines_of_a_new_cluster_are_in_one_swarm(cluster: Lab) -> None:
    is_settled(cluster, MACHINES)
    assert sum(node["manager"] == "leader" for node in nodes(cluster).values()) == 1
    token = cluster.run("sea-01", "docker swarm join-token -q manager").strip()
    assert token
    for path in (cluster.root / ".argosy" / cluster.cluster).rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes()


def test_it_was_submitted_with_the_cluster_and_any_machine_leads_to_it(cluster: Lab) -> None:
    web = told(cluster)
    assert (web["state"], web["wanted"], web["running"], web["registered"]) == ("running", 2, 2, 2)
    names = {instance["container"] for instance in web["instances"]}
    for machine in MACHINES:
        answers = [ask(cluster, machine) for _ in range(6)]
        assert {answer["instance"] for answer in answers} == names
        assert {answer["version"] for answer in answers} == {web["version"]}
        assert {answer["service"] for answer in answers} == {"web"}
    cluster.inv("cluster.verify")


def test_submitted_again_nothing_changes(cluster: Lab) -> None:
    before = told(cluster)
    (again,) = cluster.json("service.submit", "web")
    assert again == {**before, "changed": False}


def test_scaled_up_and_down_no_request_is_lost(cluster: Lab) -> None:
    steady = Steady(f"192.168.{cluster.third}.102", 80, host="web.example", rate=RATE)
    with steady.running() as outcome:
        eventually("requests flow", lambda: outcome.total > 20)
        for count in (4, 8, 2):
            (web,) = cluster.json("service.scale", "web", str(count))
            assert (web["running"], web["registered"], web["changed"]) == (count, count, True)
            answering = {ask(cluster, "sea-03")["instance"] for _ in range(4 * count)}
            assert answering == {instance["container"] for instance in web["instances"]}
    assert outcome.not_ok() == []
    assert "scale web to 8" in cluster.inv("cluster.history").stdout


def test_stopped_it_is_gone_and_started_it_is_back(cluster: Lab) -> None:
    cluster.inv("service.stop", "web")
    assert told(cluster)["state"] == "stopped"
    assert cluster.json("discovery.list", "web")["services"][0]["instances"] == []
    cluster.inv("service.start", "web")
    assert told(cluster)["registered"] == 2
    eventually("it answers", lambda: ask(cluster, "sea-01")["service"] == "web", SERVE_SECONDS)


def test_what_an_instance_writes_is_shown(cluster: Lab) -> None:
    ask(cluster, "sea-01")
    lines = cluster.inv("service.journal", "web", "--lines", "50").stdout
    assert '"event": "started"' in lines
    assert "1/1@sea-0" in lines


def test_destroyed_nothing_is_left_and_it_can_be_made_anew(cluster: Lab) -> None:
    cluster.inv("service.destroy", "web", "--yes")
    assert told(cluster)["state"] == "not submitted"
    assert "web" not in {service["name"] for service in cluster.json("discovery.list")["services"]}
    assert cluster.refused(11, "service.scale", "web", "3").startswith("there is no scheduled service web")
    plan = cluster.inv("service.submit", "--all", "--dry-run").stdout
    assert "web: start 2 instances of" in plan
    cluster.inv("service.submit", "--all")
    assert told(cluster)["registered"] == 2
