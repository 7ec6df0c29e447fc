"""Which releases machines run, asked of a real etcd before anything is pruned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from etcd_cluster import EtcdCluster

from argosy import etcd, inventory
from argosy.errors import Refused
from argosy.images.versions import ReleaseInUse
from argosy.services.in_use import digests_in_use, releases_in_use

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(cluster: EtcdCluster) -> EtcdCluster:
    """The shared etcd, whose machines the project remembers."""
    inventory.remember(cluster.settings(), cluster.machines)
    return cluster


def put(cluster: EtcdCluster, machine: str, value: str) -> None:
    with etcd.connect(cluster.settings(), cluster.machines) as store:
        store.put(f"/machines/{machine}", value)


def test_are_those_that_the_machines_keys_name(cluster: EtcdCluster) -> None:
    put(cluster, "air-01", '{"release": "0.1.3", "state": "active"}')
    put(cluster, "air-02", '{"release": "0.1.4", "state": "draining"}')
    put(cluster, "air-03", '{"state": "active"}')
    assert releases_in_use([cluster.settings()]) == {ReleaseInUse("0.1.3", "test"), ReleaseInUse("0.1.4", "test")}


def test_a_key_that_can_t_be_read_stops_the_pruning(cluster: EtcdCluster) -> None:
    put(cluster, "air-04", "not json")
    with pytest.raises(Refused, match=r"/machines/air-04: it doesn't say in JSON which release"):
        releases_in_use([cluster.settings()])


def test_of_a_cluster_whose_machines_this_host_never_knew_are_not_none(cluster: EtcdCluster) -> None:
    elsewhere = cluster.settings().model_copy(update={"cluster": "production"})
    assert releases_in_use([elsewhere]) == set()
    with pytest.raises(Refused, match="production: this host has never known its machines"):
        releases_in_use([elsewhere], wherever=True)
    assert releases_in_use([elsewhere], "none", wherever=True) == set()
    inventory.save(elsewhere, [])
    assert releases_in_use([elsewhere], wherever=True) == set()


def test_told_ones_are_not_asked_for(cluster: EtcdCluster) -> None:
    put(cluster, "air-04", "not json")
    assert releases_in_use([cluster.settings()], "0.1.9") == {ReleaseInUse("0.1.9")}


RECORD = {
    "name": "web",
    "generation": 2,
    "replicas": 1,
    "definition": {"image": "web"},
    "image": {"reference": "10.0.0.5:5000/air/web@sha256:b", "version": "0.1.1"},
    "previous": {
        "generation": 1,
        "definition": {"image": "web"},
        "image": {"reference": "10.0.0.5:5000/air/web@sha256:a", "version": "0.1.0"},
    },
    "since": "2026-01-31T12:00:00Z",
    "by": "alice@build-1",
}


def test_what_scheduled_services_run_and_would_go_back_to_is_in_use(cluster: EtcdCluster) -> None:
    told: list[str] = []
    with etcd.connect(cluster.settings(), cluster.machines) as store:
        store.put("/cluster/scheduled/web", json.dumps(RECORD))
        try:
            assert digests_in_use([cluster.settings()], lambda *words: told.extend(words)) == {"sha256:a", "sha256:b"}
            store.put("/cluster/scheduled/bad", "not json")
            with pytest.raises(Refused, match=r"test: what its scheduled services run can't be told"):
                digests_in_use([cluster.settings()], lambda *words: told.extend(words))
            assert told == []
            assert digests_in_use([cluster.settings()], lambda *words: told.extend(words), "0.1.9") == set()
            assert "may be pruned" in told[1]
        finally:
            store.delete("/cluster/scheduled/web")
            store.delete("/cluster/scheduled/bad")


def test_a_cluster_without_machines_runs_none(cluster: EtcdCluster, tmp_path: Path) -> None:
    assert releases_in_use([EtcdCluster(tmp_path, cluster.programs, size=1).settings()]) == set()


def test_without_an_answer_nothing_is_pruned(cluster: EtcdCluster) -> None:
    cluster.stop()
    with pytest.raises(Refused, match=r"test: which releases its machines run can't be asked .*--in-use 0.1.3"):
        releases_in_use([cluster.settings()])
