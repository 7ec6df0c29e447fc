"""Each HAProxy that Debian has takes what we write without a word, and does at runtime what the agent asks of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import agent_machine
import haproxy_server
import pytest
from agent_machine import IMAGE, AgentMachine
from haproxy_releases import RELEASES, haproxy_of
from haproxy_server import check, free_ports, write
from hypothesis import HealthCheck, given, settings
from router_backends import HttpBackend
from router_keys import JUNK, entries, services

from argosy.etcd import Delete, Etcd, Put
from argosy.routing.plan import plan_balancer, plan_routing
from argosy.routing.values import RouterOptions, Routing
from argosy.schema import Scheme, instance_key, parse_directory, service_key

pytest_plugins = ["etcd_fixtures", "agent_fixtures"]
pytestmark = [pytest.mark.integration, pytest.mark.slow(2)]

OPTIONS = RouterOptions(machine_address="10.0.0.9")
LISTEN = ("127.0.9.40:8080", "10.0.0.9:8080")
CHECKS = ("tcp", "none", "http /", "http /a?b=%20&c=(d;e) 200,404")
FEW = settings(max_examples=15, suppress_health_check=list(HealthCheck), deadline=None)


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The release that tests, the router's program and the agent run."""
    program = haproxy_of(request.param, tmp_path_factory.mktemp("haproxy"))
    with pytest.MonkeyPatch.context() as patch:
        for module in (haproxy_server, agent_machine):
            patch.setattr(module, "HAPROXY", str(program))
        yield request.param


def told_of(folder: Path, routing: Routing) -> str:
    """Return what the release says of a plan's configuration."""
    write(folder, routing.files())
    return check(folder)


def everything() -> dict[str, str]:
    """Return keys of services with each scheme, check and attribute, and with instances of both families."""
    keys: dict[str, str] = {}
    for number, (scheme, checked) in enumerate(product(Scheme, CHECKS)):
        prefix = f"/services/s{number}.{scheme}/"
        keys |= {
            f"{prefix}scheme": str(scheme),
            f"{prefix}check": checked,
            f"{prefix}host_port": str(9000 + number),
            f"{prefix}sni": f"s{number}.example *.s{number}.example",
            f"{prefix}hosts/1": "10.0.0.1:80",
            f"{prefix}hosts/2": "[fd00::1]:80",
            f"{prefix}weight/1": "0",
            f"{prefix}drain/2": "",
        }
        if number % 2:
            keys[f"{prefix}private"] = ""
    return keys


def test_nothing_is_said_of_what_the_router_starts_with(release: str, tmp_path: Path) -> None:
    (port,) = free_ports("127.0.9.40", 1)
    given = {**os.environ, "ROUTER_RUN": str(tmp_path), "ROUTER_BIND": f"127.0.9.40:{port}"}
    argv = [str(haproxy_server.HAPROXY), "-c", "-dW", "-f", str(IMAGE / "initial.cfg")]
    done = subprocess.run(argv, env=given, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), release


@pytest.mark.parametrize("options", [OPTIONS, replace(OPTIONS, draining=True)], ids=["serving", "draining"])
def test_nothing_is_said_of_a_router_with_all_that_a_service_can_have(
    release: str, tmp_path: Path, options: RouterOptions
) -> None:
    assert told_of(tmp_path, plan_routing(parse_directory(entries(everything())), options)) == "", release
    assert told_of(tmp_path, plan_routing(parse_directory([]), options)) == "", release


def test_nothing_is_said_of_a_balancer(release: str, tmp_path: Path) -> None:
    machines = {
        "/machines/air-01": '{"address": "10.0.0.1"}',
        "/machines/air-02": '{"address": "10.0.0.2", "state": "draining"}',
    }
    for keys in (machines, {}):
        plan = plan_balancer(parse_directory(entries(keys)), replace(OPTIONS, listen=LISTEN))
        assert told_of(tmp_path, plan) == "", release


def test_nothing_is_said_of_whatever_stands_in_etcd(release: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    @FEW
    @given(services(), JUNK)
    def holds(keys: dict[str, str], junk: dict[str, str]) -> None:
        plan = plan_routing(parse_directory(entries(junk | keys)), OPTIONS)
        assert told_of(tmp_path_factory.mktemp("plan"), plan) == "", release

    holds()


def test_a_warning_would_be_seen(release: str, tmp_path: Path) -> None:
    lines = "defaults\n    mode http\nfrontend f\n    bind 127.0.9.40:1\n    default_backend b\nbackend b\n"
    (tmp_path / "haproxy.cfg").write_text(lines)
    assert "timeout" in check(tmp_path), release


def test_services_come_by_one_reload_and_instances_at_runtime(
    release: str, routed: AgentMachine, store: Etcd, one: HttpBackend, two: HttpBackend
) -> None:
    before = routed.status()["reloads"]
    wanted = [
        put
        for name in ("web", "api")
        for put in (Put(service_key(name, "scheme"), "http"), Put(instance_key(name, "one"), str(one.endpoint)))
    ]
    routed.wait_until_applied(store, store.transact([], wanted).revision)
    assert [routed.answers(name) for name in ("web.any.example", "api.any.example")] == ["one", "one"]
    assert routed.status()["reloads"] == before + 1
    worker = routed.worker()
    routed.wait_until_applied(store, store.put(instance_key("web", "two"), str(two.endpoint)))
    assert {routed.answers("web") for _ in range(4)} == {"one", "two"}
    routed.wait_until_applied(store, store.put("/services/web/weight/one", "0"))
    assert {routed.answers("web") for _ in range(4)} == {"two"}
    routed.wait_until_applied(store, store.transact([], [Delete(instance_key("web", "two"))]).revision)
    assert routed.worker() == worker
    assert "did not take" not in routed.log, release
    said = (routed.root / "haproxy.log").read_text()
    assert [line for line in said.splitlines() if "config :" in line] == [], release
