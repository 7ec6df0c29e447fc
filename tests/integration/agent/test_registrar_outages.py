"""The agent, etcd and Docker go and come back; containers are asked to leave meanwhile."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from etcd_cluster import EtcdCluster
from registrar_machine import Containers, Machine, SocketProxy, still
from ssh_server import free_port
from waiting import until

from argosy.etcd import Etcd

pytest_plugins = ["etcd_fixtures", "registrar_fixtures"]
pytestmark = pytest.mark.integration

HTTP = {"argosy.scheme": "http", "argosy.check": "http /"}


class TestRestartOfTheAgent:
    def test_moves_nothing(self, store: Etcd, machine: Machine, containers: Containers) -> None:
        port = free_port()
        containers.run("a", labels=HTTP | {"argosy.weight": "7"}, ports={"80/tcp": ("0.0.0.0", port)})
        containers.run("b", labels=HTTP)
        gone = containers.run("c")
        for name in ("a", "b", "c"):
            machine.until_registered(name)
        before = store.get_prefix("/services/web/").entries
        machine.stop()
        gone.remove(force=True)
        containers.run("d")
        machine.start()
        machine.until_gone("c")
        machine.until_registered("d")
        after = store.get_prefix("/services/web/").entries
        assert [entry for entry in before if entry.key != machine.key("c")] == [
            entry for entry in after if entry.key != machine.key("d")
        ]

    def test_a_container_that_is_sick_meanwhile_goes(self, machine: Machine, containers: Containers) -> None:
        container = containers.run("a", labels=HTTP)
        machine.until_registered("a")
        machine.stop()
        container.exec_run(["touch", "/sick"])
        machine.start()
        machine.until_gone("a")

    def test_without_docker_changes_nothing(self, machine: Machine, containers: Containers, tmp_path: Path) -> None:
        containers.run("a")
        before = machine.until_registered("a")
        machine.stop()
        machine.docker_socket = tmp_path / "nobody.sock"
        machine.start()
        until(lambda: machine.registrar.engine_trouble.reason)
        assert still(machine, "a", 1) == before
        assert [problem.key for problem in machine.registrar.problems] == ["docker"]

    def test_its_end_for_good_ends_the_registrations(
        self, machines: Callable[..., Machine], containers: Containers
    ) -> None:
        machine = machines(ttl_seconds=2)
        containers.run("a")
        machine.until_registered("a")
        machine.stop()
        machine.until_gone("a", seconds=6)
        machine.start()
        machine.until_registered("a")


class TestEtcd:
    def test_a_lost_lease_is_made_up_for(self, store: Etcd, machine: Machine, containers: Containers) -> None:
        containers.run("a", labels=HTTP | {"argosy.weight": "7"})
        before = machine.until_registered("a")
        store.put(machine.key("a", kind="drain"), "")
        store.revoke(before.lease)
        machine.lease.renew()
        after = machine.until_registered("a")
        assert after.lease == machine.lease.id() != before.lease
        weight = machine.entry("a", kind="weight")
        assert weight is not None
        assert weight.lease == after.lease

    def test_an_outage_is_made_up_for(self, cluster: EtcdCluster, machine: Machine, containers: Containers) -> None:
        goes = containers.run("a")
        stays = containers.run("b")
        for name in ("a", "b"):
            machine.until_registered(name)
        cluster.signal(cluster.machines[0].name, signal.SIGSTOP)
        try:
            goes.kill()
            containers.run("c")
            until(lambda: machine.registrar.etcd_trouble.reason)
            assert not machine.registrar.failure
        finally:
            cluster.signal(cluster.machines[0].name, signal.SIGCONT)
        machine.until_gone("a")
        machine.until_registered("c")
        assert machine.entry("b"), stays.name
        until(lambda: not machine.registrar.etcd_trouble.reason)


class TestDocker:
    def test_away_and_back(self, machines: Callable[..., Machine], containers: Containers, tmp_path: Path) -> None:
        proxy = SocketProxy(tmp_path / "docker.sock")
        try:
            machine = machines(docker_socket=proxy.path)
            check = {"test": ["CMD", "true"], "interval": 300_000_000}
            dies = containers.run("a", healthcheck=check)
            checked = containers.run("b", labels={"argosy.check.command": "true"})
            paused = containers.run("c", labels={"argosy.check": "none"})
            for name in ("a", "b", "c"):
                machine.until_registered(name)
            before = machine.entry("b")
            proxy.cut()
            until(lambda: machine.registrar.engine_trouble.reason)
            dies.kill()
            paused.pause()
            machine.until_gone("a")
            containers.run("d")
            assert machine.entry("b") == before, checked.name
            assert machine.entry("c")
            proxy.mend()
            machine.until_registered("d")
            machine.until_gone("c")
            until(lambda: not machine.registrar.problems)
            assert machine.entry("b") == before
            paused.unpause()
            machine.until_registered("c", seconds=2)
        finally:
            proxy.cut()


class TestRequestsToLeave:
    def ask(self, machine: Machine, name: str, seconds: str = "5") -> tuple[int, Any]:
        status, _, body = machine.departures.answer(f"/deregister/{name}", {"seconds": seconds}, b"")
        return status, json.loads(body)

    def test_are_answered_when_all_routers_know(self, store: Etcd, machine: Machine, containers: Containers) -> None:
        container = containers.run("a")
        registered = machine.until_registered("a").mod_revision
        assert container.name
        store.put("/routers/air-01", str(registered))
        store.put("/routers/air-02", str(registered))
        store.put("/routers/air-02/problems", "[]")

        def follow() -> None:
            machine.until_gone("a")
            gone = store.health()
            for name in ("air-01", "air-02"):
                threading.Event().wait(0.3)
                store.put(f"/routers/{name}", str(gone))

        routers = threading.Thread(target=follow)
        routers.start()
        status, answer = self.ask(machine, container.name)
        routers.join()
        assert (status, answer["routers_behind"]) == (200, [])
        assert registered < answer["revision"] <= store.health()
        assert answer["waited_seconds"] > 0.5
        assert self.ask(machine, container.name)[1]["revision"] == answer["revision"], "a second time is as good"

    def test_wait_no_longer_than_they_are_asked_to(self, store: Etcd, machine: Machine, containers: Containers) -> None:
        container = containers.run("a")
        machine.until_registered("a")
        store.put("/routers/air-02", "1")
        store.put("/routers/air-03", "what")
        status, answer = self.ask(machine, str(container.id), "0.5")
        assert (status, answer["routers_behind"]) == (200, ["air-02", "air-03"])

    def test_hold_until_the_container_is_started_anew(self, machine: Machine, containers: Containers) -> None:
        container = containers.run("a")
        machine.until_registered("a")
        assert self.ask(machine, str(container.name))[0] == 200
        assert machine.entry("a") is None
        assert still(machine, "a", 1) is None
        machine.stop()
        machine.start()
        until(lambda: machine.registrar.states)
        assert still(machine, "a", 1) is None
        container.restart(timeout=0)
        machine.until_registered("a")

    def test_for_what_is_no_instance_are_refused(self, machine: Machine) -> None:
        assert self.ask(machine, "nobody")[0] == 404
        assert self.ask(machine, "")[0] == 400
        assert self.ask(machine, "nobody", "forever")[0] == 400

    def test_without_etcd_are_told_so_and_done_later(
        self, cluster: EtcdCluster, machine: Machine, containers: Containers
    ) -> None:
        container = containers.run("a")
        machine.until_registered("a")
        cluster.signal(cluster.machines[0].name, signal.SIGSTOP)
        try:
            status, answer = self.ask(machine, str(container.name), "0.5")
        finally:
            cluster.signal(cluster.machines[0].name, signal.SIGCONT)
        assert status == 503
        assert "not deregistered after 0.5 s" in answer["error"]
        machine.until_gone("a")
