"""The cluster's lock on a real etcd: two operators, one killed, one cut off, one who sleeps through it all."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from etcd_cluster import EtcdCluster

from argosy import etcd
from argosy.clock import SystemClock
from argosy.cluster import lock as cluster_lock
from argosy.cluster.lock import KEY, ClusterLock, Who, held, parse_holder
from argosy.errors import EtcdError, LockHeld, LockLost
from argosy.etcd import Entry, Etcd, Put

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration

ALICE, BOB = Who("alice", "here"), Who("bob", "there")


@pytest.fixture(scope="module")
def cluster(cluster: EtcdCluster) -> EtcdCluster:
    cluster.timeout_seconds = 1
    return cluster


def test_the_key_says_who_holds_it_and_goes_when_it_is_given_back(store: Etcd) -> None:
    with held(store, "cluster.rolling-upgrade", who=ALICE):
        entry = store.get(KEY)
        assert entry is not None
        assert entry.lease
        told = json.loads(entry.value)
        assert set(told) == {"id", "holder", "host", "task", "started"}
        assert (told["holder"], told["host"], told["task"]) == ("alice", "here", "cluster.rolling-upgrade")
        assert str(cluster_lock.read(store)) == f"alice on here (cluster.rolling-upgrade) since {told['started']}"
    assert store.get(KEY) is None
    assert cluster_lock.read(store) is None


def test_the_second_operator_is_told_who_holds_it(store: Etcd) -> None:
    with held(store, "cluster.add-machine", who=ALICE), pytest.raises(LockHeld) as refused:  # noqa: SIM117
        with held(store, "cluster.rolling-upgrade", who=BOB):
            pytest.fail("both hold it")
    for word in ("alice", "here", "cluster.add-machine", "since 20"):
        assert word in str(refused.value)
    assert refused.value.holder.startswith("alice on here")


def test_one_of_many_who_come_at_once_gets_it(store: Etcd) -> None:
    taken: list[ClusterLock] = []
    refused: list[LockHeld] = []
    start = threading.Barrier(6)

    def come() -> None:
        start.wait()
        try:
            taken.append(cluster_lock.take(store, "t", 30, SystemClock(), ALICE))
        except LockHeld as error:
            refused.append(error)

    threads = [threading.Thread(target=come) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (1, 5)
    taken[0].release()


def test_it_is_kept_past_its_ttl(store: Etcd) -> None:
    with held(store, "t", ttl_seconds=3) as lock:
        assert not threading.Event().wait(4.5)
        lock.check()
        lock.write([Put("/a", "1")])
    assert value(store.get("/a")) == "1"


HOLDER = """
import sys
from etcd_cluster import EtcdCluster
from pathlib import Path
from argosy import etcd
from argosy.model import Machine
from argosy.cluster.lock import Who, held
made = EtcdCluster(Path(sys.argv[1]), Path("/nowhere"), size=1)
made.client_port = int(sys.argv[2])
with etcd.connect(made.settings(), made.machines) as store, held(store, "t", ttl_seconds=3, who=Who("carol", "far")):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_holder_that_is_killed_lets_it_run_out(store: Etcd, cluster: EtcdCluster) -> None:
    here = Path(__file__).parents[2] / "support"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(cluster.folder), str(cluster.client_port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=here,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(LockHeld, match="carol on far"):
            cluster_lock.take(store, "t", 3, SystemClock(), BOB)
    finally:
        process.kill()
        process.communicate()
    until(lambda: store.get(KEY) is None)
    with held(store, "t", who=BOB) as lock:
        lock.check()


def test_one_that_was_broken_changes_nothing_any_more(store: Etcd) -> None:
    told = threading.Event()
    with held(store, "t", who=ALICE) as lock:
        lock.on_lost(told.set)
        broken = cluster_lock.break_(store)
        assert broken is not None
        assert broken.holder == "alice"
        with pytest.raises(LockLost, match="somebody broke it"):
            lock.write([Put("/a", "1")])
        assert told.is_set()
        with held(store, "t", who=BOB) as other:
            with pytest.raises(LockLost):
                lock.write([Put("/a", "1")])
            other.write([Put("/a", "2")])
    assert value(store.get("/a")) == "2"
    assert cluster_lock.break_(store) is None


def test_giving_back_a_lost_lock_leaves_that_of_the_next_holder(store: Etcd) -> None:
    with held(store, "t", who=ALICE):
        cluster_lock.break_(store)
        other = cluster_lock.take(store, "t", 30, SystemClock(), BOB)
    other.write([Put("/a", "2")])
    other.release()


def test_a_condition_of_the_caller_s_that_does_not_hold_is_no_loss(store: Etcd) -> None:
    with held(store, "t") as lock:
        assert not lock.transact([etcd.created_at("/a", 1)], [Put("/a", "y")]).succeeded
        lock.check()


def test_who_is_cut_off_from_etcd_stops_before_the_lease_can_run_out(store: Etcd, cluster: EtcdCluster) -> None:
    told = threading.Event()
    with pytest.raises(LockLost, match="did not renew it in time"), held(store, "t", ttl_seconds=3) as lock:  # noqa: PT012
        lock.on_lost(told.set)
        cluster.freeze("air-01")
        try:
            assert told.wait(10)
            with pytest.raises(LockLost):
                lock.check()
        finally:
            cluster.thaw("air-01")
        # Etcd is back, and it may even have kept the lease: but the lock stays lost.
        lock.write([Put("/a", "1")])
    assert store.get("/a") is None


class Sleeper(SystemClock):
    """A clock that stands still, as a process does that is stopped between a look at the clock and a write."""

    def elapsed(self) -> float:
        return 0.0

    def spawn(self, name: str, work: Callable[[], None]) -> None:
        pass


def test_who_sleeps_through_the_end_of_the_lease_writes_nothing(store: Etcd) -> None:
    sleeper = cluster_lock.take(store, "t", 1, Sleeper(), ALICE)
    until(lambda: store.get(KEY) is None)
    with held(store, "t", who=BOB):
        sleeper.check()
        with pytest.raises(LockLost, match="held by bob on there"):
            sleeper.write([Put("/a", "1")])
    assert store.get("/a") is None


class LosesAnswers:
    """A store whose next transaction is done, or not, and whose answer is lost."""

    def __init__(self, store: Etcd, *, done: bool) -> None:
        self.store = store
        self.done = done
        self.left = 1

    def transact(self, *arguments: object) -> object:
        if not self.left:
            return self.store.transact(*arguments)  # type: ignore[arg-type]
        self.left -= 1
        if self.done:
            self.store.transact(*arguments)  # type: ignore[arg-type]
        raise EtcdError("the answer is lost")

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)


def test_a_lost_answer_to_the_taking_is_looked_up(store: Etcd) -> None:
    with held(LosesAnswers(store, done=True), "t") as lock:  # type: ignore[arg-type]
        lock.write([Put("/a", "1")])
    with pytest.raises(EtcdError, match="the answer is lost"), held(LosesAnswers(store, done=False), "t"):  # type: ignore[arg-type]
        pytest.fail("it was not taken")
    assert store.get(KEY) is None


@pytest.mark.parametrize("done", [True, False])
def test_a_lost_answer_to_a_write_is_tried_again(store: Etcd, done: bool) -> None:
    flaky = LosesAnswers(store, done=done)
    flaky.left = 0
    with held(flaky, "t") as lock:  # type: ignore[arg-type]
        flaky.left = 1
        lock.write([Put("/a", "1")])
    assert value(store.get("/a")) == "1"


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"holder": null}'])
def test_what_somebody_else_wrote_there_names_nobody(store: Etcd, text: str) -> None:
    assert str(parse_holder(text)) == "unknown on unknown (unknown) since unknown"
    store.put(KEY, text)
    with pytest.raises(LockHeld, match="unknown on unknown"):
        cluster_lock.take(store, "t", 3, SystemClock(), BOB)
    cluster_lock.break_(store)


def value(entry: Entry | None) -> str:
    return entry.value if entry else ""


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
