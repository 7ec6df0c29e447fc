"""The weight of a generation's instances in etcd, on the real Docker engine."""

from __future__ import annotations

from functools import partial

import pytest
from registrar_machine import Containers, Machine, still, values
from waiting import until

from argosy.agent.mirror import Batch
from argosy.etcd import Etcd

pytest_plugins = ["etcd_fixtures", "registrar_fixtures"]
pytestmark = pytest.mark.integration

HTTP = {"argosy.scheme": "http", "argosy.check": "http /"}


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
        assert {
            (event.entry.key, event.entry.value) for event in change.events if "/hosts/" not in event.entry.key
        } == {(machine.key("a", kind="weight"), "0")}
        assert any(event.entry.key == machine.key("a") for event in change.events)
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
        until(lambda: [state["state"] for state in machine.registrar.states] == ["registered"])
        assert still(machine, "a", 1) == before
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
