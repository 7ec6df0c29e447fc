"""The operator's tasks and a real agent with a real HAProxy: what a task says is so, is so when it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_machine import AgentMachine, agent_machine
from etcd_cluster import EtcdCluster
from haproxy_server import requires_haproxy
from router_backends import HttpBackend
from waiting import until

from argosy.discovery import draining, keys
from argosy.discovery.changes import Registration, Target
from argosy.discovery.rendering import router_options
from argosy.discovery.routers import wait_until_applied
from argosy.etcd import Etcd
from argosy.machine.facts import MachineFacts, ServiceFacts
from argosy.routing.changes import parse_servers_state
from argosy.routing.plan import plan_routing
from argosy.schema import MachineRecord, instance_key, machine_key, parse_directory
from argosy.status.verification import Verification, verify
from argosy_installer import facts

pytest_plugins = ["etcd_fixtures"]
pytestmark = [pytest.mark.integration, requires_haproxy]

SECONDS = 10.0


@pytest.fixture
def machine(cluster: EtcdCluster, store: Etcd) -> Iterator[AgentMachine]:
    with agent_machine(cluster) as made:
        record = {"address": made.address, "release": "0.1.4", "state": "active"}
        store.put(machine_key(made.name), json.dumps(record))
        made.start()
        yield made


@pytest.fixture
def backend() -> Iterator[HttpBackend]:
    made = HttpBackend("one")
    yield made
    made.close()


def weights(machine: AgentMachine) -> list[int]:
    """Return the weights of the servers of the service web, as HAProxy has them."""
    servers = parse_servers_state(machine.runtime.ask("show servers state")).get("service-web", {})
    return [server.weight for server in servers.values() if not server.maintenance]


def register(cluster: EtcdCluster, store: Etcd, backend: HttpBackend) -> int:
    wanted = Registration("web", str(backend.endpoint), id="one", scheme="http", check="none")
    done = keys.register(cluster.settings(), store, wanted)
    wait_until_applied(store, done.revision, SECONDS)
    return done.revision


def test_what_is_registered_by_hand_is_served_until_it_is_deregistered(
    cluster: EtcdCluster, store: Etcd, machine: AgentMachine, backend: HttpBackend
) -> None:
    register(cluster, store, backend)
    assert machine.answers("web") == "one"
    done = keys.deregister(store, "web", ["one"])
    wait_until_applied(store, done.revision, SECONDS)
    assert machine.ask("web").status == 503


def test_an_instance_has_no_weight_when_its_drain_is_done_and_has_it_again_after_the_undrain(
    cluster: EtcdCluster, store: Etcd, machine: AgentMachine, backend: HttpBackend
) -> None:
    register(cluster, store, backend)
    until(lambda: weights(machine) == [100], SECONDS)  # a worker that a reload replaces may still answer
    for drain, already, weight in ((True, False, 0), (True, True, 0), (False, False, 100), (False, True, 100)):
        was_so, applied = draining.set_draining(store, Target("web", "one"), drain=drain, deadline_seconds=SECONDS)
        assert (was_so, weights(machine)) == (already, [weight])
        assert applied.routers == (machine.name,)


def test_a_machine_says_that_it_drains_and_its_instances_are_gone_when_its_drain_is_done(
    cluster: EtcdCluster, store: Etcd, machine: AgentMachine, backend: HttpBackend
) -> None:
    register(cluster, store, backend)
    store.put(instance_key("web", f"{machine.name}:air-web"), str(backend.endpoint), store.grant(60))
    assert machine.ask("x", "/_argosy/health").status == 200
    already, applied = draining.set_draining(store, Target(machine.name), drain=True, deadline_seconds=SECONDS)
    assert (already, applied.silent) == (False, ())
    assert machine.ask("x", "/_argosy/health").status == 503
    assert list(weights(machine)) == [100]
    assert store.get(instance_key("web", f"{machine.name}:air-web")) is None
    draining.set_draining(store, Target(machine.name), drain=False, deadline_seconds=SECONDS)
    assert machine.ask("x", "/_argosy/health").status == 200


def verified(cluster: EtcdCluster, store: Etcd, machine: AgentMachine) -> Verification:
    """Compare etcd with what the machine's HAProxy says of itself."""
    told = facts.ask_router(machine.run / "admin.sock")
    services = {"router": ServiceFacts(name="router", unit="active", digest="sha256:r", release_digest="sha256:r")}
    servers = parse_servers_state(told["servers"])
    found = MachineFacts(machine.name, machine.address, "", "0.1.4", "i@sha256:4", services, servers=servers)
    directory = parse_directory(keys.read(store))
    routing = plan_routing(directory, router_options(cluster.settings(), MachineRecord("")))
    return verify(("air", "test"), "", 1, [found], directory, routing)


def test_a_real_router_s_servers_are_those_that_a_verification_wants(
    cluster: EtcdCluster, store: Etcd, machine: AgentMachine, backend: HttpBackend
) -> None:
    register(cluster, store, backend)
    found = verified(cluster, store, machine)
    assert [str(chain) for chain in found.differing] == []
    assert [(chain.service, chain.instance) for chain in found.chains] == [("router", ""), ("web", "one")]
    draining.set_draining(store, Target("web", "one"), drain=True, deadline_seconds=SECONDS)
    assert verified(cluster, store, machine).differing == []


def test_a_real_router_that_has_stopped_following_differs(
    cluster: EtcdCluster, store: Etcd, machine: AgentMachine, backend: HttpBackend
) -> None:
    register(cluster, store, backend)
    machine.stop_agent()
    store.put(instance_key("web", "two"), "127.0.0.1:9")
    store.delete(instance_key("web", "one"))
    lines = [str(chain) for chain in verified(cluster, store, machine).differing]
    assert len(lines) == 2
    assert f"{machine.name} has no server two:127.0.0.1:9 in service-web" in lines[0]
    assert f"{machine.name} sends requests to {backend.endpoint}, which etcd does not know" in lines[1]


def test_haproxy_that_is_gone_is_a_reason(machine: AgentMachine, tmp_path: Path) -> None:
    machine.kill_haproxy()
    assert "HAProxy does not answer" in facts.ask_router(machine.run / "admin.sock")["reason"]
