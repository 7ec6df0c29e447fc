"""An agent's clients keep to the members that there are, while these are replaced one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from etcd_cluster import EtcdCluster, etcd_cluster
from waiting import until

from argosy import etcd
from argosy.agent.members import MemberFollower
from argosy.agent.mirror import Mirror
from argosy.errors import EtcdError
from argosy.etcd import Etcd
from argosy.model import Machine

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration

NEWCOMER = Machine("air-09", "127.0.8.9")


@pytest.fixture
def cluster(programs_of_each: Path, tmp_path: Path) -> Iterator[EtcdCluster]:
    with etcd_cluster(tmp_path, programs_of_each, size=1) as made:
        yield made


def join(cluster: EtcdCluster, store: Etcd) -> None:
    """Let the newcomer become a voter, as its installer does, and register."""
    added = store.member_add([f"https://{NEWCOMER.address}:{cluster.peer_port}"])
    cluster.start(NEWCOMER.name, initial=[*cluster.machines, NEWCOMER], state="existing")
    cluster.promote(added)
    store.put(f"/machines/{NEWCOMER.name}", "{}")


def answers(store: Etcd) -> bool:
    try:
        return store.health() > 0
    except EtcdError:
        return False


def test_the_first_member_goes_and_the_agent_goes_on_with_the_second(cluster: EtcdCluster) -> None:
    with etcd.connect(cluster.settings(), cluster.machines) as operator:
        operator.put("/machines/air-01", "{}")
        with (
            etcd.connect(cluster.settings(), cluster.machines) as other,
            etcd.connect(cluster.settings(), cluster.machines) as followed,
        ):
            follower = MemberFollower(retry_seconds=0.1)
            mirror = Mirror(follower.keep(followed), retry_seconds=0.1)
            follower.keep(other)
            follower.follow(mirror)
            follower.start()
            mirror.start()
            try:
                until(lambda: mirror.connected)
                join(cluster, operator)
                until(lambda: other.names == followed.names == ["air-01", "air-09"])
                # The operator's client knows the first one only, so it does the last of this now.
                first = next(member.id for member in operator.members() if member.name == "air-01")
                followed.move_leader(next(member.id for member in operator.members() if member.name == "air-09"))
                operator.delete("/machines/air-01")
                followed.member_remove(first)
                cluster.kill("air-01")
                until(lambda: answers(other) and answers(followed), 20)
                followed.put("/machines/air-09", '{"address": "127.0.8.9"}')
                until(lambda: other.names == followed.names == ["air-09"], 20)
                other.put("/seen", "yes")
                until(lambda: "/seen" in mirror.snapshot()[1], 20)
                assert mirror.connected
            finally:
                mirror.stop()
                follower.stop()


def test_members_that_are_the_same_are_no_news(cluster: EtcdCluster) -> None:
    with etcd.connect(cluster.settings(), cluster.machines) as store:
        assert not store.follow_members()
        store.member_add([f"https://{NEWCOMER.address}:{cluster.peer_port}"])
        assert not store.follow_members()
        assert store.names == ["air-01"]
        cluster.stop()
        with pytest.raises(EtcdError, match="does not answer"):
            store.follow_members()
        assert store.names == ["air-01"]
