"""Journeys of services through a whole cluster: found, routed to, drained, hurt, healed. After test_local_cluster."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from lab import Lab, eventually
from steady import Steady

MACHINES = ["sea-01", "sea-02", "sea-03"]
LABELS = "--label argosy.service=extra --label argosy.scheme=http --label argosy.port=8080"
HEALTHY_SECONDS = 60
APPEAR_SECONDS = 5
TTL_SECONDS = 10
RATE = 40

pytestmark = [pytest.mark.e2e, pytest.mark.slow(12), pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def _started(cluster: Lab) -> None:
    """The cluster's three machines, healthy."""


def ask(lab: Lab, machine: str, host: str, path: str = "/") -> tuple[int, dict[str, Any]]:
    """Ask one machine's router for `host`; return the status and the answer's JSON."""
    address = f"192.168.{lab.third}.{100 + int(machine[-2:])}"
    request = urllib.request.Request(f"http://{address}{path}", headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, {}


def statuses(lab: Lab, host: str) -> set[int]:
    """Return what the routers of all machines answer for `host`."""
    return {ask(lab, machine, host)[0] for machine in MACHINES}


def wait_until_healthy(lab: Lab) -> None:
    eventually(
        "all is well again", lambda: lab.inv("cluster.status", check=False).returncode == 0, seconds=HEALTHY_SECONDS
    )


def applied(lab: Lab) -> dict[str, int | None]:
    found: dict[str, int | None] = lab.json("cluster.status", check=False)["discovery"]["routers"]
    return found


@contextmanager
def extra(lab: Lab, machine: str, name: str, options: str = "") -> Iterator[None]:
    """Run one more instance of the frontend's image on `machine`, as the service `extra`, on its bridge alone."""
    image = lab.run(machine, "docker inspect --format '{{.Config.Image}}' sea-frontend").strip()
    lab.run(
        machine, f"docker run --detach --rm --name {name} {LABELS} {options} --env ARGOSY_MACHINE={machine} {image}"
    )
    try:
        yield
    finally:
        lab.run(machine, f"docker rm --force {name}", check=False)


def test_every_hop_agrees(cluster: Lab) -> None:
    listed = cluster.json("discovery.list")
    services = {service["name"]: service for service in listed["services"]}
    assert {"frontend", "backend"} <= set(services)
    assert len(services["frontend"]["instances"]) == len(services["backend"]["instances"]) == 3
    assert listed["problems"] == []
    cluster.inv("cluster.verify")


def test_any_machine_takes_any_request(cluster: Lab) -> None:
    for machine in MACHINES:
        answering = {ask(cluster, machine, "frontend.anything.example")[1]["machine"] for _ in range(6)}
        assert answering == set(MACHINES)
        assert ask(cluster, machine, "nothing.example", "/frontend/")[1]["service"] == "frontend"


def test_a_labelled_container_is_found_from_everywhere_and_gone_when_it_dies(cluster: Lab) -> None:
    with extra(cluster, "sea-01", "extra-1"), extra(cluster, "sea-02", "extra-2"):
        eventually("all machines route to it", lambda: statuses(cluster, "extra.example") == {200}, APPEAR_SECONDS)
        eventually(
            "both answer",
            lambda: {ask(cluster, "sea-03", "extra.x")[1]["machine"] for _ in range(4)} == {"sea-01", "sea-02"},
        )
        steady = Steady(f"192.168.{cluster.third}.103", 80, host="extra.example", rate=RATE)
        with steady.running() as outcome:
            eventually("requests flow", lambda: outcome.total > 20)
            cluster.run("sea-01", "docker kill extra-1")
            eventually(
                "it is gone from etcd",
                lambda: "sea-01:extra-1" not in json.dumps(cluster.json("discovery.list", "extra")),
                TTL_SECONDS,
            )
        assert outcome.not_ok() == []
    eventually("the last one is gone: 503 by name", lambda: statuses(cluster, "extra.example") == {503}, TTL_SECONDS)
    cluster.inv("discovery.deregister", "extra", "--yes")
    eventually(
        "the name is gone: the default service answers",
        lambda: ask(cluster, "sea-01", "extra.example")[1].get("service") == "frontend",
        APPEAR_SECONDS,
    )


def test_names_resolve_in_containers_and_on_the_machine(cluster: Lab) -> None:
    bridge = cluster.run("sea-02", "ip -4 -o addr show docker0 | awk '{print $4}' | cut -d/ -f1").strip()
    for where in ("docker exec sea-frontend ", ""):
        assert cluster.run("sea-02", f"{where}getent ahostsv4 frontend.local").split()[0] == bridge
    script = "import urllib.request as u; print(u.urlopen('http://backend.local/', timeout=5).status)"
    assert cluster.run("sea-02", f'docker exec sea-frontend python3 -c "{script}"').strip() == "200"


def test_without_dnsmasq_the_machine_resolves_other_names(cluster: Lab) -> None:
    cluster.run("sea-03", "systemctl stop sea-dns")
    try:
        assert cluster.run("sea-03", f"getent hosts {cluster.container('sea-01')}")
    finally:
        cluster.run("sea-03", "systemctl start sea-dns")


def test_a_drained_machine_gets_no_request_and_loses_none(cluster: Lab) -> None:
    with Steady("127.0.0.1", cluster.balancer_port, rate=RATE).running() as outcome:
        eventually("requests flow", lambda: outcome.machines == set(MACHINES))
        cluster.inv("discovery.drain", "sea-02")
        before, total = outcome.answers[(200, "sea-02")], outcome.total
        eventually("more requests flow", lambda: outcome.total > total + 80)
        assert outcome.answers[(200, "sea-02")] == before, "sea-02 has instances that still get requests"
        cluster.inv("discovery.undrain", "sea-02")
        eventually("it is back", lambda: outcome.answers[(200, "sea-02")] > before)
    assert outcome.not_ok() == []
    wait_until_healthy(cluster)


def test_without_a_quorum_requests_go_on_and_afterwards_changes_flow_again(cluster: Lab) -> None:
    with Steady("127.0.0.1", cluster.balancer_port, rate=RATE).running() as outcome:
        eventually("requests flow", lambda: outcome.total > 20)
        for machine in ("sea-02", "sea-03"):
            cluster.run(machine, "systemctl stop sea-etcd")
        try:
            wanted = outcome.total + RATE * TTL_SECONDS * 1.5
            eventually("requests flow for longer than a lease lives", lambda: outcome.total > wanted)
            assert cluster.inv("cluster.status", check=False).returncode == 32
        finally:
            for machine in ("sea-02", "sea-03"):
                cluster.run(machine, "systemctl start sea-etcd")
        wait_until_healthy(cluster)
    assert outcome.not_ok() == []
    with extra(cluster, "sea-03", "extra-3"):
        eventually("changes flow again", lambda: statuses(cluster, "extra.example") == {200}, APPEAR_SECONDS)
    cluster.inv("discovery.deregister", "extra", "--yes")


def test_a_killed_agent_moves_no_route(cluster: Lab) -> None:
    before = cluster.json("discovery.list")["services"]
    with Steady("127.0.0.1", cluster.balancer_port, rate=RATE).running() as outcome:
        eventually("requests flow", lambda: outcome.total > 20)
        cluster.run("sea-01", "docker kill --signal KILL sea-agent")
        eventually(
            "it is ready again",
            lambda: bool(cluster.run("sea-01", "docker exec sea-agent python3 -m argosy.agent health", check=False)),
        )
        wait_until_healthy(cluster)
    assert outcome.not_ok() == []
    assert cluster.json("discovery.list")["services"] == before


def test_a_killed_router_comes_back_with_all_routes(cluster: Lab) -> None:
    with Steady("127.0.0.1", cluster.balancer_port, rate=RATE).running() as outcome:
        eventually("requests flow", lambda: outcome.total > 20)
        cluster.run("sea-01", "docker kill --signal KILL sea-router")
        wait_until_healthy(cluster)
    # Lost are the requests that were on their way through it, and those until the balancer has noticed.
    lost = len(outcome.failures) + sum(count for (status, _), count in outcome.answers.items() if status != 200)
    assert lost <= 0.1 * outcome.total, outcome.not_ok()
    assert ask(cluster, "sea-01", "backend.example")[0] == 200


def test_a_killed_docker_daemon_comes_back_with_all_services(cluster: Lab) -> None:
    cluster.run("sea-03", "systemctl kill --signal=KILL docker")
    wait_until_healthy(cluster)
    eventually(
        "every machine's instance answers",
        lambda: "sea-03" in {ask(cluster, "sea-01", "frontend.x")[1]["machine"] for _ in range(6)},
    )


def test_an_image_comes_from_a_registry_that_is_a_discovered_service(cluster: Lab) -> None:
    """Docker finds it by its name, and the routers by the name that TLS begins with, on their shared port."""
    cluster.inv(
        "discovery.register",
        "images",
        f"{cluster.host}:{cluster.registry_port}",
        "--scheme",
        "tcp",
        "--sni",
        "registry.local",
    )
    try:
        installed = cluster.run("sea-01", "docker inspect --format '{{.Config.Image}}' sea-backend").strip()
        image = f"registry.local:8443/{installed.partition('/')[2]}"
        config = "--config /etc/sea/secrets/registry"
        eventually(
            "it is routed",
            lambda: bool(cluster.run("sea-01", f"docker {config} pull --quiet {image}", check=False)),
            APPEAR_SECONDS,
        )
        assert image in cluster.run("sea-01", f"docker {config} pull --quiet {image}")
    finally:
        cluster.inv("discovery.deregister", "images", "--yes")
