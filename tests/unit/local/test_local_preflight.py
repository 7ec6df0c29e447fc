from __future__ import annotations

from typing import Any

import pytest
from raised import raises

from argosy.config.loading import Settings, load
from argosy.errors import ConfigError, Refused
from argosy.local.addressing import machines_wanted
from argosy.local.facts import HostFacts, parse_routes
from argosy.local.makers.base import ABSENT, RUNNING, STOPPED
from argosy.local.makers.container import EngineFacts
from argosy.local.preflight import (
    GIGABYTE,
    refuse_full_disk,
    refuse_lost_machines,
    refuse_other_count,
    refuse_other_provider,
    refuse_unfit_host,
)
from argosy.machine.install_progress import State

OWN = "argosy-here-machines"


def settings(**section: Any) -> Settings:
    return load({"clusters": {"here": {"provider": "vagrant", **section}}})


def facts(**changes: Any) -> HostFacts:
    known: dict[str, Any] = {
        "engine": EngineFacts(),
        "network": OWN,
        "networks": {"bridge": ["172.17.0.0/16"]},
        "routes": ["10.0.0.0/8"],
        "taken": [],
    }
    return HostFacts(**{**known, **changes})


def test_a_cluster_of_machines_that_are_there_already_is_not_for_local_tasks() -> None:
    with raises(ConfigError, path="clusters.here.provider") as caught:
        refuse_other_provider(load({"clusters": {"here": {}}}))
    assert caught.value.code == 10


def test_an_ordinary_host_is_fit() -> None:
    refuse_unfit_host(settings(), facts(), machines_wanted(settings(), 3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"routes": ["192.168.0.0/16"]}, "overlaps 192.168.0.0/16 .a route of this host"),
        ({"networks": {"kind": ["192.168.55.0/28"]}}, "overlaps 192.168.55.0/28 .the engine's network kind"),
        ({"networks": {OWN: ["192.168.99.0/24"]}}, "was made as 192.168.99.0/24"),
        ({"taken": ["registry.address: port 5000 of 127.0.0.1 is taken: stop it"]}, "port 5000"),
        ({"engine": EngineFacts(free_bytes=GIGABYTE)}, "only 1.0 GB are free .* 5.0 GB are needed"),
        ({"engine": EngineFacts(rootless=True)}, "rootless"),
    ],
)
def test_an_unfit_host_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message) as caught:
        refuse_unfit_host(settings(), facts(**changes), machines_wanted(settings(), 3))
    assert "\n" not in str(caught.value)


def test_the_clusters_own_network_and_its_route_are_no_overlap() -> None:
    own = facts(networks={OWN: ["192.168.55.0/24"]}, routes=["192.168.55.0/24"])
    refuse_unfit_host(settings(), own, [])


def test_virtual_machines_ask_nothing_of_the_engines_networks() -> None:
    virtual = settings(local={"provider": "libvirt"})
    refuse_unfit_host(virtual, facts(routes=["192.168.55.0/24"], has_host_address=True), [])
    with pytest.raises(Refused, match=r"192\.168\.55\.1 is not an address of this host"):
        refuse_unfit_host(virtual, facts(), [])


def test_little_space_is_enough_when_all_machines_are_made() -> None:
    refuse_full_disk(GIGABYTE, machines=0)
    refuse_full_disk(None, machines=3)
    with pytest.raises(Refused):
        refuse_full_disk(GIGABYTE // 4, machines=0)


def test_another_count_than_the_existing_clusters_is_refused_with_the_next_step() -> None:
    three, one = machines_wanted(settings(), 3), machines_wanted(settings(), 1)
    states = {"air-01": RUNNING, "air-02": STOPPED, "air-03": ABSENT}
    with pytest.raises(Refused, match=r"`inv local\.start 3` continues"):
        refuse_other_count(one, three, states)
    refuse_other_count(three, three, states)


def test_machines_that_are_only_remembered_are_no_obstacle() -> None:
    three, one = machines_wanted(settings(), 3), machines_wanted(settings(), 1)
    refuse_other_count(one, three, dict.fromkeys(("air-01", "air-02", "air-03"), ABSENT))
    refuse_other_count(three, [], {})


def test_routes_are_read_without_the_default_one() -> None:
    text = (
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        "eth0\t0037A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    assert parse_routes(text) == ["172.17.0.0/16", "192.168.55.0/24"]


def test_a_machine_that_is_gone_from_a_cluster_at_work_is_not_made_anew() -> None:
    gone = machines_wanted(settings(), 3)[2:]
    serving = State("inactive", "active", marker=True, release="0.1.0", record={"state": "active"})
    waiting = State("inactive", "inactive", marker=False, release="0.1.0")
    with pytest.raises(Refused, match="air-03: gone, while"):
        refuse_lost_machines(gone, {"air-01": waiting, "air-02": serving})
    refuse_lost_machines(gone, {"air-01": waiting})
    refuse_lost_machines(gone, {})
