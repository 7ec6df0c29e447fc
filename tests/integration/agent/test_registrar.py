"""The registrar on the real Docker engine and a real etcd: what stands in etcd while containers come, ail and go."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from etcd_cluster import EtcdCluster
from registrar_machine import ADDRESS, NAME, Containers, Machine, SocketProxy, containers_of
from ssh_server import free_port
from waiting import until

from argosy import etcd
from argosy.agent.mirror import Batch
from argosy.etcd import Etcd

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration

HTTP = {"argosy.scheme": "http", "argosy.check": "http /"}


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"test-registrar-{os.getpid()}-{abs(hash(request.node.name)) % 10000}"


@pytest.fixture
def containers(prefix: str) -> Iterator[Containers]:
    with containers_of(prefix) as made:
        yield made


@pytest.fixture
def machines(cluster: EtcdCluster, store: Etcd, prefix: str, tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    made: list[Machine] = []

    def make(**options: Any) -> Machine:
        made.append(Machine(tmp_path, store, lease_store, prefix, **options))
        made[-1].start()
        return made[-1]

    with etcd.connect(cluster.settings(), cluster.machines) as lease_store:
        yield make
        for machine in made:
            machine.stop()


@pytest.fixture
def machine(machines: Callable[..., Machine]) -> Machine:
    return machines()


def values(store: Etcd, prefix: str = "/services/web/") -> dict[str, str]:
    return {it.key.removeprefix(prefix): it.value for it in store.get_prefix(prefix).entries}


def put_state(store: Etcd, state: str) -> None:
    store.put(f"/machines/{NAME}", json.dumps({"address": ADDRESS, "state": state}))


class TestRegistration:
    def test_when_the_check_passes_and_in_one_transaction(
        self, store: Etcd, machine: Machine, containers: Containers
    ) -> None:
        for attribute in ("host_port", "sni"):
            store.put(f"/services/web/{attribute}", "9999")
        port = free_port()
        labels = HTTP | {"argosy.weight": "10", "argosy.private": "true"}
        sick = containers.run("a", port=port, before="touch /sick", labels=labels, network_mode="host")
        until(lambda: "status 503" in str(machine.registrar.states))
        assert machine.entry("a") is None
        sick.exec_run(["rm", "/sick"])
        host = machine.until_registered("a")
        assert values(store) == {
            f"hosts/{NAME}:{sick.name}": f"{ADDRESS}:{port}",
            f"weight/{NAME}:{sick.name}": "10",
            "scheme": "http",
            "check": "http /",
            "private": "true",
        }
        entries = {it.key.split("/")[3]: it for it in store.get_prefix("/services/web/").entries}
        assert {it.mod_revision for it in entries.values()} == {host.mod_revision}
        assert entries["hosts"].lease == entries["weight"].lease == machine.lease.id()
        assert entries["scheme"].lease == entries["check"].lease == 0

    def test_and_not_while_it_fails(self, machine: Machine, containers: Containers) -> None:
        container = containers.run("a", labels=HTTP)
        machine.until_registered("a")
        container.exec_run(["touch", "/sick"])
        machine.until_gone("a")
        until(lambda: machine.problems("a") and "status 503" in machine.problems("a")[0])
        container.exec_run(["rm", "/sick"])
        machine.until_registered("a")
        until(lambda: not machine.problems("a"))

    def test_of_a_published_port_and_of_several_instances(
        self, store: Etcd, machine: Machine, containers: Containers
    ) -> None:
        port = free_port()
        containers.run("a", ports={"80/tcp": ("0.0.0.0", port)})
        hidden = containers.run("b", ports={"80/tcp": ("127.0.0.1", None)})
        containers.run("c", network_mode="none")
        assert machine.until_registered("a").value == f"{ADDRESS}:{port}"
        forwarded = machine.until_registered("b").value
        hidden.reload()
        inside = hidden.attrs["NetworkSettings"]["IPAddress"]
        assert {f"{ADDRESS}:{port}": str(it) for port, it in machine.forwards.mapping().items()} == {
            forwarded: f"{inside}:80"
        }
        until(lambda: machine.problems("c") == ["port 80 is not published, and it is on no bridge of this machine"])
        assert "scheme" not in values(store)

    def test_behind_the_bridge_waits_for_the_router(
        self, machines: Callable[..., Machine], containers: Containers
    ) -> None:
        machine = machines(routed=False)
        first = containers.run("a")
        containers.run("b", labels={"argosy.check": "none"})
        until(lambda: len(machine.forwards.mapping()) == 2)
        until(lambda: all("leads to it" in it["state"] for it in machine.registrar.states))
        mapping = machine.forwards.mapping()
        machine.forwards.note_applied({20900: mapping[20900]})
        until(lambda: len(machine.store.get_prefix("/services/").entries) == 1)
        machine.forwards.note_applied(mapping)
        before = machine.until_registered("a")
        machine.until_registered("b")
        first.stop(timeout=0)
        machine.until_gone("a")
        until(lambda: len(machine.forwards.mapping()) == 1)
        first.start()
        until(lambda: len(machine.forwards.mapping()) == 2)
        machine.forwards.note_applied(machine.forwards.mapping())
        assert machine.until_registered("a").value == before.value

    def test_by_docker_s_own_check(self, machine: Machine, containers: Containers) -> None:
        check = {"test": ["CMD", "test", "-e", "/ok"], "interval": 300_000_000, "retries": 1}
        container = containers.run("a", labels={"argosy.check": "none"}, healthcheck=check)
        until(lambda: "starting" in str(machine.registrar.states) or "unhealthy" in str(machine.registrar.states))
        assert machine.entry("a") is None
        container.exec_run(["touch", "/ok"])
        machine.until_registered("a")
        container.exec_run(["rm", "/ok"])
        machine.until_gone("a")

    def test_by_a_command(self, machine: Machine, containers: Containers) -> None:
        labels = {"argosy.check.command": "echo looking; test -e /ok", "argosy.check.seconds": "0.2"}
        container = containers.run("a", labels=labels)
        until(lambda: "exit code 1: looking" in str(machine.registrar.states))
        assert machine.entry("a") is None
        container.exec_run(["touch", "/ok"])
        machine.until_registered("a")
        container.exec_run(["rm", "/ok"])
        machine.until_gone("a")

    def test_not_with_bad_labels_which_harm_nobody_else(
        self, store: Etcd, machine: Machine, containers: Containers
    ) -> None:
        containers.run("a", labels={"argosy.scheme": "gopher", "argosy.weight": "1"})
        containers.run("b", labels={"argosy.service": "Not A Name"})
        containers.run("c", labels=HTTP)
        machine.until_registered("c")
        until(lambda: machine.problems("a") and machine.problems("b"))
        assert "'gopher' is none of" in machine.problems("a")[0]
        assert "'Not A Name' is no service's name" in machine.problems("b")[0]
        assert sum("/hosts/" in it.key for it in store.get_prefix("/services/").entries) == 1


class TestDeregistration:
    def test_of_one_that_is_stopped_comes_before_its_end(self, machine: Machine, containers: Containers) -> None:
        container = containers.run("a")
        machine.until_registered("a")
        stopping = threading.Thread(target=container.stop, kwargs={"timeout": 3})
        stopping.start()
        machine.until_gone("a", seconds=2)
        container.reload()
        assert container.status == "running"
        stopping.join()
        container.start()
        machine.until_registered("a")

    @pytest.mark.parametrize("number", ["KILL", "TERM"])
    def test_of_one_that_is_killed(self, machine: Machine, containers: Containers, number: str) -> None:
        container = containers.run("a")
        machine.until_registered("a")
        container.kill(number)
        machine.until_gone("a", seconds=2)

    def test_not_by_a_signal_to_reload(self, machine: Machine, containers: Containers) -> None:
        container = containers.run("a")
        before = machine.until_registered("a")
        container.kill("HUP")
        assert self.still(machine, "a", 1.5) == before

    def test_of_one_that_is_paused(self, machine: Machine, containers: Containers) -> None:
        container = containers.run("a")
        machine.until_registered("a")
        container.pause()
        machine.until_gone("a", seconds=2)
        container.unpause()
        machine.until_registered("a", seconds=2)

    def test_of_one_that_is_renamed_is_one_step(
        self, store: Etcd, machine: Machine, containers: Containers, prefix: str
    ) -> None:
        container = containers.run("a")
        before = machine.until_registered("a")
        with store.watch("/services/", before.mod_revision + 1) as changes:
            container.rename(f"{prefix}-b")
            change = next(changes)
        assert {(it.kind.value, it.entry.key) for it in change.events} == {
            ("delete", machine.key("a")),
            ("put", machine.key("b")),
        }
        assert machine.until_registered("b").value == before.value

    def test_of_a_machine_that_drains(self, store: Etcd, machine: Machine, containers: Containers) -> None:
        put_state(store, "active")
        containers.run("a", labels=HTTP)
        machine.until_registered("a")
        for state in ("draining", "down"):
            put_state(store, state)
            machine.until_gone("a", seconds=2)
            assert values(store)["scheme"] == "http"
            put_state(store, "active")
            machine.until_registered("a", seconds=2)

    @staticmethod
    def still(machine: Machine, name: str, seconds: float) -> object:
        """Return what stands after some seconds of nothing but time, which must not change it."""
        threading.Event().wait(seconds)
        return machine.entry(name)


class TestOthersWrites:
    def test_what_somebody_deletes_comes_back(self, store: Etcd, machine: Machine, containers: Containers) -> None:
        containers.run("a", labels=HTTP)
        machine.until_registered("a")
        store.delete("/services/web/", prefix=True)
        machine.until_registered("a", seconds=3)
        until(lambda: values(store).get("scheme") == "http")

    def test_but_not_what_is_drained(self, store: Etcd, machine: Machine, containers: Containers) -> None:
        container = containers.run("a")
        machine.until_registered("a")
        store.put(machine.key("a", kind="drain"), "")
        store.delete(machine.key("a"))
        assert TestDeregistration.still(machine, "a", 1.5) is None
        container.restart(timeout=0)
        machine.until_registered("a")

    def test_the_attributes_of_a_newer_version_stay(
        self, store: Etcd, machine: Machine, containers: Containers
    ) -> None:
        container = containers.run("a", labels=HTTP)
        machine.until_registered("a")
        store.put("/services/web/scheme", "https")
        container.exec_run(["touch", "/sick"])
        machine.until_gone("a")
        container.exec_run(["rm", "/sick"])
        machine.until_registered("a")
        assert values(store)["scheme"] == "https"

    def test_instances_of_operators_are_left_alone(self, store: Etcd, machine: Machine, containers: Containers) -> None:
        store.put(f"/services/web/hosts/{NAME}:by-hand", "127.0.0.1:1")
        containers.run("a")
        machine.until_registered("a")
        assert store.get(f"/services/web/hosts/{NAME}:by-hand")


class TestAGeneration:
    labels = HTTP | {"argosy.generation": "7"}
    key = "/services/web/generation/7"

    def weight(self, machine: Machine, name: str = "a") -> str:
        found = machine.entry(name, kind="weight")
        return found.value if found else ""

    def have(self, machine: Machine, weights: list[str]) -> bool:
        return [self.weight(machine, "a"), self.weight(machine, "b")] == weights

    def test_of_no_weight_gets_nothing_from_the_very_first_write(
        self, store: Etcd, machine: Machine, containers: Containers
    ) -> None:
        revision = store.put(self.key, "0")
        with store.watch("/services/web/", revision + 1) as changes:
            containers.run("a", labels=self.labels | {"argosy.weight": "50"})
            change = next(changes)
        assert {(it.entry.key, it.entry.value) for it in change.events if "/hosts/" not in it.entry.key} == {
            (machine.key("a", kind="weight"), "0")
        }
        assert any(it.entry.key == machine.key("a") for it in change.events)
        assert "scheme" not in values(store)

    def test_follows_its_key_and_is_in_charge_when_that_goes(
        self, store: Etcd, machine: Machine, containers: Containers
    ) -> None:
        store.put(self.key, "0")
        containers.run("a", labels=self.labels)
        containers.run("b", labels=self.labels | {"argosy.weight": "50"})
        containers.run("c", labels=HTTP | {"argosy.generation": "6"})
        for name in ("a", "b", "c"):
            machine.until_registered(name)
        assert values(store)["scheme"] == "http"
        store.put("/services/web/scheme", "https")
        for weight in ("25", "200", "0"):
            store.put(self.key, weight)
            until(partial(self.have, machine, [weight, weight]), seconds=1)
        assert self.weight(machine, "c") == ""
        assert values(store)["scheme"] == "https"
        store.delete(self.key)
        until(partial(self.have, machine, ["", "50"]), seconds=1)
        until(lambda: values(store)["scheme"] == "http")

    def test_of_a_bad_weight_has_that_of_its_label(self, store: Etcd, machine: Machine, containers: Containers) -> None:
        store.put(self.key, "everything")
        containers.run("a", labels=self.labels | {"argosy.weight": "50"})
        machine.until_registered("a")
        assert self.weight(machine) == "50"

    def test_an_operator_s_weight_wins(self, store: Etcd, machine: Machine, containers: Containers) -> None:
        store.put(self.key, "10")
        containers.run("a", labels=self.labels)
        containers.run("b", labels=self.labels)
        machine.until_registered("a")
        machine.until_registered("b")
        store.put(machine.key("a", kind="weight"), "99")
        store.put(self.key, "20")
        until(lambda: self.weight(machine, "b") == "20")
        found = machine.entry("a", kind="weight")
        assert found is not None
        assert (found.value, found.lease) == ("99", 0)
        store.delete(machine.key("a", kind="weight"))
        until(lambda: self.weight(machine, "a") == "20")

    def test_keeps_its_weight_over_a_restart_of_the_agent(
        self, store: Etcd, machine: Machine, containers: Containers
    ) -> None:
        store.put(self.key, "0")
        containers.run("a", labels=self.labels)
        before = machine.until_registered("a")
        revision = store.health()
        machine.stop()
        machine.start()
        until(lambda: [it["state"] for it in machine.registrar.states] == ["registered"])
        assert TestDeregistration.still(machine, "a", 1) == before
        weight = machine.entry("a", kind="weight")
        assert weight is not None
        assert (weight.value, weight.mod_revision <= revision) == ("0", True)
        assert "scheme" not in values(store)
        machine.stop()
        store.delete(self.key)
        machine.start()
        until(lambda: self.weight(machine) == "")
        until(lambda: values(store).get("scheme") == "http")

    def test_is_not_registered_by_a_mirror_that_is_late(
        self, store: Etcd, machine: Machine, containers: Containers
    ) -> None:
        containers.run("c", labels=self.labels)
        machine.until_registered("c")
        told, held = list(machine.mirror._subscribers), list[Batch]()
        machine.mirror._subscribers[:] = [held.append]
        store.put(self.key, "0")
        containers.run("a", labels=self.labels)
        other = containers.run("b")
        machine.until_registered("b")
        other.kill()
        machine.until_gone("b", seconds=2)
        assert machine.entry("a") is None
        with machine.mirror._turn:
            machine.mirror._subscribers[:] = told
            for batch in held:
                for callback in told:
                    callback(batch)
        machine.until_registered("a")
        assert (self.weight(machine, "a"), self.weight(machine, "c")) == ("0", "0")

    def test_comes_back_with_its_weight_after_a_lost_lease(
        self, store: Etcd, machine: Machine, containers: Containers
    ) -> None:
        store.put(self.key, "0")
        containers.run("a", labels=self.labels)
        before = machine.until_registered("a")
        store.revoke(before.lease)
        machine.lease.renew()
        until(lambda: (found := machine.entry("a")) is not None and found.lease != before.lease)
        assert self.weight(machine) == "0"


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
        assert [it for it in before if it.key != machine.key("c")] == [it for it in after if it.key != machine.key("d")]

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
        assert TestDeregistration.still(machine, "a", 1) == before
        assert [it.key for it in machine.registrar.problems] == ["docker"]

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
        assert 0.5 < answer["waited_seconds"] < 4
        assert self.ask(machine, container.name)[1]["revision"] == answer["revision"], "a second time is as good"

    def test_wait_no_longer_than_they_are_asked_to(self, store: Etcd, machine: Machine, containers: Containers) -> None:
        container = containers.run("a")
        machine.until_registered("a")
        store.put("/routers/air-02", "1")
        store.put("/routers/air-03", "what")
        started = time.monotonic()
        status, answer = self.ask(machine, str(container.id), "0.5")
        assert (status, answer["routers_behind"]) == (200, ["air-02", "air-03"])
        assert time.monotonic() - started < 2

    def test_hold_until_the_container_is_started_anew(self, machine: Machine, containers: Containers) -> None:
        container = containers.run("a")
        machine.until_registered("a")
        assert self.ask(machine, str(container.name))[0] == 200
        assert machine.entry("a") is None
        assert TestDeregistration.still(machine, "a", 1) is None
        machine.stop()
        machine.start()
        until(lambda: machine.registrar.states)
        assert TestDeregistration.still(machine, "a", 1) is None
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
