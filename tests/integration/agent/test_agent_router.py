"""The router's loop as on a machine: the agent and HAProxy as processes, a real etcd, real backends."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import threading

import pytest
from agent_machine import AgentMachine, agent_machine, delete, docker_problem, put_service
from etcd_cluster import EtcdCluster
from haproxy_server import free_ports, requires_haproxy
from router_backends import HttpBackend
from waiting import until

from argosy.etcd import Delete, Etcd, Put
from argosy.schema import instance_key, machine_key, router_key, service_key

pytest_plugins = ["etcd_fixtures", "agent_fixtures"]
pytestmark = [pytest.mark.integration, requires_haproxy]


class TestChanges:
    def test_a_service_comes_by_one_reload_and_its_instances_by_none(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend, two: HttpBackend
    ) -> None:
        assert machine.answers("web") == "404"
        before = machine.status()["reloads"]
        wanted = [Put("/services/web/scheme", "http"), Put("/services/web/hosts/one", str(one.endpoint))]
        machine.wait_until_applied(store, store.transact([], wanted).revision)
        assert machine.answers("web.any.example") == "one"
        assert machine.status()["reloads"] == before + 1
        worker = machine.worker()
        machine.wait_until_applied(store, store.put(instance_key("web", "two"), str(two.endpoint)))
        assert {machine.answers("web") for _ in range(4)} == {"one", "two"}
        machine.wait_until_applied(store, store.put("/services/web/weight/one", "0"))
        assert {machine.answers("web") for _ in range(4)} == {"two"}
        gone = store.transact([], [Delete(instance_key("web", "two")), Delete("/services/web/weight/one")]).revision
        machine.wait_until_applied(store, gone)
        assert {machine.answers("web") for _ in range(4)} == {"one"}
        assert machine.worker() == worker

    def test_two_quick_puts_of_a_new_service_are_both_seen(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend
    ) -> None:
        for number in range(6):
            revision = put_service(store, f"quick-{number}", {"one": one.endpoint})
            machine.wait_until_applied(store, revision)
            assert machine.answers(f"quick-{number}") == "one"

    def test_bad_data_takes_nothing_from_the_others_and_is_reported(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend
    ) -> None:
        put_service(store, "web", {"one": one.endpoint, "bad": "nowhere"})
        put_service(store, "Bad Name\n    server evil 127.0.0.1:1", {"one": one.endpoint})
        machine.wait_until_applied(store, put_service(store, "worse", {"one": one.endpoint}, scheme="gopher"))
        assert machine.answers("web") == "one"
        assert machine.answers("worse") == "404"
        keys = {problem["key"] for problem in machine.status()["data_problems"]}
        assert {"/services/web/hosts/bad", "/services/worse/scheme"} <= keys

    def test_a_burst_ends_in_exactly_the_final_state(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend
    ) -> None:
        chance = random.Random(3)
        wanted: dict[str, set[str]] = {}
        for _ in range(200):
            deeds: dict[str, Put | Delete] = {}
            for _ in range(10):
                name, instance = f"burst-{chance.randrange(30)}", f"i{chance.randrange(8)}"
                there, key = wanted.setdefault(name, set()), instance_key(name, instance)
                if chance.random() < 0.6:
                    there.add(instance)
                    deeds[key] = Put(key, str(one.endpoint))
                else:
                    there.discard(instance)
                    deeds[key] = Delete(key)
            for name in wanted:
                key = service_key(name, "scheme")
                deeds[key] = Put(key, "http")
            last = store.transact([], list(deeds.values())).revision
        machine.wait_until_applied(store, last, 30)
        until(lambda: machine.servers() == {name: there for name, there in wanted.items() if there})
        assert machine.status()["problems"] == [docker_problem(machine)]

    def test_publishing_is_no_change_that_is_published(self, machine: AgentMachine, store: Etcd) -> None:
        store.put(router_key("air-02"), "1")
        store.put("/settings/database/host", "10.0.0.5")
        revision = store.put(service_key("web", "scheme"), "http")
        machine.wait_until_applied(store, revision)
        published = store.get(router_key("air-01"))
        assert published is not None
        for _ in range(5):
            store.put(router_key("air-02"), "2")
        until(lambda: machine.status("etcd")["revision"] > revision)
        assert not threading.Event().wait(1.5)
        assert machine.applied(store) == revision
        assert store.get(router_key("air-01")) == published

    def test_a_draining_machine_says_so_to_its_balancer(self, machine: AgentMachine, store: Etcd) -> None:
        path = "/_argosy/health"
        assert machine.ask("", path).status == 200
        machine.wait_until_applied(store, store.put(machine_key("air-01"), '{"state": "draining"}'))
        assert machine.ask("", path).status == 503
        machine.wait_until_applied(store, store.put(machine_key("air-01"), '{"state": "active"}'))
        assert machine.ask("", path).status == 200

    def test_who_keeps_a_connection_is_let_go_of_when_it_is_asked_that_none_be_left(
        self, machine: AgentMachine, store: Etcd
    ) -> None:
        machine.wait_until_applied(store, put_service(store, "web", {}))
        worker, reloads = machine.worker(), machine.status()["reloads"]
        with socket.create_connection((machine.address, machine.ports["http_port"])) as kept:
            kept.settimeout(10)
            kept.sendall(b"GET /_argosy/health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert kept.recv(1000).startswith(b"HTTP/1.1 200")
            for state in ("draining", "active", "draining"):
                machine.wait_until_applied(store, store.put(machine_key("air-01"), f'{{"state": "{state}"}}'))
            assert (machine.worker(), machine.status()["reloads"]) == (worker, reloads)
            status, told = machine.get("/connections?seconds=4")
            assert (status, json.loads(told)) == (200, {"connections": 0})
            assert kept.recv(1000) == b""
        until(lambda: machine.status()["reloads"] == reloads + 1)
        assert machine.get("/connections?seconds=0")[0] == 200
        assert machine.status()["reloads"] == reloads + 1


class TestSteadyRequests:
    def test_none_is_lost_while_instances_and_services_come_and_go(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend, two: HttpBackend
    ) -> None:
        machine.wait_until_applied(store, put_service(store, "web", {"one": one.endpoint, "two": two.endpoint}))
        load = Load(machine)
        load.start()
        key = instance_key("web", "two")
        try:
            for number in range(30):
                machine.wait_until_applied(store, delete(store, key))
                machine.wait_until_applied(store, store.put(key, str(two.endpoint)))
                if number % 10 == 0:
                    machine.wait_until_applied(store, put_service(store, f"other-{number}", {"one": one.endpoint}))
        finally:
            load.stop()
        assert load.failures == []
        assert load.count > 100


class TestTheBalancersRole:
    def test_it_follows_the_machines(self, cluster: EtcdCluster, store: Etcd, one: HttpBackend) -> None:
        with agent_machine(cluster, role="balancer") as machine:
            [port] = free_ports(machine.address, 1)
            machine.options |= {"listen": [f"{machine.address}:{port}"], "machine_port": 1}
            machine.start_haproxy()
            machine.start_agent(MACHINE_NAME="balancer", MACHINE_ADDRESS="")
            machine.wait_until_ready()
            worker = machine.worker()
            store.put(machine_key("air-01"), '{"address": "127.0.9.32"}')
            revision = put_service(store, "web", {"one": one.endpoint})
            until(lambda: machine.servers() == {"machines": {"air-01"}})
            assert machine.worker() == worker
            assert machine.get("/status")[1].count('"registrar"') == 0
            said = router_key("balancer")
            until(lambda: (found := store.get(said)) is not None and int(found.value) >= revision)


class Load(threading.Thread):
    """Requests for the service web, one after the other, each by a connection of its own."""

    def __init__(self, machine: AgentMachine) -> None:
        super().__init__(daemon=True)
        self._machine = machine
        self._ended = threading.Event()
        self.count = 0
        self.failures: list[str] = []

    def run(self) -> None:
        while not self._ended.wait(0.005):
            self.count += 1
            try:
                answer = self._machine.ask("web")
            except OSError as error:
                self.failures.append(repr(error))
            else:
                if answer.status != 200:
                    self.failures.append(answer.text)

    def stop(self) -> None:
        self._ended.set()
        self.join()


def test_health_is_one_line_and_a_status(machine: AgentMachine) -> None:
    command = [sys.executable, "-m", "argosy.agent", "health", "--socket", str(machine.root / "run/agent/agent.sock")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ok\n")
    machine.stop_agent()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("the agent does not answer")
    assert done.stdout.count("\n") == 1
