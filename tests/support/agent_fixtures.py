"""Fixtures of a machine whose router and agent run, for test files that say `pytest_plugins = ["agent_fixtures"]`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from agent_machine import AgentMachine, agent_machine
from etcd_cluster import EtcdCluster
from router_backends import HttpBackend

from argosy.etcd import Etcd


@pytest.fixture
def routed(cluster: EtcdCluster, store: Etcd) -> Iterator[AgentMachine]:
    """A machine whose router and agent run."""
    with agent_machine(cluster) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def one() -> Iterator[HttpBackend]:
    made = HttpBackend("one")
    yield made
    made.close()


@pytest.fixture(scope="module")
def two() -> Iterator[HttpBackend]:
    made = HttpBackend("two")
    yield made
    made.close()


@pytest.fixture
def machine(routed: AgentMachine) -> AgentMachine:
    """The same; a file that is collected after one with another plugin's `machine` says `routed`."""
    return routed
