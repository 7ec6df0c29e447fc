"""The etcd client against real clusters of three: everything it does, and what it says when members are gone."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from etcd_cluster import EtcdCluster
from waiting import until

from argosy import etcd
from argosy.errors import ConfigError, EtcdError
from argosy.etcd import Change, Delete, Etcd, Put
from argosy.model import Machine
from argosy.pki import authority

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def programs(programs_of_each: Path) -> Path:
    return programs_of_each


@pytest.fixture(scope="module")
def cluster_size() -> int:
    return 3


def put_if_absent(store: Etcd, key: str, value: str) -> bool:
    return store.transact([etcd.absent(key)], [Put(key, value)]).succeeded


class TestReadingAndWriting:
    def test_a_value_is_what_was_put(self, store: Etcd) -> None:
        revision = store.put("/a", "ä\nb")
        found = store.get("/a")
        assert found is not None
        assert (found.value, found.mod_revision) == ("ä\nb", revision)
        assert store.get("/none") is None

    def test_a_prefix_lists_its_keys_sorted_with_the_revision(self, store: Etcd) -> None:
        for key in ("/m/b", "/m/a", "/ma"):
            last = store.put(key, key)
        listing = store.get_prefix("/m/")
        assert [entry.key for entry in listing.entries] == ["/m/a", "/m/b"]
        assert listing.revision == last

    def test_a_key_may_be_put_unless_it_is_there(self, store: Etcd) -> None:
        assert put_if_absent(store, "/a", "first")
        assert not put_if_absent(store, "/a", "second")
        assert store.get("/a").value == "first"  # type: ignore[union-attr]

    def test_a_transaction_does_all_or_nothing(self, store: Etcd) -> None:
        store.put("/lock", "me")
        lock = store.get("/lock")
        assert lock is not None
        mine = [etcd.created_at("/lock", lock.create_revision), etcd.unchanged(lock)]
        assert store.transact(mine, [Put("/x", "1"), Put("/y", "2")]).succeeded
        store.put("/lock", "you")
        assert not store.transact(mine, [Put("/x", "lost"), Delete("/y")]).succeeded
        assert {entry.key: entry.value for entry in store.get_prefix("/").entries} == {
            "/lock": "you",
            "/x": "1",
            "/y": "2",
        }
        assert store.transact([], [Delete("/y"), Delete("/lo", prefix=True)]).succeeded
        assert [entry.key for entry in store.get_prefix("/").entries] == ["/x"]

    def test_a_transaction_may_depend_on_all_keys_of_a_prefix(self, store: Etcd) -> None:
        seen = store.put("/a/1", "")
        quiet = [etcd.not_put_since("/a/", seen)]
        store.put("/b", "")
        assert store.transact(quiet, [Put("/b", "while nothing was put")]).succeeded
        store.delete("/a/1")
        assert store.transact(quiet, [Put("/b", "nor with none at all")]).succeeded
        store.put("/a/2", "")
        assert not store.transact(quiet, [Put("/b", "lost")]).succeeded

    def test_delete_tells_how_many_there_were(self, store: Etcd) -> None:
        store.put("/d/1", "")
        store.put("/d/2", "")
        assert (store.delete("/d/1"), store.delete("/d/1"), store.delete("/d/", prefix=True)) == (1, 0, 1)

    def test_many_threads_share_a_client(self, store: Etcd) -> None:
        threads = [threading.Thread(target=store.put, args=(f"/t/{number}", "x")) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.get_prefix("/t/").entries) == 20


class TestMembers:
    def test_all_three_are_healthy_and_one_leads(self, store: Etcd, cluster: EtcdCluster) -> None:
        members = store.members()
        assert [member.name for member in members] == ["air-01", "air-02", "air-03"]
        assert sum(member.leader for member in members) == 1
        assert all(member.healthy and member.version.startswith("3.") and not member.learner for member in members)
        assert set(cluster.ctl("member", "list").replace(",", "").split()) >= {member.id for member in members}

    def test_each_tells_its_own_state(self, store: Etcd) -> None:
        statuses = store.statuses()
        assert {status.member_id for status in statuses.values()} == {member.id for member in store.members()}
        assert all(status.revision > 0 and not status.reason for status in statuses.values())

    def test_a_learner_is_told_apart(self, own_cluster: EtcdCluster) -> None:
        newcomer = Machine("air-04", "127.0.8.4")
        own_cluster.add_learner(newcomer)
        with etcd.connect(own_cluster.settings(), own_cluster.machines) as store:
            unstarted = [member for member in store.members() if not member.name]
            assert [(member.learner, member.healthy) for member in unstarted] == [(True, False)]
        own_cluster.start("air-04", initial=[*own_cluster.machines, newcomer], state="existing")
        own_cluster.machines.append(newcomer)
        own_cluster.wait_until_healthy()
        with etcd.connect(own_cluster.settings(), own_cluster.machines) as store:
            assert [member.name for member in store.members() if member.learner and member.healthy] == ["air-04"]


class TestFailures:
    def test_a_killed_member_is_passed_over_and_taken_back(self, own_cluster: EtcdCluster) -> None:
        # Enough for an election, which the loss of a leader begins.
        own_cluster.timeout_seconds = 5
        with etcd.connect(own_cluster.settings(), own_cluster.machines) as store:
            for machine in own_cluster.machines:
                own_cluster.kill(machine.name)
                for number in range(10):
                    store.put("/a", str(number))
                    assert put_if_absent(store, f"/{machine.name}/{number}", "x")
                members = {member.name: member.healthy for member in store.members()}
                assert members == {it.name: it is not machine for it in own_cluster.machines}
                own_cluster.start(machine.name)
                own_cluster.wait_until_healthy()

    def test_a_frozen_member_costs_its_share_of_the_time_and_no_more(self, own_cluster: EtcdCluster) -> None:
        for machine in own_cluster.machines:
            own_cluster.freeze(machine.name)
            with etcd.connect(own_cluster.settings(), own_cluster.machines) as store:
                # The leader may be the frozen one: until the others have elected another, a write can't be done.
                within(10, lambda store=store: store.put("/a", "1"))
                store.put("/a", "2")
            own_cluster.thaw(machine.name)
            own_cluster.wait_until_healthy()

    def test_without_quorum_every_call_ends_in_time_with_one_line_that_names_the_members(
        self, own_cluster: EtcdCluster
    ) -> None:
        with etcd.connect(own_cluster.settings(), own_cluster.machines) as store:
            store.put("/a", "1")
            own_cluster.kill("air-01", "air-02")
            for call in (store.health, lambda: store.put("/a", "2"), lambda: put_if_absent(store, "/b", "")):
                with pytest.raises(EtcdError) as caught:
                    call()
                message = str(caught.value)
                assert message.startswith("etcd of cluster test does not answer: air-01 (127.0.8.1:")
                assert "air-02 (127.0.8.2:" in message
                assert message.endswith("see inv cluster.status")
                assert "\n" not in message
            statuses = store.statuses()
            assert (statuses["air-03"].reachable, statuses["air-03"].healthy) == (True, False)
            assert statuses["air-01"].reason == "Connection refused"
            assert [member.name for member in store.members() if member.healthy or member.leader] == []

    def test_all_gone(self, own_cluster: EtcdCluster) -> None:
        own_cluster.stop()
        with etcd.connect(own_cluster.settings(), own_cluster.machines) as store:
            with pytest.raises(EtcdError, match=r"air-01 .* air-02 .* air-03 .*Connection refused"):
                store.get("/a")
            assert not any(status.reachable for status in store.statuses().values())

    def test_the_only_member_that_refuses_is_asked_again_after_a_moment(self, tmp_path: Path) -> None:
        """And not at once, which would take a whole processor until it is there."""
        settings = EtcdCluster(tmp_path, tmp_path, timeout_seconds=1.0).settings()
        authority.ensure_ca(settings.secrets_path)
        asked = 0

        def ask(client: Any) -> None:
            nonlocal asked
            asked += 1
            client.status()

        alone = etcd.connect(settings, [Machine("air-01", "127.0.0.1")])
        with alone as store, pytest.raises(EtcdError, match=r"air-01 .*Connection refused"):
            store._call(ask)
        assert asked < 20

    def test_a_machine_that_never_answers_does_not_hang(self, tmp_path: Path) -> None:
        settings = EtcdCluster(tmp_path, tmp_path, timeout_seconds=1.0).settings()
        authority.ensure_ca(settings.secrets_path)
        machines = [Machine("air-01", "192.0.2.1"), Machine("air-02", "192.0.2.2")]
        with etcd.connect(settings, machines) as store, pytest.raises(EtcdError, match=r"air-01 .*; air-02 "):
            store.health()

    def test_another_clusters_ca_is_refused_in_one_line(self, cluster: EtcdCluster, tmp_path: Path) -> None:
        settings = cluster.settings().model_copy(update={"root": tmp_path})
        authority.ensure_ca(settings.secrets_path)
        with (
            etcd.connect(settings, cluster.machines) as store,
            pytest.raises(EtcdError, match="unable to get local issuer certificate") as caught,
        ):
            store.health()
        assert "\n" not in str(caught.value)

    def test_a_host_without_the_ca_is_told_so(self, cluster: EtcdCluster, tmp_path: Path) -> None:
        settings = cluster.settings().model_copy(update={"root": tmp_path})
        with pytest.raises(ConfigError, match="this host has no CA"), etcd.connect(settings, cluster.machines):
            pass
        assert not settings.secrets_path.exists()

    def test_what_etcd_refuses_is_not_tried_elsewhere(self, store: Etcd) -> None:
        with pytest.raises(EtcdError, match=r"etcd on air-0\d refused: key is not provided"):
            store.put("", "x")

    def test_grpc_writes_nothing_of_its_own(self, own_cluster: EtcdCluster) -> None:
        own_cluster.stop()
        program = f"""if True:
            from pathlib import Path
            from argosy import etcd
            from argosy.config.loading import load
            from argosy.errors import EtcdError
            from argosy.model import Machine
            section = {{"etcd": {{"client_port": {own_cluster.client_port}, "timeout_seconds": 1}}}}
            settings = load({{"clusters": {{"test": section}}}}, root=Path({str(own_cluster.folder)!r}))
            with etcd.connect(settings, [Machine("air-01", "127.0.8.1")]) as store:
                try:
                    store.health()
                except EtcdError:
                    print("told")
        """
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr, done.returncode) == ("told\n", "", 0)


class TestWatch:
    def test_each_revision_comes_once_whole_and_in_order(self, store: Etcd) -> None:
        first = store.put("/w/a", "1")
        store.transact([], [Put("/w/b", "2"), Delete("/w/a"), Put("/other", "x")])
        store.put("/w/a", "3")
        with store.watch("/w/", first) as changes:
            found = [next(changes) for _ in range(3)]
        assert [change.revision for change in found] == [first, first + 1, first + 2]
        shown = [[(str(event.kind), event.entry.key, event.entry.value) for event in change.events] for change in found]
        assert shown[0] == [("put", "/w/a", "1")]
        assert sorted(shown[1]) == [("delete", "/w/a", ""), ("put", "/w/b", "2")]
        assert shown[2] == [("put", "/w/a", "3")]

    def test_it_goes_on_over_the_loss_of_any_member_without_a_gap(self, own_cluster: EtcdCluster) -> None:
        own_cluster.timeout_seconds = 5
        seen: queue.Queue[Change] = queue.Queue()

        def follow(revision: int) -> None:
            with (
                etcd.connect(own_cluster.settings(), own_cluster.machines) as other,
                other.watch("/w/", revision) as changes,
            ):
                for change in changes:
                    seen.put(change)
                    if change.events[0].entry.value == "last":
                        return

        with etcd.connect(own_cluster.settings(), own_cluster.machines) as store:
            start = store.health() + 1
            thread = threading.Thread(target=follow, args=(start,), daemon=True)
            thread.start()
            written = []
            for machine in own_cluster.machines:
                own_cluster.kill(machine.name)
                written += [within(10, lambda: store.put("/w/a", "x")) for _ in range(20)]
                own_cluster.start(machine.name)
                own_cluster.wait_until_healthy()
            written.append(within(10, lambda: store.put("/w/a", "last")))
        thread.join(20)
        assert not thread.is_alive()
        revisions = [seen.get_nowait().revision for _ in range(seen.qsize())]
        assert revisions == sorted(set(revisions))
        assert set(written) <= set(revisions)

    def test_a_compacted_revision_says_to_list_anew(self, store: Etcd, cluster: EtcdCluster) -> None:
        store.put("/w/a", "1")
        last = store.put("/w/a", "2")
        cluster.ctl("compaction", str(last))
        with store.watch("/w/", 1) as changes, pytest.raises(EtcdError, match="list the keys anew"):
            next(changes)

    def test_without_any_member_it_ends_with_an_error(self, own_cluster: EtcdCluster) -> None:
        with etcd.connect(own_cluster.settings(), own_cluster.machines) as store, store.watch("/w/", 1) as changes:
            store.put("/w/a", "1")
            next(changes)
            own_cluster.stop()
            with pytest.raises(EtcdError, match="does not answer"):
                next(changes)


class TestBell:
    def test_it_rings_at_each_change_under_its_prefixes_and_at_no_other(self, store: Etcd) -> None:
        with store.hint("/b/", "/c/") as hint:
            for key in ("/b/1", "/c/1", "/c/1"):
                store.put(key, "x")
                assert hint.wait(10)
            store.delete("/b/", prefix=True)
            assert hint.wait(10)
            store.put("/other", "x")
            assert not hint.wait(0.3)

    def test_what_came_before_the_wait_is_not_missed(self, store: Etcd) -> None:
        with store.hint("/b/") as hint:
            store.put("/b/1", "x")
            until(hint._notified.is_set)
            assert hint.wait(10)
            assert not hint.wait(0.2)

    def test_it_is_rung_by_a_member_that_answers_and_silent_without_one(self, own_cluster: EtcdCluster) -> None:
        with etcd.connect(own_cluster.settings(), own_cluster.machines) as store:
            frozen = own_cluster.machines[0].name
            own_cluster.freeze(frozen)
            for _ in range(3):
                within(10, lambda: store.put("/b/1", "x"))
                with store.hint("/b/") as hint:
                    store.put("/b/1", "y")
                    assert hint.wait(10)
            own_cluster.thaw(frozen)
            own_cluster.stop()
            with store.hint("/b/") as hint:
                assert not hint.wait(0.2)


def within(seconds: float, function: object) -> int:
    """Call `function` until it raises no EtcdError: an election takes its time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return function()  # type: ignore[operator,no-any-return]
        except EtcdError:
            if time.monotonic() > deadline:
                raise
