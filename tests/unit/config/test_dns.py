"""How the local domain is resolved: dnsmasq's options and Docker's settings."""

from __future__ import annotations

import json
from typing import Any

from machine_examples import config, content, settings

from argosy.cloudconfig.files import daemon_json, machine_env
from argosy.config import dns
from argosy.model import Machine

MACHINE = Machine("air-01", "192.168.55.101")


# The options and the settings


def test_the_bridge_has_the_seed_s_address_unless_another_is_given() -> None:
    assert dns.bridge_address(settings(docker={"bip": ""})) == "172.17.42.1"
    assert dns.bridge_address(settings(docker={"bip": "10.170.42.1/24"})) == "10.170.42.1"


def test_docker_is_told_the_bridge_s_address_that_we_answer_with() -> None:
    written = json.loads(daemon_json(settings(docker={"bip": "", "dns": ["9.9.9.9"]}), "debian"))
    assert written["bip"] == "172.17.42.1/16"
    assert written["dns"] == ["172.17.42.1", "9.9.9.9"]
    env = machine_env(settings(docker={"bip": "10.170.42.1/24"}), MACHINE, [MACHINE])
    assert env["BRIDGE_ADDRESS"] == "10.170.42.1"


def test_without_discovery_a_machine_is_left_alone() -> None:
    off: dict[str, Any] = {"discovery": {"enabled": False}, "docker": {"bip": "", "dns": []}}
    machine = config(**off)
    assert not {"bip", "dns"} & set(json.loads(content(machine, "/etc/docker/daemon.json")))
    assert "BRIDGE_ADDRESS" not in content(machine, "/etc/air/machine.env")
    assert not any("resolver" in unit.name for unit in machine.units)
    assert not any(file.path.endswith("/use-dns") for file in machine.files)


def test_dnsmasq_s_options() -> None:
    options = dns.container_arguments(domain="cluster", bridge_address="10.0.0.1")
    assert [option for option in options if "listen" in option] == [
        "--listen-address=127.0.0.42",
        "--listen-address=10.0.0.1",
    ]
    assert {"--address=/cluster/10.0.0.1", "--local=/cluster/", "--bind-interfaces"} <= set(options)
    assert {"--resolv-file=/run/dns/upstream.conf", "--dns-loop-detect", "--user=dnsmasq"} <= set(options)
    assert not any("dhcp" in option for option in options)


def test_a_release_knows_no_bridge() -> None:
    options = dns.container_arguments(domain="local")
    assert "--address=/local/@BRIDGE_ADDRESS@" in options
    assert sum("@BRIDGE_ADDRESS@" in option for option in options) == 3
