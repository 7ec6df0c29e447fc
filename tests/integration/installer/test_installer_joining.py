"""A newcomer's own promotion, against real etcd of two versions."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from etcd_cluster import EtcdCluster, etcd_cluster

from argosy import etcd as library
from argosy.model import Machine
from argosy.pki import authority
from argosy_installer.errors import TryAgain
from argosy_installer.etcd import Etcd, mutual_tls
from argosy_installer.joining import promote_own_learner

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration

NEWCOMER = Machine("air-09", "127.0.8.9")


@pytest.fixture
def cluster(programs_of_each: Path, tmp_path: Path) -> Iterator[EtcdCluster]:
    with etcd_cluster(tmp_path, programs_of_each, size=1) as made:
        yield made


def tls(cluster: EtcdCluster) -> ssl.SSLContext:
    path = cluster.settings().secrets_path
    pair = authority.ensure_machine_certificates(path, NEWCOMER)["etcd-client"]
    return mutual_tls(authority.authority_path(path), pair.certificate, pair.key)


def client(cluster: EtcdCluster, said: list[str], *machines: Machine, seconds: float = 30) -> Etcd:
    urls = [f"https://{machine.address}:{cluster.client_port}" for machine in machines]
    return Etcd(urls, tls(cluster), time.monotonic() + seconds, said.append)


def promote(cluster: EtcdCluster, machine: Machine = NEWCOMER, seconds: float = 30) -> list[str]:
    """Do what the installer on `machine` does, and return what it said."""
    said: list[str] = []
    own, others = client(cluster, said, machine, seconds=seconds), client(cluster, said, *cluster.machines)
    promote_own_learner(own, others, said.append)
    return said


def learners(cluster: EtcdCluster) -> list[str]:
    with library.connect(cluster.settings(), cluster.machines) as store:
        return [member.name for member in store.members() if member.learner]


def test_a_newcomer_waits_for_its_etcd_and_promotes_itself_once(cluster: EtcdCluster) -> None:
    cluster.add_learner(NEWCOMER)
    with ThreadPoolExecutor(1) as pool:
        promoting = pool.submit(promote, cluster)
        threading.Event().wait(0.3)
        assert not promoting.done()
        cluster.start(NEWCOMER.name, initial=[*cluster.machines, NEWCOMER], state="existing")
        said = promoting.result(30)
    assert said == ["etcd: a learner, to be promoted when it has caught up", "etcd: promoted to a voting member"]
    assert learners(cluster) == []
    assert promote(cluster) == []


def test_a_member_of_a_new_cluster_has_nothing_to_do(cluster: EtcdCluster) -> None:
    assert promote(cluster, cluster.machines[0]) == []


def test_a_learner_that_can_t_be_promoted_is_told_why(cluster: EtcdCluster) -> None:
    cluster.add_learner(NEWCOMER)
    cluster.start(NEWCOMER.name, initial=[*cluster.machines, NEWCOMER], state="existing")
    with library.connect(cluster.settings(), [*cluster.machines, NEWCOMER]) as store:
        deadline = time.monotonic() + 20
        while not store.statuses()[NEWCOMER.name].reachable:
            assert time.monotonic() < deadline
    cluster.kill("air-01")
    with pytest.raises(TryAgain, match=r"https://127\.0\.8\.1:\d+: .*refused"):
        promote(cluster, seconds=1)
