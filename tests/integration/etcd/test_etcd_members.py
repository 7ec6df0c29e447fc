"""Changing the members of real etcd clusters of two versions, and taking what they hold along."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tenacity
from etcd_cluster import EtcdCluster, etcd_cluster

from argosy import etcd
from argosy.errors import ConfigError, EtcdError
from argosy.etcd import Etcd, snapshots
from argosy.etcd.statuses import Endpoint
from argosy.model import Machine, Member

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration

NEWCOMER = Machine("air-09", "127.0.8.9")
NOBODY = "127.0.8.77"


@pytest.fixture(scope="module")
def programs(programs_of_each: Path) -> Path:
    return programs_of_each


@contextmanager
def connected(cluster: EtcdCluster, *machines: Machine) -> Iterator[Etcd]:
    with etcd.connect(cluster.settings(), machines or cluster.machines) as store:
        yield store


def peer_url(cluster: EtcdCluster, address: str) -> str:
    return f"https://{address}:{cluster.peer_port}"


def found(store: Etcd, name: str) -> Member:
    return next(member for member in store.members() if member.name == name)


def test_a_member_joins_as_a_learner_is_promoted_leads_and_goes(programs: Path, tmp_path: Path) -> None:
    with etcd_cluster(tmp_path, programs, 1) as cluster, connected(cluster) as store:
        store.put("/kept", "yes")
        url = peer_url(cluster, NEWCOMER.address)
        # A cluster in its first seconds refuses: that is waited for.
        added = store.member_add([url])
        assert store.member_add([url]) == added
        assert [
            (member.id, member.learner, member.name) for member in store.members() if member.peer_urls == (url,)
        ] == [(added, True, "")]
        with pytest.raises(EtcdError, match=r"refused to add https://127\.0\.8\.77:\d+: too many learner members"):
            store.member_add([peer_url(cluster, NOBODY)])

        cluster.start(NEWCOMER.name, initial=[*cluster.machines, NEWCOMER], state="existing")
        cluster.promote(added)
        both = [*cluster.machines, NEWCOMER]
        with connected(cluster, *both) as wider:
            assert [(member.name, member.learner, member.healthy) for member in wider.members()] == [
                ("air-01", False, True),
                ("air-09", False, True),
            ]
            wider.move_leader(added)
            wider.move_leader(added)
            assert found(wider, "air-09").leader
            # The leader itself is taken out, and the rest goes on.
            first = found(wider, "air-01").id
            wider.member_remove(added)
            wider.member_remove(added)
            assert [member.id for member in wider.members()] == [first]
        assert store.get("/kept").value == "yes"  # type: ignore[union-attr]


def test_a_client_goes_on_with_members_that_joined_when_those_that_it_knew_are_gone(
    programs: Path, tmp_path: Path
) -> None:
    with etcd_cluster(tmp_path, programs, 1) as cluster, connected(cluster) as store:
        store.put("/kept", "yes")
        added = store.member_add([peer_url(cluster, NEWCOMER.address)])
        cluster.start(NEWCOMER.name, initial=[*cluster.machines, NEWCOMER], state="existing")
        cluster.promote(added)
        joined = Endpoint(NEWCOMER.name, NEWCOMER.address, NEWCOMER.address, cluster.client_port)
        store.extend([joined])
        store.extend([joined])
        store.move_leader(added)
        store.member_remove(found(store, "air-01").id)
        cluster.kill("air-01")
        within_quorum(store, lambda: None)
        assert store.get("/kept").value == "yes"  # type: ignore[union-attr]
        assert [member.name for member in store.members()] == ["air-09"]


def test_a_dead_member_is_removed_and_one_that_quorum_needs_is_not(programs: Path, tmp_path: Path) -> None:
    with etcd_cluster(tmp_path, programs, 3) as cluster, connected(cluster) as store:
        ids = {member.name: member.id for member in store.members()}
        cluster.kill("air-03")
        # etcd counts a member as there for some seconds; then it refuses what would cost the quorum.
        with pytest.raises(EtcdError, match=r"did not remove \w+ within 1 s \(.*unhealthy cluster"):
            within_quorum(store, lambda: store.member_remove(ids["air-02"], seconds=1))
        with pytest.raises(EtcdError, match=r"did not add .*unhealthy cluster"):
            store.member_add([peer_url(cluster, NEWCOMER.address)], seconds=1)
        store.member_remove(ids["air-03"])
        assert [member.name for member in store.members()] == ["air-01", "air-02"]


def within_quorum(store: Etcd, function: object) -> None:
    """Call `function` when the cluster has a leader again."""
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(EtcdError), stop=tenacity.stop_after_delay(10), reraise=True
    ):
        with attempt:
            store.health()
    function()  # type: ignore[operator]


def test_a_learner_that_never_came_is_taken_back(programs: Path, tmp_path: Path) -> None:
    with etcd_cluster(tmp_path, programs, 1) as cluster, connected(cluster) as store:
        added = store.member_add([peer_url(cluster, NOBODY)])
        store.member_remove(added)
        assert [member.name for member in store.members()] == ["air-01"]


def test_without_a_quorum_no_member_changes_and_it_is_said_in_time(programs: Path, tmp_path: Path) -> None:
    with etcd_cluster(tmp_path, programs, 2) as cluster, connected(cluster) as store:
        ids = {member.name: member.id for member in store.members()}
        cluster.kill("air-02")
        for change in (
            lambda: store.member_add([peer_url(cluster, NOBODY)], seconds=1),
            lambda: store.member_remove(ids["air-02"], seconds=1),
            lambda: store.move_leader(ids["air-01"], seconds=1),
        ):
            with pytest.raises(EtcdError, match=r"^etcd of cluster test did not .* within 1 s \(air-01: .*air-02: "):
                change()


class TestSnapshots:
    @pytest.fixture
    def cluster(self, programs: Path, tmp_path: Path) -> Iterator[EtcdCluster]:
        with etcd_cluster(tmp_path, programs, 2) as made:
            yield made

    def test_it_is_whole_private_and_what_etcdctl_takes(
        self, cluster: EtcdCluster, programs: Path, tmp_path: Path
    ) -> None:
        with connected(cluster) as store:
            for number in range(50):
                last = store.put(f"/n/{number}", "x" * 10_000)
            path = tmp_path / "new" / "backup.db"
            made = store.snapshot(path)
        assert made.revision >= last
        assert made.member in ("air-01", "air-02")
        assert path.stat().st_mode & 0o777 == 0o600
        assert [it.name for it in path.parent.iterdir()] == ["backup.db"]
        assert snapshots.verify(path).sha256 == made.sha256
        told = subprocess.run(
            [programs / "etcdctl", "snapshot", "status", path],
            env={"ETCDCTL_API": "3"},
            check=True,
            capture_output=True,
            text=True,
        )
        # hash, revision, total keys, total size
        assert int(told.stdout.split(",")[1]) >= last

    def test_a_lost_quorum_does_not_keep_the_data_from_us(self, cluster: EtcdCluster, tmp_path: Path) -> None:
        with connected(cluster) as store:
            revision = store.put("/a", "1")
            cluster.kill("air-02")
            made = store.snapshot(tmp_path / "backup.db")
            assert (made.member, made.revision) == ("air-01", revision)
            cluster.stop()
            before = made.path.read_bytes()
            with pytest.raises(EtcdError, match="does not answer: air-01 "):
                store.snapshot(made.path)
            assert made.path.read_bytes() == before

    def test_damage_is_found(self, cluster: EtcdCluster, tmp_path: Path) -> None:
        with connected(cluster) as store:
            path = store.snapshot(tmp_path / "backup.db").path
        whole = path.read_bytes()
        for content, reason in (
            (whole[:-1], "not the whole of one"),
            (whole[:-512], "does not have the SHA-256"),
            (whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:], "does not have the SHA-256"),
            (b"x" * 512 + bytes(32), "does not begin as a database does"),
            (b"", "not the whole of one"),
        ):
            path.write_bytes(content)
            with pytest.raises(ConfigError, match=reason):
                snapshots.verify(path)
        with pytest.raises(ConfigError, match="can't be read: No such file"):
            snapshots.verify(tmp_path / "none")

    def test_a_stream_that_breaks_off_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(EtcdError, match="no whole snapshot"):
            snapshots.write(tmp_path / "backup.db", iter([b"half"]))
        assert list(tmp_path.iterdir()) == []
