"""The machines' Swarm while the cluster is upgraded, grows, shrinks and loses a machine.

Requests to a scheduled service flow through the balancer all the while.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from lab import Lab, docker, eventually
from steady import Steady

from conftest import START_SECONDS, cleared

RATE = 100
CHANGE_SECONDS = 600
LOST_SECONDS = 45
"""30 is what it takes, once in a while more: see docs/swarm.md."""
MACHINES = ["sea-01", "sea-02", "sea-03"]
FRONTEND = "example/frontend/frontend/__main__.py"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def swarming(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with cleared(tmp_path_factory.mktemp("swarm"), "e2e-swarm", 61) as lab:
        lab.inv("local.start", "3", timeout=START_SECONDS)
        yield lab


def web(lab: Lab) -> Steady:
    return Steady("127.0.0.1", lab.balancer_port, host="web", rate=RATE)


def nodes(lab: Lab) -> dict[str, dict[str, Any]]:
    return {it["machine"]: it for it in lab.json("cluster.swarm")["nodes"]}


def places(lab: Lab) -> list[str]:
    """Return the machines that instances of `web` run on, one for each."""
    (found,) = lab.json("service.list", "web")
    return sorted(it["machine"] for it in found["instances"] if it["state"] == "running")


def as_it_shall_be(lab: Lab, machines: list[str]) -> None:
    """Check that nothing is left to do: all manage the Swarm and take instances, and two of `web` run and are found."""
    shown = lab.json("cluster.swarm")
    assert (shown["problems"], shown["healthy"]) == ([], True)
    assert {it["machine"]: (it["role"], it["availability"], it["state"]) for it in shown["nodes"]} == dict.fromkeys(
        machines, ("manager", "active", "ready")
    )
    assert lab.inv("cluster.swarm", "--ensure", "--dry-run").stdout == "nothing to do\n"
    assert len(places(lab)) == 2
    lab.inv("cluster.status")
    lab.inv("cluster.verify")


def test_the_machines_of_a_new_cluster_are_in_one_swarm(swarming: Lab) -> None:
    as_it_shall_be(swarming, MACHINES)
    assert sum(it["manager"] == "leader" for it in nodes(swarming).values()) == 1
    tokens = swarming.run("sea-01", "docker swarm join-token -q manager")
    for path in (swarming.root / ".argosy" / swarming.cluster).rglob("*"):
        assert not path.is_file() or tokens.strip().encode() not in path.read_bytes()


def test_an_upgrade_moves_instances_and_loses_no_request(swarming: Lab) -> None:
    path = swarming.root / FRONTEND
    path.write_text(f"{path.read_text()}# another version\n")
    with web(swarming).running() as outcome:
        eventually("requests flow", lambda: outcome.total > RATE)
        done = swarming.inv("local.rolling-upgrade", timeout=CHANGE_SECONDS)
    assert outcome.not_ok() == []
    assert "of web elsewhere" in done.stderr
    as_it_shall_be(swarming, MACHINES)


def test_an_upgrade_that_is_killed_while_instances_move_goes_on(swarming: Lab) -> None:
    path = swarming.root / FRONTEND
    path.write_text(f"{path.read_text()}# one more version\n")
    log = swarming.root / "begun.log"
    with web(swarming).running() as outcome:
        eventually("requests flow", lambda: outcome.total > RATE)
        killed = swarming.begin("local.rolling-upgrade")
        eventually("instances move", lambda: "of web elsewhere" in log.read_text(), CHANGE_SECONDS)
        killed.kill()
        killed.wait()
        eventually("the lock is free", lambda: swarming.inv("cluster.unlock", "--yes", check=False).returncode == 0)
        swarming.inv("local.rolling-upgrade", timeout=CHANGE_SECONDS)
    assert outcome.not_ok() == []
    as_it_shall_be(swarming, MACHINES)


def test_a_machine_that_is_powered_off_is_made_up_for(swarming: Lab) -> None:
    name = next(name for name, it in nodes(swarming).items() if it["manager"] == "leader")
    docker("kill", swarming.container(name))
    began = time.monotonic()
    eventually("two run elsewhere", lambda: len([it for it in places(swarming) if it != name]) == 2, 4 * LOST_SECONDS)
    assert time.monotonic() - began < 2 * LOST_SECONDS  # seen through commands that wait for a leader
    swarming.inv("local.start", "3", timeout=START_SECONDS)
    as_it_shall_be(swarming, MACHINES)


def test_machines_come_and_go_and_no_request_fails(swarming: Lab) -> None:
    with web(swarming).running() as outcome:
        eventually("requests flow", lambda: outcome.total > RATE)
        swarming.inv("local.add-machine", timeout=CHANGE_SECONDS)
        as_it_shall_be(swarming, [*MACHINES, "sea-04"])
        swarming.inv("local.remove-machine", "sea-01", timeout=CHANGE_SECONDS)
    assert outcome.not_ok() == []
    as_it_shall_be(swarming, ["sea-02", "sea-03", "sea-04"])


def test_a_lost_machine_goes_without_its_goodbye(swarming: Lab) -> None:
    docker("rm", "--force", "--volumes", swarming.container("sea-04"))
    swarming.inv("local.remove-machine", "sea-04", timeout=CHANGE_SECONDS)
    as_it_shall_be(swarming, ["sea-02", "sea-03"])
