"""What the tasks show of a cluster's lock, its rollouts and its audit trail, on a real etcd."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime

import pytest
from etcd_cluster import EtcdCluster
from killed_operator import operator_of

from argosy import inventory
from argosy.cluster.change import State
from argosy.cluster.history import Trail
from argosy.cluster.journal import ROLLOUT, Records
from argosy.cluster.lock import Who, held
from argosy.cluster.release import Release, read_release
from argosy.config.loading import Settings
from argosy.errors import ConfigError, LockLost, Refused
from argosy.etcd import Etcd, Put
from argosy.rollouts import run as running
from argosy.rollouts import telling
from argosy.rollouts.driver import RolloutDriver
from argosy.rollouts.journal import OF_ROLLOUTS
from argosy.rollouts.plan import Findings, Found, begin_rollout
from argosy.rollouts.record import Options, Progress, Rollout, RolloutStep
from argosy.rollouts.run import Flags
from argosy.rollouts.transitions import Began, Ended, advance

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
OLD, NEW = Release("0.1.2", "old"), Release("0.1.3", "new")


@pytest.fixture(scope="module")
def cluster(cluster: EtcdCluster) -> EtcdCluster:
    inventory.save(cluster.settings(), cluster.machines)
    return cluster


@pytest.fixture
def settings(cluster: EtcdCluster) -> Settings:
    return cluster.settings()


def rollout() -> Rollout:
    found = Findings((Found("air-01", OLD), Found("air-02", OLD)))
    made = begin_rollout("r1", NEW, found, Options(), by="alice@here", now=NOW, total=2, whole=True)
    made = advance(made, Began((("air-01", RolloutStep.PREPARING), ("air-02", RolloutStep.PREPARING))), NOW)
    return advance(made, Ended("air-01"), NOW)


def say(_subject: str, _message: str) -> None:
    """Nobody listens."""


def test_who_holds_the_lock_is_shown_and_it_can_be_broken(settings: Settings, store: Etcd) -> None:
    assert telling.lock_holder(settings) is None
    assert telling.unlock(settings, say) is None
    with held(store, "cluster.add-machine", who=Who("alice", "here")) as lock:
        holder = telling.lock_holder(settings)
        assert holder is not None
        told = asdict(holder)
        assert told is not None
        assert (told["holder"], told["host"], told["task"]) == ("alice", "here", "cluster.add-machine")
        broken = telling.unlock(settings, say)
        assert broken == holder
        with pytest.raises(LockLost):
            lock.write([Put("/a", "1")])
    (entry,) = telling.history(settings, 10)
    assert (entry.task, entry.what) == ("cluster.unlock", f"broke the lock of {holder}")


def test_the_rollout_in_progress_and_those_that_ended_are_shown(settings: Settings, store: Etcd) -> None:
    assert telling.rollouts(settings) == (None, [])
    with held(store, "t") as lock:
        record = Records(store, lock, OF_ROLLOUTS)
        for number in (1, 2):
            record.close(replace(rollout(), id=f"r{number}", state=State.ABORTED, reason="given up"))
        record.write(replace(rollout(), id="r3"))
    present, ended = telling.rollouts(settings)
    assert present is not None
    assert [rollout.id for rollout in ended] == ["r2", "r1"]
    rows = telling.rollout_rows(present, ended)
    assert [str(row) for row in rows[0]] == [
        "r3",
        "0.1.3",
        "running",
        "0 of 2",
        "2026-01-31 12:00:00",
        "alice@here",
        "",
    ]
    assert [row[0] for row in rows] == ["r3", "r2", "r1"]
    assert [str(row) for row in telling.machine_rows(present)[0]] == [
        "air-01",
        "prepared",
        "2026-01-31 12:00:00",
        "0.1.2",
        "",
    ]
    told = telling.rollouts_json(present, ended)
    assert (told["present"]["id"], len(told["ended"])) == ("r3", 2)
    assert telling.rollouts_json(None, []) == {"present": None, "ended": []}


def test_a_finished_one_of_all_machines_makes_its_release_the_wanted_one(store: Etcd) -> None:
    with held(store, "t") as lock:
        operator, begun = operator_of(store, lock), rollout()
        done = replace(begun, machines={name: Progress(RolloutStep.DONE, NOW, OLD) for name in begun.machines})
        RolloutDriver(operator, replace(done, whole=False)).run()
        assert read_release(store) is None
        RolloutDriver(operator, done).run()
    assert read_release(store) == NEW
    assert OF_ROLLOUTS.present(store) is None


def test_the_audit_trail_is_shown_the_newest_last(settings: Settings, store: Etcd) -> None:
    with held(store, "a task", who=Who("bob", "there")) as lock:
        for number in range(4):
            Trail(store, lock).note(datetime(2026, 1, 31, 12, number, tzinfo=UTC), f"deed {number}", "done")
    store.put("/cluster/history/20990101", "not ours")
    found = telling.history(settings, 3)
    assert [entry.what for entry in found] == ["deed 2", "deed 3", "not ours"]
    assert telling.history_rows(found)[0] == ["2026-01-31T12:02:00.000Z", "bob", "there", "a task", "deed 2", "done"]


def test_a_record_that_is_none_says_where_it_stands(settings: Settings, store: Etcd) -> None:
    store.put(ROLLOUT, "x")
    with pytest.raises(Refused, match=r"/cluster/rollout in etcd is not the record of a rollout"):
        telling.rollouts(settings)


class TestFlags:
    def test_what_they_leave_out_the_configuration_says(self, cluster: EtcdCluster) -> None:
        rules = {"batch": "2", "canary": True, "soak_seconds": 30}
        settings = cluster.settings(rollout=rules)
        assert running.request_of(settings, Flags()).options == Options("2", True, 30, False)
        flags = Flags(batch="50%", soak_seconds=0, rollback=True)
        assert running.request_of(settings, flags, "air-01").options == Options("50%", True, 0, True)
        assert running.request_of(settings, flags, "air-01").machine == "air-01"

    @pytest.mark.parametrize("flags", [Flags(batch="0"), Flags(batch="x"), Flags(soak_seconds=-1)])
    def test_bad_ones_are_refused(self, settings: Settings, flags: Flags) -> None:
        with pytest.raises(ConfigError):
            running.request_of(settings, flags)

    def test_a_closed_window_says_when_the_next_one_opens(self) -> None:
        assert running.closed_reason([], NOW) == ""
        assert running.closed_reason(["11:00-13:00"], NOW) == ""
        closed = running.closed_reason(["22:00-23:00 Europe/Berlin"], NOW)
        assert closed.endswith("the next opens at 2026-01-31 21:00 UTC")
