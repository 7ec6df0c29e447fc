"""A scheduled service is updated and hurt at a steady rate of requests. After test_scheduled_services."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from lab import Lab, docker, eventually
from steady import Outcome, Steady

MACHINES = ["sea-01", "sea-02", "sea-03"]
WEB = "example/web/web/__main__.py"
RATE = 100
CHANGE_SECONDS = 300
ELSEWHERE_SECONDS = 30
CHECKS_SECONDS = 10
"""After which routers have noticed that an instance's machine is gone: three checks in a row, and one that is slow."""
FAILED = 34

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


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


def running_on(lab: Lab) -> set[str]:
    return {it["machine"] for it in web(lab)["instances"] if it["state"] == "running"}


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
    cluster.configure(lambda it: it["scheduled"]["web"].update(env={"UNHEALTHY": "1"}, update={"deadline_seconds": 20}))
    with requests(cluster) as outcome:
        cluster.refused(FAILED, "service.update", "web", "--yes", timeout=CHANGE_SECONDS)
    (cluster.root / "invoke.yaml").write_text(document)
    after = web(cluster)
    assert outcome.not_ok() == []
    assert set(outcome.versions) == {before["version"]}
    assert [it["id"] for it in after["instances"]] == [it["id"] for it in before["instances"]]
    assert (after["generation"], after["updating"]) == (before["generation"], False)
    assert "nothing to do" in cluster.inv("service.update", "web", "--yes").stderr


def test_what_was_on_a_machine_that_loses_its_power_runs_elsewhere(cluster: Lab) -> None:
    cluster.inv("service.scale", "web", "3", timeout=CHANGE_SECONDS)
    assert running_on(cluster) == set(MACHINES)
    victim = cluster.container("sea-03")
    with requests(cluster) as outcome:
        docker("kill", victim)
        noticed = time.monotonic() + CHECKS_SECONDS
        try:
            eventually("routers have noticed", lambda: time.monotonic() > noticed, CHECKS_SECONDS + 1)
            lost = outcome.not_ok()
            eventually(
                "its instance runs elsewhere",
                lambda: web(cluster)["registered"] == 3 and "sea-03" not in running_on(cluster),
                ELSEWHERE_SECONDS - CHECKS_SECONDS,
            )
        finally:
            docker("start", victim)
        eventually("all is well again", lambda: not cluster.inv("cluster.status", check=False).returncode, 120)
    assert outcome.not_ok() == lost
    cluster.inv("service.scale", "web", "2", timeout=CHANGE_SECONDS)
    cluster.inv("cluster.verify")
