"""The mirror on a real etcd of three members, through everything that may come between them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from etcd_cluster import EtcdCluster
from waiting import until

from argosy import etcd
from argosy.agent.mirror import Batch, Mirror
from argosy.errors import EtcdError
from argosy.etcd import Delete, Etcd, Put

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration


@contextmanager
def store_of(cluster: EtcdCluster) -> Iterator[Etcd]:
    with etcd.connect(cluster.settings(), cluster.machines) as client:
        yield client


@contextmanager
def mirror_of(cluster: EtcdCluster) -> Iterator[tuple[Mirror, list[Batch]]]:
    batches: list[Batch] = []
    with store_of(cluster) as client:
        mirror = Mirror(client, retry_seconds=0.1)
        mirror.subscribe(batches.append)
        mirror.start()
        try:
            yield mirror, batches
        finally:
            mirror.stop()


def values(mirror: Mirror) -> dict[str, str]:
    return {key: entry.value for key, entry in mirror.snapshot()[1].items()}


def holds(mirror: Mirror, wanted: dict[str, str]) -> bool:
    return values(mirror) == wanted


def test_it_holds_what_etcd_holds_but_what_agents_and_operators_say(own_cluster: EtcdCluster) -> None:
    with store_of(own_cluster) as store:
        store.put("/services/a/scheme", "http")
        store.put("/routers/air-01", "1")
        with mirror_of(own_cluster) as (mirror, batches):
            until(lambda: mirror.connected)
            assert values(mirror) == {"/services/a/scheme": "http"}
            assert batches[0].full
            assert batches[0].changed == {"/services/a/scheme"}
            store.put("/cluster/lock", "me")
            revision = store.transact([], [Put("/b", "1"), Put("/c", "2"), Delete("/services/", prefix=True)]).revision
            until(lambda: mirror.revision == revision)
            assert values(mirror) == {"/b": "1", "/c": "2"}
            assert batches[1:] == [Batch(revision, frozenset({"/b", "/c", "/services/a/scheme"}))]


def test_who_subscribes_late_is_told_everything_at_once(own_cluster: EtcdCluster) -> None:
    with store_of(own_cluster) as store, mirror_of(own_cluster) as (mirror, _):
        revision = store.put("/a", "1")
        until(lambda: mirror.revision == revision)
        late: list[Batch] = []
        mirror.subscribe(late.append)
        assert late == [Batch(revision, frozenset({"/a"}), full=True)]


def test_a_burst_ends_in_exactly_what_etcd_holds_and_no_key_is_left_out(own_cluster: EtcdCluster) -> None:
    with store_of(own_cluster) as store, mirror_of(own_cluster) as (mirror, batches):
        until(lambda: mirror.connected)
        for number in range(500):
            last = store.put(f"/k/{number % 100}", str(number))
        until(lambda: mirror.revision == last)
        assert mirror.entries == {entry.key: entry for entry in store.get_prefix("/").entries}
        assert frozenset().union(*(batch.changed for batch in batches)) == set(mirror.entries)


def test_it_goes_on_over_the_loss_of_each_member_without_a_listing(own_cluster: EtcdCluster) -> None:
    own_cluster.timeout_seconds = 5
    with store_of(own_cluster) as store, mirror_of(own_cluster) as (mirror, _):
        until(lambda: mirror.connected)
        for machine in own_cluster.machines[:2]:
            own_cluster.kill(machine.name)
            patient(partial(store.put, "/a", machine.name))
            until(partial(holds, mirror, {"/a": machine.name}))
            own_cluster.start(machine.name)
            own_cluster.wait_until_healthy()
        assert mirror.listings == 1


def test_without_quorum_it_keeps_what_it_has_and_catches_up_over_a_compaction(own_cluster: EtcdCluster) -> None:
    with store_of(own_cluster) as store, mirror_of(own_cluster) as (mirror, _):
        store.put("/keep", "1")
        store.put("/gone", "1")
        until(lambda: len(mirror.entries) == 2)
        own_cluster.kill("air-01", "air-02")
        until(lambda: not mirror.connected, 15)
        assert "everything stays as it is" in mirror.trouble.reason
        assert values(mirror) == {"/keep": "1", "/gone": "1"}
        own_cluster.kill("air-03")
        # What follows happens while the mirror can't see it: it has no other member to ask.
        own_cluster.start()
        own_cluster.wait_until_healthy()
        patient(lambda: store.delete("/gone"))
        last = store.put("/new", "2")
        own_cluster.ctl("compaction", str(last))
        until(lambda: values(mirror) == {"/keep": "1", "/new": "2"})
        assert mirror.connected
        assert not mirror.trouble.reason
        assert mirror.listings >= 2


def test_a_watch_that_was_compacted_away_is_made_good_by_a_listing(own_cluster: EtcdCluster) -> None:
    with store_of(own_cluster) as store:
        mirror = Mirror(_Halting(store), retry_seconds=0.1)  # type: ignore[arg-type]
        mirror.start()
        until(lambda: mirror.connected)
        store.put("/a", "1")
        last = store.put("/a", "2")
        store.delete("/b")
        own_cluster.ctl("compaction", str(last))
        _Halting.go.set()
        until(lambda: values(mirror) == {"/a": "2"})
        assert mirror.listings == 2
        mirror.stop()


class _Halting:
    """A store whose first watch is opened only when the test says so."""

    go = threading.Event()

    def __init__(self, store: Etcd) -> None:
        self._store = store
        self.get_prefix = store.get_prefix

    @contextmanager
    def watch(self, prefix: str, revision: int) -> Iterator[object]:
        self.go.wait(10)
        with self._store.watch(prefix, revision) as changes:
            yield changes


def patient(function: Callable[[], int], seconds: float = 15) -> int:
    """Call `function` until etcd does it: an election takes its time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return function()
        except EtcdError:
            if time.monotonic() > deadline:
                raise


def test_before_the_first_listing_no_key_is_said_not_to_be_there(cluster: EtcdCluster) -> None:
    with store_of(cluster) as client:
        mirror = Mirror(client)
        with pytest.raises(EtcdError):
            mirror.current(["/services/web/scheme"])
        assert mirror.snapshot() == (0, {})
