"""Where a local cluster is, beside those of other checkouts."""

from __future__ import annotations

from typing import Any

import pytest
from raised import raises

from argosy.config.loading import Settings, load
from argosy.engine.checkout import Choice
from argosy.engine.ownership import Claim
from argosy.errors import Refused
from argosy.local.place import Place, choose_place, place_of, placed, said_of

OTHERS = "cluster local of /work/a"
NETWORK = Claim(OTHERS, subnet="192.168.55.0/24")
REGISTRY = Claim(OTHERS, listens=[("127.0.0.1", 5000), ("192.168.55.1", 5000)])
BALANCER = Claim(OTHERS, listens=[("127.0.0.1", 8080), ("192.168.55.1", 8080)])
FREE = range(1, 65536)
CONFIGURED = Place("192.168.55.0/24", "192.168.55.1:5000", "8080")


def settings(**section: Any) -> Settings:
    return load({"clusters": {"here": {"provider": "vagrant", **section}}})


def test_alone_it_is_where_the_configuration_says() -> None:
    assert place_of(settings()) == CONFIGURED
    assert choose_place(settings(), [], [], FREE) == CONFIGURED


def test_beside_another_checkout_s_it_has_the_next_subnet_and_ports() -> None:
    place = choose_place(settings(), [NETWORK, REGISTRY, BALANCER], ["192.168.56.0/25"], FREE)
    assert place == Place("192.168.57.0/24", "192.168.57.1:5001", "8081")
    assert said_of(settings(), place)[0] == (
        f"local.subnet is 192.168.57.0/24 on this host instead of 192.168.55.0/24, taken by {OTHERS}"
    )


def test_only_what_is_taken_moves() -> None:
    assert choose_place(settings(), [BALANCER], [], FREE) == Place("192.168.55.0/24", "192.168.55.1:5000", "8081")


def test_ports_in_use_and_those_already_given_are_passed_over() -> None:
    taken = [Claim(OTHERS, listens=[("", port)]) for port in (5000, 5001, 8080)]
    local = {"balancer": {"port": 5001}}
    place = choose_place(settings(local=local), taken, [], [5002, 5004, 8082])
    assert (place.registry, place.balancer) == ("192.168.55.1:5002", "5004")


def test_without_routers_no_port_is_needed_for_a_balancer() -> None:
    assert choose_place(settings(discovery={"enabled": False}), [BALANCER], [], FREE) == CONFIGURED


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"local": {"host_address": "192.168.55.7"}}, "local.host_address"),
        ({"registry": {"bind": ["192.168.55.1"]}}, "registry.bind"),
    ],
)
def test_addresses_that_are_set_by_hand_are_not_moved_but_refused(section: dict[str, Any], key: str) -> None:
    with raises(Refused, "local.subnet", key, "/work/a"):
        choose_place(settings(**section), [NETWORK], [], FREE)


def test_where_nothing_is_free_the_setting_is_named() -> None:
    with raises(Refused, "local.subnet"):
        choose_place(settings(), [NETWORK], ["192.168.0.0/16"], FREE)
    with raises(Refused, "registry.address"):
        choose_place(settings(), [REGISTRY], [], [])


def test_what_was_chosen_holds_as_long_as_the_configuration_says_the_same() -> None:
    place = choose_place(settings(), [NETWORK, REGISTRY, BALANCER], [], FREE)
    chosen = {key: Choice(*pair) for key, pair in CONFIGURED.differences(place).items()}
    here = placed(settings(), chosen)
    assert place_of(here) == place
    assert placed(here, chosen) == here
    by_hand = placed(settings(local={"subnet": "10.1.0.0/24"}), chosen)
    assert place_of(by_hand) == Place("10.1.0.0/24", "10.1.0.1:5000", "8081")
