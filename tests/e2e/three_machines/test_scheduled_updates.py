"""A scheduled service is updated and hurt at a steady rate of requests. After test_scheduled_services."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from lab import Lab, docker, eventually
from steady import Outcome, Steady
from swarm_checks import is_settled, nodes, places

MACHINES = ["sea-01", "sea-02", "sea-03"]
WEB = "example/web/web/__main__.py"
RATE = 100
CHANGE_SECONDS = 300
ELSEWHERE_SECONDS = 30
LOOK_SECONDS = 10
"""A command that looks while a machine is dead asks it last, and may take as long."""
CHECKS_SECONDS = 10
"""After which routers have noticed that an instance's machine is gone: three checks in a row, and one that is slow."""
FAILED = 34

pytestmark = [pytest.mark.e2e, pytest.mark.slow(12), pytest.mark.timeout(900)]


@pytest.fixture(scope="module", autouse=True)
def _started(cluster: Lab) -> None:
    """The cluster's three machines, healthy."""


@contextmanager
def requests(lab: Lab, path: str = "/") -> Iterator[Outcome]:
    """Ask for `web` through the balancer as long as the block lasts."""
    with Steady("127.0.0.1", lab.balancer_port, path, host="web.any.example", rate=RATE).running() as outcome:
        eventually("requests flow", lambda: outcome.total > RATE)
        yield outcome
        seen = outcome.total
        eventually("requests flow to the end", lambda: outcome.total > seen + RATE)


def web(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = lab.json("service.list", "web")[0]
    return found


@pytest.mark.journey("service update")
def test_a_new_version_comes_and_no_request_fails(cluster: Lab) -> None:
    before = web(cluster)
    path = cluster.root / WEB
    path.write_text(f"{path.read_text()}# another version\n")
    cluster.inv("build.images", "--only", "web", timeout=CHANGE_SECONDS)
    cluster.inv("registry.push", "--only", "web", timeout=CHANGE_SECONDS)
    with requests(cluster) as outcome:
        plan = cluster.inv("service.update", "web", "--dry-run").stdout
        cluster.inv("service.update", "web", "--canary", "10%", "--soak", "2", "--yes", timeout=CHANGE_SECONDS)
        updated = time.monotonic() - outcome.began
    after = web(cluster)
    assert outcome.not_ok() == []
    assert "web" in plan
    assert (after["running"], after["registered"], after["updating"]) == (2, 2, False)
    assert after["version"] != before["version"]
    assert outcome.seen_last[before["version"]] < updated < outcome.seen_last[after["version"]]
    assert "nothing to do" in cluster.inv("service.update", "web", "--yes").stderr


def test_a_version_that_never_gets_well_goes_by_itself(cluster: Lab) -> None:
    before = web(cluster)
    document = (cluster.root / "invoke.yaml").read_text()
    cluster.configure(
        lambda entry: entry["scheduled"]["web"].update(env={"UNHEALTHY": "1"}, update={"deadline_seconds": 10})
    )
    with requests(cluster) as outcome:
        cluster.refused(FAILED, "service.update", "web", "--yes", timeout=CHANGE_SECONDS)
    (cluster.root / "invoke.yaml").write_text(document)
    after = web(cluster)
    assert outcome.not_ok() == []
    assert set(outcome.versions) == {before["version"]}
    assert [instance["id"] for instance in after["instances"]] == [instance["id"] for instance in before["instances"]]
    assert (after["generation"], after["updating"]) == (before["generation"], False)
    assert "nothing to do" in cluster.inv("service.update", "web", "--yes").stderr


def test_what_was_on_a_machine_that_loses_its_power_runs_elsewhere(cluster: Lab) -> None:
    cluster.inv("service.scale", "web", "3", timeout=CHANGE_SECONDS)
    assert places(cluster) == MACHINES
    # Another leader has to be elected first, so its loss takes longest.
    lost = next(name for name, node in nodes(cluster).items() if node["manager"] == "leader")
    machine = cluster.container(lost)
    with requests(cluster) as outcome:
        docker("kill", machine)
        began = time.monotonic()
        try:
            eventually("routers have noticed", lambda: time.monotonic() > began + CHECKS_SECONDS, CHECKS_SECONDS + 1)
            answered = outcome.answered_badly()
            eventually(
                "its instance runs elsewhere",
                lambda: web(cluster)["registered"] == 3 and lost not in places(cluster),
                ELSEWHERE_SECONDS - CHECKS_SECONDS + LOOK_SECONDS,
            )
        finally:
            docker("start", machine)
        eventually("all is well again", lambda: not cluster.inv("cluster.status", check=False).returncode, 120)
    assert outcome.answered_badly() == answered
    # Who was on that machine when it went waits in vain, longer than routers take to notice; who came later does not.
    noticed = began - outcome.began + CHECKS_SECONDS
    assert [failure for failure in outcome.failures if failure[0] > noticed] == []
    cluster.inv("service.scale", "web", "2", timeout=CHANGE_SECONDS)
    is_settled(cluster, MACHINES)
