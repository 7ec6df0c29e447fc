"""The way to a Swarm whose managers come and go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from swarm_lab import SwarmLab, requires_swarm_lab, swarm_lab
from waiting import until

from argosy.config.loading import Settings
from argosy.errors import HostUnreachable, Refused
from argosy.ssh.host import Hosts
from argosy.swarm.managing import managing

pytestmark = [pytest.mark.integration, pytest.mark.slow(2), requires_swarm_lab]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[SwarmLab]:
    with swarm_lab(3) as made:
        made.lead(monkeypatch)
        yield made


def refusal(settings: Settings, hosts: Hosts) -> str:
    """Return why nobody manages the Swarm; nothing when somebody does."""
    try:
        with managing(settings, hosts, wait_seconds=0):
            return ""
    except Refused as error:
        return str(error)


def test_while_a_quorum_is_there_somebody_answers_and_without_one_it_says_what_to_do(lab: SwarmLab) -> None:
    settings = lab.settings(ssh={"user": "root", "key": str(lab.folder / "ssh" / "key"), "connect_attempts": 1})
    with Hosts(settings, lab.machines()) as hosts:
        with (
            pytest.raises(Refused, match=r"no machine is in a Swarm: inv cluster.swarm --ensure"),
            managing(settings, hosts),
        ):
            pass
        lab.form(managers=3)
        with managing(settings, hosts) as swarm:
            assert len(swarm.nodes()) == 3
            leader = next(node.hostname for node in swarm.nodes() if node.leader)
            assert swarm.where == leader == "air-01"
            lab.power_off("air-01")
            assert {node.hostname for node in swarm.nodes()} == {"air-01", "air-02", "air-03"}
            assert swarm.where != "air-01"
            node = next(node for node in swarm.nodes() if node.hostname == "air-03")
            assert swarm.update_node(node, labels={"a": "b"}).labels == {"a": "b"}
        survivor = next(name for name in ("air-02", "air-03") if name != swarm.where)
        lab.power_off(swarm.where)
        # If the survivor led, it takes it a while to see that it is alone.
        until(lambda: "the Swarm has no quorum of its managers" in refusal(settings, hosts), 60, every=0.5)
        lab.power_off(survivor)
        with pytest.raises(HostUnreachable), managing(settings, hosts):
            pass


def test_workers_alone_lead_nowhere(lab: SwarmLab) -> None:
    lab.form(managers=1)
    lab.power_off("air-01")
    settings = lab.settings(ssh={"user": "root", "key": str(lab.folder / "ssh" / "key"), "connect_attempts": 1})
    with Hosts(settings, lab.machines()) as hosts:
        with (
            pytest.raises(Refused, match="no manager of the Swarm is there; air-01 can't be asked"),
            managing(settings, hosts),
        ):
            pass
        off = lab.settings(swarm={"enabled": False})
        with pytest.raises(Refused, match=r"swarm\.enabled is false"), managing(off, hosts):
            pass
