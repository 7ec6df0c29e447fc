"""What the agent's environment may say, and what it answers to anything else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from raised import raises

from argosy.agent.options import Options, Tunables, parse_options
from argosy.agent.router.plans import router_options
from argosy.errors import ConfigError

ENVIRONMENT = {
    "SYSTEM": "air",
    "CLUSTER": "production",
    "MACHINE_NAME": "air-01",
    "MACHINE_ADDRESS": "10.0.0.1",
    "ETCD_ENDPOINTS": "https://10.0.0.1:2379,https://[fd00::2]:2379/",
}


def parse(**tunables: object) -> Options:
    return parse_options(ENVIRONMENT | {"ARGOSY_AGENT": json.dumps(tunables)})


def test_without_options_of_its_own_all_are_the_defaults() -> None:
    options = parse_options(ENVIRONMENT)
    assert options.tunables == Tunables()
    assert options.endpoints == (("10.0.0.1", 2379), ("fd00::2", 2379))
    assert options.paths.keys == Path("/etc/air/secrets/keys")
    assert options.paths.admin_socket == Path("/run/router/admin.sock")
    assert options.templates == Path("/var/lib/air/templates")


def test_options_are_taken_as_what_they_are() -> None:
    options = parse(http_port=8080, check_seconds=0.5, forward_ports=[1, 2], listen=["127.0.0.1:80"], templates="/t")
    assert (options.tunables.http_port, options.tunables.check_seconds) == (8080, 0.5)
    assert (options.tunables.forward_ports, options.tunables.listen) == ((1, 2), ("127.0.0.1:80",))
    assert options.templates == Path("/t")


def test_the_router_gets_its_part() -> None:
    made = router_options(parse(https_port=8443, drain_seconds=0.2))
    assert (made.machine_address, made.https_port, made.hard_stop_seconds) == ("10.0.0.1", 8443, 1)
    assert (made.run_folder, made.config_folder) == ("/run/router", "/var/lib/router")


def test_the_balancer_is_no_machine() -> None:
    environment = {name: ENVIRONMENT[name] for name in ("SYSTEM", "CLUSTER", "ETCD_ENDPOINTS")}
    environment["MACHINE_NAME"] = "balancer"
    options = parse_options(environment | {"ARGOSY_AGENT": '{"role": "balancer"}'})
    assert options.balancer
    assert (options.machine, options.address) == ("balancer", "")


@pytest.mark.parametrize(
    ("tunables", "message"),
    [
        ({"http_prot": 80}, r"ARGOSY_AGENT.http_prot: unknown \(did you mean 'http_port'\?\)"),
        ({"http_port": "80"}, "ARGOSY_AGENT.http_port: not a whole number: '80'"),
        ({"http_port": 65536}, "ARGOSY_AGENT.http_port: out of range"),
        ({"http_port": True}, "not a whole number"),
        ({"ttl_seconds": 2.5}, "not a whole number"),
        ({"check_seconds": 0}, "out of range"),
        ({"forward_ports": [1]}, r"not \[FIRST, LAST\]"),
        ({"forward_ports": ["1", "2"]}, "not a list of int"),
        ({"listen": "127.0.0.1:80"}, "not a list of str"),
        ({"domain": 1}, "not text"),
        ({"role": "king"}, "neither machine nor balancer"),
    ],
)
def test_what_is_wrong_is_told_with_its_path(tunables: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(**tunables)


@pytest.mark.parametrize("text", ["{", "[]", "1"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with raises(ConfigError, path="ARGOSY_AGENT"):
        parse_options(ENVIRONMENT | {"ARGOSY_AGENT": text})


@pytest.mark.parametrize("name", sorted(ENVIRONMENT))
def test_what_a_machine_must_know_is_asked_for_by_name(name: str) -> None:
    with raises(ConfigError, path=name):
        parse_options({key: value for key, value in ENVIRONMENT.items() if key != name})


@pytest.mark.parametrize("url", ["http://10.0.0.1:2379", "https://10.0.0.1", "https://:2379", "10.0.0.1:2379", ""])
def test_etcd_is_reached_by_tls_alone(url: str) -> None:
    with raises(ConfigError, path="ETCD_ENDPOINTS"):
        parse_options(ENVIRONMENT | {"ETCD_ENDPOINTS": url})
