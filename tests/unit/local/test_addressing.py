from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raised import raises

from argosy.config.loading import Settings, load
from argosy.errors import ConfigError, Refused
from argosy.local.addressing import choose_bip, dynamic_range, host_address, machines_wanted
from argosy.local.settings import localized


def settings(**section: Any) -> Settings:
    return load({"clusters": {"here": {"provider": "vagrant", **section}}})


def test_machines_are_numbered_from_01_at_101() -> None:
    machines = machines_wanted(settings(), 3)
    assert [(machine.name, machine.address) for machine in machines] == [
        ("air-01", "192.168.55.101"),
        ("air-02", "192.168.55.102"),
        ("air-03", "192.168.55.103"),
    ]


@pytest.mark.parametrize("count", [0, -1, 6])
def test_a_count_beyond_the_limits_is_refused_in_one_line(count: int) -> None:
    with pytest.raises(Refused, match="1 to 5") as caught:
        machines_wanted(settings(), count)
    assert "\n" not in str(caught.value)
    assert "local.max_machines" in str(caught.value)


def test_the_limit_can_be_raised() -> None:
    assert len(machines_wanted(settings(local={"max_machines": 7}), 7)) == 7


def test_the_host_has_the_first_address_unless_given() -> None:
    assert host_address(settings()) == "192.168.55.1"
    assert host_address(settings(local={"host_address": "10.1.2.3"})) == "10.1.2.3"


@pytest.mark.parametrize("subnet", ["192.168.55.0/24", "10.80.0.0/16"])
def test_the_engine_gives_no_address_that_a_machine_may_get(subnet: str) -> None:
    chosen = settings(local={"subnet": subnet, "max_machines": 99})
    dynamic = ipaddress.IPv4Network(dynamic_range(chosen))
    assert dynamic.subnet_of(ipaddress.IPv4Network(subnet))
    assert not any(ipaddress.IPv4Address(machine.address) in dynamic for machine in machines_wanted(chosen, 99))
    assert ipaddress.IPv4Address(host_address(chosen)) not in dynamic


def test_bip_is_the_first_range_that_overlaps_nothing() -> None:
    assert choose_bip("", []) == "172.17.42.1/16"
    assert choose_bip("", ["172.17.0.0/16", "192.168.55.0/24"]) == "172.18.42.1/16"
    assert choose_bip("", ["172.16.0.0/12"]) == "10.170.42.1/24"


def test_a_bip_of_ones_own_is_kept_or_refused() -> None:
    assert choose_bip("172.30.0.1/24", ["172.17.0.0/16"]) == "172.30.0.1/24"
    with pytest.raises(Refused, match=r"docker\.bip 172\.17\.42\.1/16 overlaps the network 172\.17\.0\.0/16"):
        choose_bip("172.17.42.1/16", ["172.17.0.0/16"])


def test_no_free_range_is_refused() -> None:
    with pytest.raises(Refused, match="every private range"):
        choose_bip("", ["0.0.0.0/0"])


networks = st.tuples(st.integers(0, 2**32 - 1), st.integers(8, 30)).map(
    lambda pair: str(ipaddress.IPv4Network(pair, strict=False))
)


@given(st.lists(networks, max_size=20))
def test_a_chosen_bip_overlaps_nothing(taken: list[str]) -> None:
    chosen = ipaddress.IPv4Interface(choose_bip("", taken)).network
    assert not any(chosen.overlaps(ipaddress.IPv4Network(network)) for network in taken)


def test_settings_know_the_hosts_address() -> None:
    found = localized(
        settings(settings={"database/host": "{{ host_address }}", "database/port": 5432}), "172.18.42.1/16"
    )
    assert found.settings == {"database/host": "192.168.55.1", "database/port": 5432}
    assert found.registry.address == "192.168.55.1:5000"
    assert found.docker.bip == "172.18.42.1/16"
    assert localized(found) == found


def test_a_registry_of_ones_own_is_kept() -> None:
    assert localized(settings(registry={"address": "10.0.0.5:5001"})).registry.address == "10.0.0.5:5001"


def test_what_runs_on_this_host_is_built_with_all_others() -> None:
    dependency = {"database": {"image": "db"}}
    images = {"db": {"context": "db", "on_demand": True}, "other": {"context": "other", "on_demand": True}}
    local = settings(images=images, local={"dependencies": dependency})
    assert {name for name, image in localized(local).images.items() if image.on_demand} == {"other"}
    virtual = settings(local={"provider": "libvirt"})
    assert {name for name, image in localized(virtual).images.items() if image.on_demand} == {"machine"}


@pytest.mark.parametrize("template", ["{{ hostaddress }}", "{{ host_address", "{{ host_address.x.y }}"])
def test_a_setting_that_names_anything_else_is_an_error_with_its_path(template: str) -> None:
    with raises(ConfigError, path="settings.database/host") as caught:
        localized(settings(settings={"database/host": template}))
    assert "\n" not in str(caught.value)
