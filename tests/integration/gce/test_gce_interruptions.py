"""Killed between any two requests, and run again: the same end state, nothing twice, nothing orphaned."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from gce_runs import Place, place

from compute_api import FakeCompute, Fault

pytestmark = [pytest.mark.integration, pytest.mark.slow(2)]

BEFORE = {
    "create core": [],
    "create db": [],
    "balancer": ["create core"],
    "destroy core2": ["create core", "balancer"],
    "destroy users": ["create db"],
    "destroy all": ["create core", "balancer"],
    "remove balancer": ["create core", "balancer"],
}


def moments(fake: FakeCompute) -> list[tuple[int, str]]:
    """Return when to kill: after each change, its answer lost, and before the first of each sort, when this host has
    done what lies between (files, answers). In between nothing moves."""
    found, before = [], ""
    for number, request in enumerate(fake.requests, 1):
        if request.changes:
            found += [(number, "before")] * (request.method != before) + [(number, "after")]
            before = request.method
    return [*found, (fake.asked, "after")]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as found:
        yield found


@pytest.mark.parametrize("deed", BEFORE)
def test_killed_at_any_request_the_same_again_ends_in_the_same_state(project: Place, deed: str) -> None:
    project.do(*BEFORE[deed])
    project.keep()
    project.begin()
    project.do(deed)
    wanted, total = project.outcome(), project.fake.asked
    for number, when in moments(project.fake):
        project.begin()
        assert project.killed_at(number, when, deed), (number, when)
        project.do(deed)
        assert project.outcome() == wanted, f"killed {when} request {number} of {total}"
        assert not [request for request in project.fake.requests if request.status == 409], (number, when)
        project.fake.forget()
        if number % 4 == 0:  # often enough: it is the same for all that came to the same state
            project.do(deed)
            assert project.fake.changes() == [], "the third run had something to do"


PASSING = (
    Fault("*", "lose"),
    Fault("*", "drop"),
    Fault("*", "repeat"),
    Fault("*", "fail", status=503),
    Fault("*", "fail", status=429, reason="rateLimitExceeded"),
    Fault("*", "slow", seconds=0.05),
)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_fails_in_passing_the_end_state_is_the_same(project: Place, seed: int) -> None:
    project.keep()
    deeds = ("create core", "balancer", "create db", "destroy core2")
    project.do(*deeds)
    wanted = project.outcome()
    project.begin()
    chance = random.Random(seed)
    # One at a time, each some requests after the last: a request that fails more often than it is tried is no passing.
    for place_in_line in range(0, 120, 6):
        fault = chance.choice(PASSING)
        project.fake.faults.add(replace(fault, skip=place_in_line + chance.randrange(3)))
    project.do(*deeds)
    assert project.outcome() == wanted
    assert {request.status for request in project.fake.requests} <= {200, 404, 429, 503}
