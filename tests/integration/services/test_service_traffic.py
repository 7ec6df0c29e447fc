"""Runs traffic_tests.py in a process that has a network of its own, as its labs need it."""

from __future__ import annotations

from pathlib import Path

import pytest
from haproxy_server import requires_haproxy
from service_traffic import in_own_network
from swarm_lab import requires_swarm_lab

pytestmark = [pytest.mark.integration, pytest.mark.slow, requires_swarm_lab, requires_haproxy, pytest.mark.timeout(300)]


def test_requests_to_scheduled_services() -> None:
    done = in_own_network(Path(__file__).parents[2] / "support" / "traffic_tests.py")
    assert done.returncode == 0, done.stdout
