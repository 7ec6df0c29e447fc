"""Whether the instances of a generation serve, seen again and again."""

from __future__ import annotations

from typing import Any

import pytest
from service_examples import Cluster, cluster, definition, record, replace

from argosy.scheduled_watch import STEADY_SECONDS, TRIES, Awaited, Verdict, Watch, unchecked


def watch(count: int | None = 2, **keys: Any) -> Watch:
    return Watch(Awaited("web", 1, definition(**keys), count))


def verdict(found: Cluster, now: float = 0.0, **keys: Any) -> Verdict:
    return watch(**keys).look(found.fleet(), now)


def test_what_runs_and_is_registered_serves() -> None:
    assert verdict(cluster(record()).runs()) == Verdict("")


def test_what_is_missing_is_said() -> None:
    assert verdict(cluster(record()).runs(count=1)).missing == "1 of 2 run"
    absent = "2 run, air-01:air-web-1.1.task0, air-02:air-web-1.2.task1 not registered yet"
    assert verdict(cluster(record()).runs(registered=False)).missing == absent
    found = cluster(record()).runs(count=1)
    found.task(slot=2, state="pending", desired="running", error="no suitable node")
    assert verdict(found).missing == "1 of 2 run: no suitable node"
    assert verdict(cluster(record()).runs(count=3)).missing == "1 of 3 are still to end"


def test_a_generation_that_swarm_does_not_have_is_not_waited_for() -> None:
    assert verdict(cluster(record())) == Verdict("Swarm does not have generation 1", hopeless=True)


def test_none_are_wanted() -> None:
    assert verdict(cluster(record()).runs(count=0), count=0) == Verdict("")


def test_of_a_global_service_every_machine_that_takes_instances() -> None:
    found = cluster(record(replicas=None)).runs(count=2, replicas=None)
    assert verdict(found, count=None).missing == "2 of 3 run"
    found.nodes[2] = replace(found.nodes[2], state="down")
    assert verdict(found, count=None).missing == ""


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        ({}, True),
        ({"discovery": None}, False),
        ({"discovery": {"port": 80, "check": "none"}}, False),
        ({"discovery": None, "check": {"command": ["true"]}}, True),
    ],
)
def test_what_nobody_asks_must_run_for_a_while(keys: dict[str, Any], asked: bool) -> None:
    assert unchecked(definition(**keys)) is not asked
    found, watched = cluster(record()).runs().fleet(), watch(**keys)
    assert (watched.look(found, 10.0).missing == "") is asked
    assert (watched.look(found, 10.0 + STEADY_SECONDS / 2).missing == "") is asked
    assert watched.look(found, 10.0 + STEADY_SECONDS).missing == ""


def test_another_try_begins_the_while_anew() -> None:
    watched = watch(discovery=None)
    watched.look(cluster(record()).runs().fleet(), 0.0)
    found = cluster(record()).runs(count=1)
    found.task()
    found.task(slot=2)
    found.tasks.pop(1)
    assert watched.look(found.fleet(), STEADY_SECONDS).missing == "2 run: watching whether they go on"


def test_failures_are_counted_though_swarm_forgets_them() -> None:
    watched = watch()
    found = cluster(record()).runs(count=1)
    for number in range(TRIES + 1):
        found.task(slot=2, state="failed", desired="shutdown", error=f"exit {number}")
        told = watched.look(found.fleet(), float(number))
        found.tasks.pop()
        found.task(slot=1, registered=False)  # takes the id, so that the next failure has another
        assert told.hopeless is (number == TRIES), "what had failed before does not count"
    assert told.failed is not None
    assert told.failed.task.error == f"exit {TRIES}"


def test_what_has_failed_once_must_run_for_a_while() -> None:
    watched = watch()
    watched.look(cluster(record()).runs(count=1).fleet(), 0.0)
    found = cluster(record()).runs()
    found.task(slot=2, state="failed", desired="shutdown")
    assert watched.look(found.fleet(), 1.0).missing == "2 run: watching whether they go on"
    assert watched.look(found.fleet(), 1.0 + STEADY_SECONDS).missing == ""
