"""HAProxy, the agent and etcd end and come back, as processes; requests go on."""

from __future__ import annotations

import signal
import socket
import threading
import time

import pytest
from agent_machine import AgentMachine, agent_machine, delete, put_service
from etcd_cluster import EtcdCluster
from haproxy_server import requires_haproxy
from router_backends import HttpBackend
from waiting import until

from argosy import etcd
from argosy.errors import EtcdError
from argosy.etcd import Etcd
from argosy.schema import instance_key, router_key

pytest_plugins = ["etcd_fixtures", "agent_fixtures"]
pytestmark = [pytest.mark.integration, requires_haproxy]


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

    def test_a_stop_leaves_everything(self, machine: AgentMachine, store: Etcd, one: HttpBackend) -> None:
        machine.wait_until_applied(store, put_service(store, "web", {"one": one.endpoint}))
        assert machine.stop_agent() == 0
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


def patient(store: Etcd, key: str, value: str, seconds: float = 15) -> int:
    """Put as soon as etcd takes it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return store.put(key, value)
        except EtcdError:
            if time.monotonic() > deadline:
                raise


def is_open(address: str, port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex((address, port)) == 0
