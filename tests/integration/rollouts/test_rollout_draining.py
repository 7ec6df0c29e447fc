"""How a rollout takes machines out of service and puts them back, on a real etcd, with stand-ins for the machines."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import cast

import pytest
from etcd_cluster import EtcdCluster
from rollout_lab import CONNECTIONS, FACTS, NAMES, NEW, OLD, Lab, put_state, routers, state_of
from waiting import until

from argosy.cluster import lock as cluster_lock
from argosy.cluster.lock import ClusterLock, held
from argosy.errors import LockLost, Unhealthy
from argosy.etcd import Etcd
from argosy.schema import instance_key, machine_key, router_key
from argosy.ssh.host import Host

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration


@pytest.fixture
def lock(store: Etcd) -> Iterator[ClusterLock]:
    with held(store, "a test") as taken:
        yield taken


@pytest.fixture
def lab(cluster: EtcdCluster, store: Etcd, lock: ClusterLock) -> Lab:
    return Lab(cluster, store, lock)


class TestDraining:
    def test_waits_until_every_router_knows_and_no_connection_is_left(self, lab: Lab) -> None:
        with routers(lab.store, *NAMES, "balancer"):
            lab.machines.drain("air-02")
        assert state_of(lab.store, "air-02") == "draining"
        asked = lab.hosts["air-02"].asked
        assert sorted(asked) == ["hold the machine's own updates", CONNECTIONS]
        lab.machines.drain("air-02")
        assert state_of(lab.store, "air-02") == "draining"

    def test_says_what_is_cut_and_what_it_could_not_find_out(self, lab: Lab) -> None:
        lab.hosts["air-02"].connections = '{"connections": 3}'
        lab.hosts["air-03"].connections = "there is nothing of this name\n"
        with routers(lab.store, *NAMES):
            lab.machines.drain("air-02")
            lab.machines.drain("air-03")
        assert "air-02: 3 connections are still open after 1 s: they will be cut" in lab.lines()
        assert any("does not tell its connections (there is nothing of this name)" in line for line in lab.lines())

    def test_puts_back_a_machine_when_a_router_does_not_follow(self, lab: Lab) -> None:
        lab.store.put(router_key("air-03"), "1")
        with pytest.raises(Exception, match="not applied in the time given by the router of air-03"):
            lab.machines.drain("air-02")
        assert state_of(lab.store, "air-02") == "active"
        assert lab.hosts["air-02"].asked == []
        put_state(lab.store, "air-02", "draining")
        with pytest.raises(Exception, match="not applied"):
            lab.machines.drain("air-02")
        assert state_of(lab.store, "air-02") == "draining"

    def test_what_no_other_machine_runs_stays_registered(
        self, cluster: EtcdCluster, store: Etcd, lock: ClusterLock
    ) -> None:
        services = {"db": {"image": "db", "machines": ["air-02"]}, "web": {"image": "db"}}
        lab = Lab(cluster, store, lock, images={"db": {"context": "db"}}, services=services)
        database = instance_key("db", "air-02:air-db")
        store.put(database, "10.0.0.2:5432", store.grant(60))
        with routers(lab.store, *NAMES):
            lab.machines.drain("air-02")
            lab.machines.drain("air-01")
        drained = store.get(machine_key("air-02"))
        assert drained is not None
        assert json.loads(drained.value)["staying"] == ["db"]
        assert state_of(store, "air-01") == "draining"
        assert "staying" not in (store.get(machine_key("air-01")) or drained).value
        lab.machines._draining.put_back(cast(Host, lab.hosts["air-02"]))
        back = store.get(machine_key("air-02"))
        assert back is not None
        assert (state_of(store, "air-02"), "staying" in back.value) == ("active", False)
        assert store.get(database) is not None

    def test_leaves_the_only_one_in_service(self, lab: Lab) -> None:
        put_state(lab.store, "air-01", "draining")
        put_state(lab.store, "air-03", "down")
        lab.machines.drain("air-02")
        assert state_of(lab.store, "air-02") == "active"
        assert any("no other machine is in service" in line for line in lab.lines())

    def test_whoever_lost_the_lock_changes_nothing(self, lab: Lab) -> None:
        cluster_lock.break_(lab.store)
        with pytest.raises(LockLost):
            lab.machines.drain("air-02")
        with pytest.raises(LockLost):
            lab.machines.undrain("air-02")
        assert state_of(lab.store, "air-02") == "active"
        assert "hold the machine's own updates" not in lab.hosts["air-02"].asked
        with pytest.raises(LockLost):
            lab.machines.prepare("air-02", NEW)
        with pytest.raises(LockLost):
            lab.machines.install("air-02", NEW)
        assert "begin the install" not in lab.hosts["air-02"].asked

    def test_the_only_other_one_has_to_be_known_to_be_back_first(
        self, cluster: EtcdCluster, store: Etcd, lock: ClusterLock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab, pauses = Lab(cluster, store, lock, check_seconds=5), list[float]()
        put_state(store, "air-01", "draining")
        store.put(instance_key("web", "air-01:air-web"), "10.0.0.1:80")
        with routers(store, *NAMES, "balancer"):
            until(lambda: store.get(router_key("balancer")))
            lab.machines.undrain("air-01")
            monkeypatch.setattr(ClusterLock, "pause", lambda _lock, seconds: pauses.append(seconds))
            lab.machines.drain("air-02")
            put_state(store, "air-02", "down")
            lab.machines.drain("air-03")
        known, only = pauses
        assert known == 0
        assert 0 < only <= 10


class TestUndraining:
    def test_what_the_check_was_told_is_not_asked_again(self, lab: Lab) -> None:
        put_state(lab.store, "air-01", "draining")
        lab.hosts["air-01"].release = NEW
        lab.store.put(instance_key("web", "air-01:air-web"), "10.0.0.1:80")
        with routers(lab.store, *NAMES):
            until(lambda: lab.store.get(router_key("air-01")))
            lab.machines.check("air-01", NEW)
            asked = lab.hosts["air-01"].asked
            asked.clear()
            lab.machines.undrain("air-01")
            assert asked == ["let the machine update itself"]
            lab.machines.undrain("air-01")
        assert FACTS in asked

    def test_a_machine_whose_instances_do_not_come_is_asked_once_more(
        self, cluster: EtcdCluster, store: Etcd, lock: ClusterLock
    ) -> None:
        lab = Lab(cluster, store, lock, rollout={"check_seconds": 10})
        put_state(store, "air-01", "draining")
        with routers(store, *NAMES):
            until(lambda: store.get(router_key("air-01")))
            lab.machines.check("air-01", OLD)
            lab.hosts["air-01"].container = "air-web-2"
            store.put(instance_key("web", "air-01:air-web-2"), "10.0.0.1:80")
            lab.machines.undrain("air-01")
        assert "air-01: instance web: not registered" in lab.lines()
        assert lab.lines()[-1] == "air-01: instance web: passes"

    def test_waits_until_its_instances_are_known_everywhere(self, lab: Lab) -> None:
        put_state(lab.store, "air-01", "draining")
        key = instance_key("web", "air-01:air-web")
        threading.Timer(0.3, lambda: lab.store.put(key, "10.0.0.1:80")).start()
        with routers(lab.store, *NAMES):
            lab.machines.undrain("air-01")
        assert state_of(lab.store, "air-01") == "active"
        assert lab.hosts["air-01"].asked[0] == "let the machine update itself"
        assert "air-01: instance web: not registered" in lab.lines()
        assert "air-01: instance web: passes" in lab.lines()

    def test_instances_that_never_come_fail(self, lab: Lab) -> None:
        with routers(lab.store, *NAMES), pytest.raises(Unhealthy, match="instance web: not registered"):
            lab.machines.undrain("air-01")
