"""Fixtures of a machine's registrar, for test files that say `pytest_plugins = ["registrar_fixtures"]`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from etcd_cluster import EtcdCluster
from registrar_machine import Containers, Machine, containers_of

from argosy import etcd
from argosy.etcd import Etcd


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"test-registrar-{os.getpid()}-{abs(hash(request.node.name)) % 10000}"


@pytest.fixture
def containers(prefix: str) -> Iterator[Containers]:
    with containers_of(prefix) as made:
        yield made


@pytest.fixture
def machines(cluster: EtcdCluster, store: Etcd, prefix: str, tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    made: list[Machine] = []

    def make(**options: Any) -> Machine:
        made.append(Machine(tmp_path, store, lease_store, prefix, **options))
        made[-1].start()
        return made[-1]

    with etcd.connect(cluster.settings(), cluster.machines) as lease_store:
        yield make
        for machine in made:
            machine.stop()


@pytest.fixture
def machine(machines: Callable[..., Machine]) -> Machine:
    return machines()
