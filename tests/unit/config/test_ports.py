"""A port belongs to one: two that would listen on it are refused as the configuration is read."""

from __future__ import annotations

from typing import Any

import pytest
from raised import raises

from argosy.config.loading import load
from argosy.errors import ConfigError

IMAGES = {"web": {"context": "web"}}


def service(*ports: str, **keys: Any) -> dict[str, Any]:
    return {"image": "web", "ports": list(ports), **keys}


def settings(**keys: Any) -> dict[str, Any]:
    return {"images": IMAGES, "clusters": {"here": {}}, **keys}


def scheduled(*ports: str) -> dict[str, Any]:
    return service(*ports, update={"order": "stop-first"}, max_per_machine=1)


@pytest.mark.parametrize(
    ("port", "who"),
    [
        ("80:8080", "discovery.ports.http"),
        ("10.0.0.1:81:8080", "discovery.ports.http_proxy"),
        ("20500:1", "discovery.ports.forwards"),
        ("2379:1", "etcd.client_port"),
        ("2380:1/tcp", "etcd.peer_port"),
        ("2377:1", "swarm.port"),
        ("4789:1/udp", "Swarm"),
        ("53:53/udp", "DNS"),
        ("0.0.0.0:53:53", "DNS"),
    ],
)
def test_what_the_machines_need_themselves_is_taken(port: str, who: str) -> None:
    with raises(ConfigError, who, path="services.web.ports"):
        load(settings(services={"web": service(port)}))
    if port.count(":") == 1:
        with raises(ConfigError, who, path="scheduled.job.ports"):
            load(settings(scheduled={"job": scheduled(port)}))


@pytest.mark.parametrize("port", ["8080:80", "80:80/udp", "10.0.0.1:53:53", "19999:1", "21000:1", "5000:1"])
def test_others_are_free(port: str) -> None:
    assert load(settings(services={"web": service(port)})).services["web"].ports == [port]


def test_what_is_off_takes_no_ports() -> None:
    off = {"discovery": {"enabled": False}, "swarm": {"enabled": False}}
    load(settings(services={"web": service("80:80", "2377:1", "53:53/udp")}, **off))


def test_two_services_do_not_publish_one_port() -> None:
    with raises(ConfigError, "port 8080/tcp", "service a", "services.a.ports", path="services.b.ports"):
        load(settings(services={"a": service("8080:1"), "b": service("127.0.0.1:8080:2")}))
    load(settings(services={"a": service("10.0.0.1:8080:1"), "b": service("127.0.0.1:8080:2", "8080:1/udp")}))
    with raises(ConfigError, "service a", path="scheduled.job.ports"):
        load(settings(services={"a": service("8080:1")}, scheduled={"job": scheduled("8080:1")}))


def test_scheduled_services_may_take_turns() -> None:
    load(settings(scheduled={"a": scheduled("8080:1"), "b": scheduled("8080:1")}))


def test_the_router_s_port_for_a_service_is_taken() -> None:
    routed = service(discovery={"port": 5432, "scheme": "tcp", "host_port": 5432})
    with raises(ConfigError, "services.db.discovery.host_port", path="services.web.ports"):
        load(settings(services={"db": routed, "web": service("5432:1")}))
    with raises(ConfigError, "leave it out", path="services.db.ports"):
        load(settings(services={"db": {**routed, "ports": ["5432:5432"]}}))


def test_dependencies_share_this_host_with_registry_and_balancer() -> None:
    def local(*ports: str, **keys: Any) -> dict[str, Any]:
        return settings(local={"dependencies": {"db": {"image": "web", "ports": list(ports)}}}, **keys)

    for port, who in (("5000:1", "registry"), ("8080:1", "local.balancer.port")):
        with raises(ConfigError, who, path="local.dependencies.db.ports"):
            load(local(port))
    load(local("80:1", "2379:1"))
    load(local("5000:1", registry={"address": "10.0.0.5:5000"}))


def test_a_port_is_a_port() -> None:
    with raises(ConfigError, "65535", path="services.web.ports"):
        load(settings(services={"web": service("65536:1")}))
