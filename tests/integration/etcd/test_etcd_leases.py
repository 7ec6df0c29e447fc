"""Leases on a real etcd: as a client sees them, and as the agent keeps its one."""

from __future__ import annotations

import json
import queue
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from etcd_cluster import EtcdCluster
from waiting import until

from argosy import etcd
from argosy.agent.lease import Lease
from argosy.errors import EtcdCompacted, EtcdError
from argosy.etcd import Etcd

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration


@pytest.fixture
def leases(store: Etcd, tmp_path: Path) -> Iterator[Callable[..., Lease]]:
    made: list[Lease] = []

    def make(ttl_seconds: int = 3, path: Path | None = None) -> Lease:
        made.append(Lease(store, ttl_seconds, path or tmp_path / "lease.json"))
        return made[-1]

    yield make
    for lease in made:
        lease.stop()


class TestTheClient:
    def test_keys_go_with_their_lease(self, store: Etcd) -> None:
        lease = store.grant(60)
        store.put("/a", "1", lease)
        store.put("/b", "2")
        assert store.get("/a").lease == lease  # type: ignore[union-attr]
        store.revoke(lease)
        assert [entry.key for entry in store.get_prefix("/").entries] == ["/b"]

    def test_to_revoke_again_changes_nothing(self, store: Etcd) -> None:
        lease = store.grant(60)
        store.revoke(lease)
        store.revoke(lease)

    def test_keep_alive_tells_the_seconds_left_and_0_for_none(self, store: Etcd) -> None:
        lease = store.grant(60)
        assert store.keep_alive(lease) == 60
        store.revoke(lease)
        assert store.keep_alive(lease) == 0

    def test_a_lease_that_is_not_kept_runs_out(self, store: Etcd) -> None:
        store.put("/a", "1", store.grant(1))
        with store.watch("/a", store.health()) as changes:
            assert [str(event.kind) for change in (next(changes), next(changes)) for event in change.events][
                -1
            ] == "delete"

    def test_a_put_with_a_lease_that_ran_out_is_refused(self, store: Etcd) -> None:
        lease = store.grant(60)
        store.revoke(lease)
        with pytest.raises(EtcdError, match="refused: requested lease not found"):
            store.put("/a", "1", lease)

    def test_compaction_is_an_error_of_its_own(self, store: Etcd, cluster: EtcdCluster) -> None:
        store.put("/w", "1")
        cluster.ctl("compaction", str(store.put("/w", "2")))
        with store.watch("/w", 1) as changes, pytest.raises(EtcdCompacted):
            next(changes)

    def test_more_than_4_megabytes_are_listed(self, store: Etcd) -> None:
        for number in range(6):
            store.put(f"/big/{number}", "x" * 1_000_000)
        assert len(store.get_prefix("/big/").entries) == 6


class TestTheAgents:
    def test_it_is_kept_past_its_ttl(self, leases: Callable[..., Lease], store: Etcd) -> None:
        lease = leases(ttl_seconds=2)
        lease.start()
        store.put("/a", "1", held(lease))
        assert not threading.Event().wait(4)
        assert lease.alive
        assert store.get("/a") is not None

    def test_a_restart_goes_on_with_it(self, leases: Callable[..., Lease], tmp_path: Path) -> None:
        first = leases(60)
        first.renew()
        assert stat.S_IMODE((tmp_path / "lease.json").stat().st_mode) == 0o600
        second = leases(60)
        second.renew()
        assert second.id() == first.id()

    def test_another_ttl_is_another_lease(self, leases: Callable[..., Lease]) -> None:
        first = leases(60)
        first.renew()
        second = leases(30)
        second.renew()
        assert second.id() != first.id()

    def test_one_that_ran_out_is_replaced_and_told(
        self, leases: Callable[..., Lease], store: Etcd, tmp_path: Path
    ) -> None:
        told: queue.Queue[int] = queue.Queue()
        lease = leases(60)
        lease.subscribe(told.put)
        lease.renew()
        lease.renew()
        first = told.get_nowait()
        assert told.empty()
        store.revoke(first)
        lease.renew()
        assert told.get_nowait() == lease.id() != first
        assert json.loads((tmp_path / "lease.json").read_text()) == {"id": lease.id(), "ttl_seconds": 60}

    def test_who_subscribes_late_is_told_at_once(self, leases: Callable[..., Lease]) -> None:
        lease = leases(60)
        lease.renew()
        told: list[int] = []
        lease.subscribe(told.append)
        assert told == [lease.id()]

    @pytest.mark.parametrize("content", ["", "[]", '{"id": "x"}', "{", '{"id": 12, "ttl_seconds": 60}'])
    def test_a_file_that_says_nothing_useful_costs_nothing_but_the_old_lease(
        self, leases: Callable[..., Lease], tmp_path: Path, content: str
    ) -> None:
        (tmp_path / "lease.json").write_text(content)
        lease = leases(60)
        lease.renew()
        assert lease.id()

    def test_without_etcd_there_is_none_and_it_says_why(self, cluster: EtcdCluster, tmp_path: Path) -> None:
        settings = cluster.settings(etcd={"client_port": 1, "timeout_seconds": 0.2})
        with etcd.connect(settings, cluster.machines) as nowhere:
            lease = Lease(nowhere, 60, tmp_path / "lease.json")
            lease.start()
            until(lambda: "does not answer" in lease.trouble.reason)
            with pytest.raises(EtcdError, match="does not answer"):
                lease.id()
            lease.stop()


def held(lease: Lease) -> int:
    until(lambda: lease.alive)
    return lease.id()
