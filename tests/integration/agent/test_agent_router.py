"""The router's loop as on a machine: the agent and HAProxy as processes, a real etcd, real backends."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_machine import AgentMachine, agent_machine, delete, put_service
from etcd_cluster import EtcdCluster
from haproxy_server import free_ports, requires_haproxy
from router_backends import Client, HttpBackend, TcpBackend, make_certificate, trusting
from waiting import until

from argosy import etcd
from argosy.agent.ports import taken_ports
from argosy.errors import EtcdError
from argosy.etcd import Delete, Etcd, Put
from argosy.schema import SSL_SUPPORT, instance_key, machine_key, router_key, service_key

pytest_plugins = ["etcd_fixtures"]
pytestmark = [pytest.mark.integration, requires_haproxy]


@pytest.fixture
def machine(cluster: EtcdCluster, store: Etcd) -> Iterator[AgentMachine]:
    """A machine whose router and agent run."""
    with agent_machine(cluster) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def one() -> Iterator[HttpBackend]:
    made = HttpBackend("one")
    yield made
    made.close()


@pytest.fixture(scope="module")
def two() -> Iterator[HttpBackend]:
    made = HttpBackend("two")
    yield made
    made.close()


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
        keys = {it["key"] for it in machine.status()["data_problems"]}
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
        for _ in range(5):
            store.put(router_key("air-02"), "2")
        until(lambda: machine.status("etcd")["revision"] > revision)
        assert not threading.Event().wait(1.5)
        assert machine.applied(store) == revision
        assert store.get(router_key("air-01")).version < 5  # type: ignore[union-attr]

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


class TestRestarts:
    def test_haproxy_that_is_killed_comes_back_as_it_was_and_is_looked_at_at_once(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend, two: HttpBackend
    ) -> None:
        machine.wait_until_applied(store, put_service(store, "web", {"one": one.endpoint}))
        # At runtime, and so not on disk for a while.
        machine.wait_until_applied(store, store.put(instance_key("web", "two"), str(two.endpoint)))
        machine.kill_haproxy()
        until(lambda: "HAProxy does not run" in machine.get("/ready")[1])
        assert machine.get("/health")[0] == 200
        revision = delete(store, instance_key("web", "one"))
        machine.start_haproxy()
        until(lambda: machine.answers("web") == "two")
        machine.wait_until_applied(store, revision)
        machine.wait_until_ready()
        # What was taken out is deleted as soon as nothing hangs on it.
        until(lambda: machine.servers() == {"web": {"two"}})

    def test_what_was_changed_at_runtime_is_on_disk_soon(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend, two: HttpBackend
    ) -> None:
        machine.wait_until_applied(store, put_service(store, "web", {"one": one.endpoint}))
        machine.wait_until_applied(store, store.put(instance_key("web", "two"), str(two.endpoint)))
        until(lambda: str(two.endpoint) in (machine.lib / "haproxy.cfg").read_text())
        machine.stop_agent()
        machine.kill_haproxy()
        machine.start_haproxy()
        until(lambda: machine.answers("web") in ("one", "two"))
        assert machine.servers() == {"web": {"one", "two"}}

    def test_the_agent_killed_and_started_moves_nothing(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend
    ) -> None:
        machine.wait_until_applied(store, put_service(store, "web", {"one": one.endpoint}))
        worker, said = machine.worker(), store.get(router_key("air-01"))
        machine.stop_agent(signal.SIGKILL)
        assert machine.answers("web") == "one"
        machine.start_agent()
        machine.wait_until_ready()
        assert (machine.worker(), machine.status()["reloads"]) == (worker, 0)
        again = store.get(router_key("air-01"))
        assert said is not None
        assert again is not None
        assert (again.lease, again.create_revision) == (said.lease, said.create_revision)

    def test_a_stop_leaves_everything_and_is_quick(self, machine: AgentMachine, store: Etcd, one: HttpBackend) -> None:
        machine.wait_until_applied(store, put_service(store, "web", {"one": one.endpoint}))
        started = time.monotonic()
        assert machine.stop_agent() == 0
        assert time.monotonic() - started < 2
        assert machine.answers("web") == "one"
        assert store.get(router_key("air-01")) is not None

    def test_other_certificates_for_etcd_end_it_so_that_its_unit_starts_it_with_them(
        self, machine: AgentMachine
    ) -> None:
        certificate = machine.root / "etc/air/secrets/etcd-client.crt"
        certificate.write_bytes(certificate.read_bytes() + b"\n")
        assert machine.agent is not None
        assert machine.agent.wait(10) == 0
        machine.start_agent()
        machine.wait_until_ready()

    def test_somebody_else_s_change_of_a_server_is_put_right(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend
    ) -> None:
        machine.wait_until_applied(store, put_service(store, "web", {"one": one.endpoint}))
        server = f"service-web/one:{one.endpoint}"
        machine.runtime.run([f"set server {server} state maint"])
        until(lambda: machine.answers("web") == "one")
        machine.runtime.run([f"set server {server} state maint", f"del server {server}"])
        until(lambda: machine.answers("web") == "one")

    def test_without_a_configuration_haproxy_says_503_until_the_agent_is_there(
        self, cluster: EtcdCluster, store: Etcd, one: HttpBackend
    ) -> None:
        put_service(store, "web", {"one": one.endpoint})
        with agent_machine(cluster) as machine:
            machine.start_haproxy()
            until(lambda: machine.answers("web") == "503")
            machine.start_agent()
            until(lambda: machine.answers("web") == "one")

    def test_a_broken_configuration_on_disk_is_put_aside(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend
    ) -> None:
        machine.wait_until_applied(store, put_service(store, "web", {"one": one.endpoint}))
        machine.kill_haproxy()
        (machine.lib / "haproxy.cfg").write_text("nonsense\n")
        machine.start_haproxy()
        until(lambda: machine.answers("web") == "one")
        assert (machine.lib / "haproxy.cfg.broken").read_text() == "nonsense\n"


class TestOutages:
    def test_without_quorum_all_stays_and_afterwards_it_catches_up(
        self, own_cluster: EtcdCluster, one: HttpBackend, two: HttpBackend
    ) -> None:
        with etcd.connect(own_cluster.settings(), own_cluster.machines) as store, agent_machine(own_cluster) as machine:
            machine.start()
            machine.wait_until_applied(store, put_service(store, "web", {"one": one.endpoint}))
            own_cluster.kill("air-01", "air-02")
            until(lambda: "everything stays as it is until etcd is back" in machine.get("/ready")[1], 20)
            assert machine.get("/ready")[0] == 503
            assert machine.get("/health")[0] == 200
            assert machine.metric("etcd_connected") == 0
            assert machine.answers("web") == "one"
            # HAProxy alone is restarted meanwhile: it finds all on disk.
            machine.kill_haproxy()
            machine.start_haproxy()
            until(lambda: machine.answers("web") == "one")
            own_cluster.kill("air-03")
            own_cluster.start()
            own_cluster.wait_until_healthy()
            revision = patient(store, instance_key("web", "two"), str(two.endpoint))
            own_cluster.ctl("compaction", str(revision))
            machine.wait_until_applied(store, revision, 20)
            assert {machine.answers("web") for _ in range(4)} == {"one", "two"}
            machine.wait_until_ready()
            assert machine.log.count("everything stays as it is until etcd is back") <= 3
            assert "mirror: etcd is back" in machine.log

    def test_a_fresh_start_without_etcd_serves_what_is_on_disk(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend
    ) -> None:
        machine.wait_until_applied(store, put_service(store, "web", {"one": one.endpoint}))
        machine.stop_agent()
        machine.kill_haproxy()
        machine.start_haproxy()
        machine.start_agent(ETCD_ENDPOINTS="https://127.0.8.1:1")
        until(lambda: machine.answers("web") == "one")
        until(lambda: "etcd of cluster test does not answer" in machine.get("/health")[1])
        assert machine.get("/health")[0] == 200
        assert machine.get("/ready")[0] == 503
        assert machine.metric("applied_revision") == 0


class TestWhatOnlyThisMachineHas:
    def test_a_port_that_is_taken_costs_its_service_that_port_alone_until_it_is_free(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend
    ) -> None:
        database = TcpBackend("database")
        [port] = free_ports(machine.address, 1)
        with socket.create_server((machine.address, port)):
            put_service(store, "database", {"one": database.endpoint}, scheme="tcp", host_port=str(port))
            machine.wait_until_applied(store, put_service(store, "web", {"one": one.endpoint}))
            assert machine.answers("web") == "one"
            problem = {
                "service": "database",
                "key": "/services/database/host_port",
                "reason": f"something else listens on {port} of this machine",
            }
            until(lambda: problem in machine.published_problems(store))
            assert machine.metric("failed_reloads_total") == 0
        until(lambda: machine.client.greeting(port) == "database" if is_open(machine.address, port) else False)
        until(lambda: problem not in machine.published_problems(store))
        database.close()

    def test_a_port_that_is_taken_while_haproxy_is_away_does_not_keep_it_away(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend
    ) -> None:
        [port] = free_ports(machine.address, 1)
        revision = put_service(store, "web", {"one": one.endpoint}, host_port=str(port))
        machine.wait_until_applied(store, revision)
        machine.kill_haproxy()
        until(lambda: not taken_ports([port], machine.address))
        with socket.create_server((machine.address, port)):
            until(lambda: f"frontend port-{port} " not in (machine.lib / "haproxy.cfg").read_text())
            machine.start_haproxy()
            until(lambda: machine.answers("web") == "one")
        until(lambda: is_open(machine.address, port))

    def test_a_plan_that_haproxy_refuses_leaves_the_last_good_one_in_effect(
        self, machine: AgentMachine, store: Etcd, one: HttpBackend, two: HttpBackend
    ) -> None:
        machine.wait_until_applied(store, put_service(store, "web", {"one": one.endpoint}))
        good = (machine.lib / "haproxy.cfg").read_text()
        worker = machine.worker()
        # What it is told to use in place of `haproxy -c` refuses everything.
        machine.stop_agent()
        program = machine.root / "bin" / "haproxy"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\necho 'no, not this one' >&2\nexit 1\n")
        program.chmod(0o755)
        machine.start_agent(PATH=f"{program.parent}:{os.environ['PATH']}")
        machine.wait_until_ready()
        put_service(store, "new", {"one": one.endpoint})
        until(lambda: "no, not this one" in machine.get("/ready")[1])
        # Instances of what there is go on to come and go.
        store.put(instance_key("web", "two"), str(two.endpoint))
        until(lambda: {machine.answers("web") for _ in range(4)} == {"one", "two"})
        assert machine.answers("new") == "404"
        assert machine.worker() == worker
        assert (machine.lib / "haproxy.cfg").read_text() == good
        assert any("no, not this one" in it["reason"] for it in machine.published_problems(store))
        program.unlink()
        until(lambda: machine.answers("new") == "one", 20)
        machine.wait_until_ready()


class TestCertificates:
    @pytest.fixture
    def secure(self, machine: AgentMachine, store: Etcd, one: HttpBackend) -> AgentMachine:
        """A machine that serves web over https, by the certificate a.pem for web.example."""
        make_certificate(machine.keys / "a.pem", "web.example", "first.example")
        store.put(SSL_SUPPORT, "true")
        put_service(store, "web", {"one": one.endpoint}, scheme="http-and-https")
        until(lambda: self.served(machine, "web.example") == "one")
        machine.wait_until_ready()
        return machine

    def served(self, machine: AgentMachine, name: str) -> str:
        """Return who answers over https with one of the certificates that the router has, for `name`."""
        client = Client(machine.address, trusting(*(machine.lib / "certs").glob("*.pem")))
        try:
            return client.ask(machine.ports["https_port"], "/web/", "", server_name=name).name
        except OSError:
            return ""
        finally:
            client.close()

    def test_they_come_change_and_go_without_a_reload(self, secure: AgentMachine) -> None:
        worker = secure.worker()
        replace_certificate(secure.keys / "a.pem", "web.example", "second.example")
        until(lambda: self.served(secure, "second.example") == "one")
        replace_certificate(secure.keys / "b.pem", "other.example")
        until(lambda: self.served(secure, "other.example") == "one")
        (secure.keys / "b.pem").unlink()
        until(lambda: not (secure.lib / "certs" / "b.pem").exists())
        until(lambda: "b.pem" not in secure.runtime.ask("show ssl cert"))
        assert secure.worker() == worker
        assert [it.name for it in (secure.lib / "certs").iterdir()] == ["a.pem"]
        assert (secure.lib / "certs" / "a.pem").stat().st_mode & 0o777 == 0o600

    def test_a_bad_one_is_reported_and_the_last_good_one_kept(self, secure: AgentMachine, store: Etcd) -> None:
        worker, good = secure.worker(), (secure.keys / "a.pem").read_bytes()
        (secure.keys / "a.pem").write_bytes(good[: len(good) // 2])
        (secure.keys / "strange name.pem").write_bytes(good)
        keys = {str(secure.keys / "a.pem"), str(secure.keys / "strange name.pem")}
        until(lambda: keys <= {it["key"] for it in secure.published_problems(store)})
        until(lambda: self.served(secure, "first.example") == "one")
        assert secure.worker() == worker
        (secure.keys / "a.pem").write_bytes(good)
        (secure.keys / "strange name.pem").unlink()
        until(lambda: not keys & {it["key"] for it in secure.published_problems(store)})

    def test_the_one_that_haproxy_gives_to_everybody_goes_by_a_reload(self, secure: AgentMachine) -> None:
        make_certificate(secure.keys / "z.pem", "last.example")
        until(lambda: self.served(secure, "last.example") == "one")
        (secure.keys / "a.pem").unlink()
        until(lambda: "a.pem" not in secure.runtime.ask("show ssl cert"))
        until(lambda: self.served(secure, "last.example") == "one")


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


def docker_problem(machine: AgentMachine) -> dict[str, str]:
    """Return the one problem that every machine of these tests has: there is no Docker in its folder."""
    return next(it for it in machine.status()["problems"] if it["key"] == "docker")


def replace_certificate(path: Path, *names: str) -> None:
    make_certificate(path.with_suffix(".new"), *names).replace(path)


def is_open(address: str, port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex((address, port)) == 0


def patient(store: Etcd, key: str, value: str, seconds: float = 15) -> int:
    """Put as soon as etcd takes it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return store.put(key, value)
        except EtcdError:
            if time.monotonic() > deadline:
                raise


def test_health_is_one_line_and_a_status(machine: AgentMachine) -> None:
    command = [sys.executable, "-m", "argosy.agent", "health", "--socket", str(machine.root / "run/agent/agent.sock")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ok\n")
    machine.stop_agent()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("the agent does not answer")
    assert done.stdout.count("\n") == 1
