"""When a balancer is taken to have noticed that a machine drains."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.config.loading import Settings, load
from argosy.draining import balancers
from argosy.gce import balancing

MACHINES = ["air-01", "air-02"]


def settings(provider: str = "static", **sections: Any) -> Settings:
    return load({"clusters": {"here": {"provider": provider, "discovery": {"check_seconds": 2}, **sections}}})


def paused(chosen: Settings, routers: list[str]) -> list[float]:
    pauses: list[float] = []
    balancers.wait_until_out(chosen, "air-01", routers, MACHINES, pauses.append)
    return pauses


def test_one_that_follows_etcd_is_waited_for_with_the_routers() -> None:
    assert paused(settings(), [*MACHINES, "balancer"]) == []


def test_one_that_only_asks_for_health_is_given_the_time_for_it() -> None:
    assert paused(settings(), MACHINES) == [6.0]


@pytest.mark.parametrize(("there", "pauses"), [(True, []), (False, [6.0])])
def test_google_s_is_asked_what_it_has_found(monkeypatch: pytest.MonkeyPatch, there: bool, pauses: list[float]) -> None:
    asked = []

    def wait_until_out(_settings: Settings, machine: str, _deadline: float) -> bool:
        asked.append(machine)
        return there

    monkeypatch.setattr(balancing, "wait_until_out", wait_until_out)
    assert paused(settings("gce"), MACHINES) == pauses
    assert asked == ["air-01"]


@pytest.mark.parametrize(("routers", "seconds"), [([*MACHINES, "balancer"], 4), (MACHINES, 6), ([], 6)])
def test_it_sends_again_when_its_checks_say_so(routers: list[str], seconds: float) -> None:
    assert balancers.seconds_until_back(settings(), routers, MACHINES) == seconds


def test_google_s_own_checks_may_take_longer() -> None:
    slow = {"balancer": {"check_seconds": 5, "healthy_after": 3}}
    assert balancers.seconds_until_back(settings("gce", gce=slow), MACHINES, MACHINES) == 20
