"""What a rollout does to a machine: install, check, clean up; on a real etcd, with stand-ins for the machines."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from etcd_cluster import EtcdCluster
from rollout_lab import NEW, OLD, Lab

from argosy.cluster.lock import ClusterLock, held
from argosy.cluster.release import Release
from argosy.errors import CommandFailed, LockLost, Refused, Unhealthy
from argosy.etcd import Etcd
from argosy.schema import router_key

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration


@pytest.fixture
def lock(store: Etcd) -> Iterator[ClusterLock]:
    with held(store, "a test") as taken:
        yield taken


@pytest.fixture
def lab(cluster: EtcdCluster, store: Etcd, lock: ClusterLock) -> Lab:
    return Lab(cluster, store, lock)


class TestInstalling:
    def test_pulls_then_installs_and_follows(self, lab: Lab) -> None:
        lab.machines.prepare("air-01", NEW)
        lab.machines.install("air-01", NEW)
        assert lab.hosts["air-01"].asked == ["pull", "begin the install", "follow the install"]
        assert lab.hosts["air-01"].release == NEW
        assert "air-01: web: pulling 0.1.3" in lab.lines()

    def test_a_pull_that_fails_says_why(self, lab: Lab) -> None:
        lab.hosts["air-01"].pull = 1
        with pytest.raises(Refused, match=r"^air-01: no room$"):
            lab.machines.prepare("air-01", NEW)

    def test_a_machine_that_knows_another_holder_is_a_lost_lock(self, lab: Lab) -> None:
        lab.hosts["air-01"].codes["begin the install"] = 77
        with pytest.raises(LockLost, match="somebody else holds the cluster's lock"):
            lab.machines.install("air-01", NEW)

    def test_one_that_can_t_begin_says_why(self, lab: Lab) -> None:
        lab.hosts["air-01"].codes["begin the install"] = 75
        with pytest.raises(CommandFailed, match="air-01: the install could not be begun: no, thank you"):
            lab.machines.install("air-01", NEW)

    def test_an_install_that_fails_is_unhealthy(self, lab: Lab) -> None:
        lab.hosts["air-01"].state = "failed"
        with pytest.raises(Unhealthy, match=r"air-01: the install of release 0\.1\.3 failed: web: no"):
            lab.machines.install("air-01", NEW)

    def test_without_bytes_there_is_nothing_to_install(self, lab: Lab) -> None:
        with pytest.raises(Refused, match=r"which bytes release 0\.1\.2 is, is not known"):
            lab.machines.install("air-01", Release("0.1.2"))


class TestChecking:
    def test_a_machine_that_is_well_passes(self, lab: Lab) -> None:
        lab.hosts["air-01"].release = NEW
        lab.store.put(router_key("air-01"), "1")
        lab.machines.check("air-01", NEW)
        checks = [line for line in lab.lines() if line.startswith("air-01")]
        assert checks == [f"air-01: {check}: passes" for check in ("host", "release", "web", "etcd", "router")]

    def test_what_does_not_pass_in_time_is_named(self, lab: Lab) -> None:
        lab.hosts["air-01"].web["check"] = "failing"
        lab.hosts["air-01"].web["reason"] = "answers 500"
        with pytest.raises(Unhealthy) as failed:
            lab.machines.check("air-01", NEW)
        assert "release: it runs 0.1.2" in str(failed.value)
        assert "web: its check fails: answers 500" in str(failed.value)
        assert "router: its agent does not tell" in str(failed.value)
        assert len([line for line in lab.lines() if "answers 500" in line]) == 1

    def test_other_bytes_than_the_release_s_do_not_pass(self, lab: Lab) -> None:
        lab.hosts["air-01"].web["digest"] = f"sha256:{2:064x}"
        with pytest.raises(Unhealthy, match="not what the release has"):
            lab.machines.check("air-01", OLD)

    def test_a_machine_that_comes_back_in_time_passes(self, lab: Lab) -> None:
        lab.hosts["air-01"].up = False
        lab.store.put(router_key("air-01"), "1")
        threading.Timer(0.3, lambda: setattr(lab.hosts["air-01"], "up", True)).start()
        lab.machines.check("air-01", OLD)
        assert "air-01: host: no ssh connection" in lab.lines()


class TestCleaningUp:
    def test_keeps_what_both_releases_need(self, lab: Lab) -> None:
        lab.machines.clean_up("air-01", [NEW, OLD, Release("0.1.0")])
        assert lab.hosts["air-01"].asked == ["remove old images"]
        assert "air-01: 2 old images removed" in lab.lines()


def test_to_cancel_ends_what_runs(lab: Lab) -> None:
    lab.machines.cancel()
    assert lab.hosts.cancelled
