"""Alarms of real etcds of two versions: reads go on, writes are refused, and everybody says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from etcd_cluster import EtcdCluster

from argosy import etcd
from argosy.agent.alarms import AlarmFollower
from argosy.errors import EtcdError
from argosy.etcd import Etcd, rpc
from argosy.etcd.alarms import CORRUPT, NOSPACE, Alarm

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def programs(programs_of_each: Path) -> Path:
    return programs_of_each


def activate(store: Etcd, kind: int) -> None:
    member = int(store.members()[0].id, 16)
    request = rpc.etcdrpc.AlarmRequest(action=rpc.etcdrpc.AlarmRequest.ACTIVATE, memberID=member, alarm=kind)
    store._call(lambda client: rpc.etcdrpc.MaintenanceStub(client.channel).Alarm(request, 5))


@pytest.mark.parametrize(("number", "kind"), [(1, NOSPACE), (2, CORRUPT)])
def test_an_alarm_is_told_until_it_is_disarmed(cluster: EtcdCluster, store: Etcd, number: int, kind: str) -> None:
    follower = AlarmFollower(store)
    follower.look()
    assert (store.alarms(), follower.trouble.reason) == ([], "")
    try:
        activate(store, number)
        assert store.statuses()["air-01"].healthy
        with pytest.raises(EtcdError):
            store.put("/machines/air-01", "{}")
        assert store.alarms() == [Alarm("air-01", kind)]
        follower.look()
        assert follower.trouble.reason == Alarm("air-01", kind).reason
    finally:
        cluster.ctl("alarm", "disarm")
    assert store.alarms() == []
    follower.look()
    assert follower.trouble.reason == ""


def test_who_does_not_answer_has_not_said_that_there_is_none(own_cluster: EtcdCluster) -> None:
    with etcd.connect(own_cluster.settings(), own_cluster.machines) as store:
        activate(store, 1)
        follower = AlarmFollower(store)
        follower.look()
        own_cluster.kill("air-01", "air-02")
        with pytest.raises(EtcdError, match="does not answer"):
            store.alarms()
        follower.look()
        assert "NOSPACE" in follower.trouble.reason
