"""The registrar on the real Docker engine and a real etcd: what stands in etcd while containers come, ail and go."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from registrar_machine import ADDRESS, NAME, Containers, Machine, put_state, still, values
from ssh_server import free_port
from waiting import until

from argosy.etcd import Etcd

pytest_plugins = ["etcd_fixtures", "registrar_fixtures"]
pytestmark = pytest.mark.integration

HTTP = {"argosy.scheme": "http", "argosy.check": "http /"}


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
        entries = {entry.key.split("/")[3]: entry for entry in store.get_prefix("/services/web/").entries}
        assert {entry.mod_revision for entry in entries.values()} == {host.mod_revision}
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
        assert {f"{ADDRESS}:{port}": str(endpoint) for port, endpoint in machine.forwards.mapping().items()} == {
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
        until(lambda: all("leads to it" in state["state"] for state in machine.registrar.states))
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
        assert sum("/hosts/" in entry.key for entry in store.get_prefix("/services/").entries) == 1


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
        assert still(machine, "a", 1.5) == before

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
        assert {(event.kind.value, event.entry.key) for event in change.events} == {
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

    def test_that_stays_while_its_machine_drains_also_for_the_next_agent(
        self, store: Etcd, machine: Machine, containers: Containers
    ) -> None:
        put_state(store, "active")
        containers.run("a", labels=HTTP)
        containers.run("b", labels={**HTTP, "argosy.service": "db"})
        before = machine.until_registered("b", "db")
        machine.until_registered("a")
        put_state(store, "draining", "db")
        machine.until_gone("a", seconds=2)
        machine.stop()
        machine.start()
        until(lambda: any(state["state"] == "registered" for state in machine.registrar.states))
        assert machine.entry("b", "db") == before
        put_state(store, "draining")
        machine.until_gone("b", "db", seconds=2)
        put_state(store, "active")


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
        assert still(machine, "a", 1.5) is None
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
