"""Machines are taken out of service while scheduled services run on them: real engines, a real etcd, real registrars.

Routers are told by what their machine's agent has seen; the connections that they have are asked of nobody.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest
from etcd_cluster import EtcdCluster
from service_lab import SERVE, WEB, ServiceLab, service_lab
from swarm_lab import requires_swarm_lab
from waiting import until

from argosy import etcd
from argosy.cluster.opening import OpenCluster
from argosy.config.loading import Settings
from argosy.draining import balancers
from argosy.draining import machine as draining_module
from argosy.draining.machine import Draining, states
from argosy.engine.swarm import Swarm
from argosy.errors import EngineError, Unhealthy
from argosy.services import changing
from argosy.services.applying import Executor
from argosy.services.evacuation import evacuate as evacuation_module
from argosy.services.evacuation.evacuate import Evacuation
from argosy.services.evacuation.plan import moving
from argosy.services.report import ServicesReport
from argosy.services.routers import Routers
from argosy.services.state import Running
from argosy.ssh.host import Hosts

pytest_plugins = ["etcd_fixtures"]
pytestmark = [pytest.mark.integration, pytest.mark.slow(6), requires_swarm_lab]


@dataclass
class Place:
    lab: ServiceLab
    settings: Settings
    hosts: Hosts
    said: list[str] = field(default_factory=list)

    def report(self, subject: str, message: str) -> None:
        self.said.append(f"{subject}: {message}")

    @cached_property
    def cluster(self) -> OpenCluster:
        return OpenCluster(self.settings, self.report, hosts=self.hosts, store=self.lab.work.store)

    @contextmanager
    def draining(self) -> Iterator[Draining]:
        with self.cluster.locked("test"):
            yield Draining(self.cluster)

    def take_out(self, name: str) -> bool:
        with self.draining() as draining:
            return draining.take_out(self.hosts[name], last=lambda: None)

    def put_back(self, name: str) -> None:
        with self.draining() as draining:
            draining.put_back(self.hosts[name])

    def settle(self) -> list[str]:
        store = self.cluster.store
        with self.cluster.locked("test"):
            evacuation = Evacuation(self.cluster)
            evacuation.settle(states(store))
            return evacuation.unsettled(states(store))

    def running(self, name: str = "web") -> Running:
        return self.lab.running(name)

    def on(self, machine: str, name: str = "web") -> int:
        return sum(instance.machine == machine for instance in self.running(name).up)

    def availability(self) -> dict[str, str]:
        return {node.hostname: node.availability for node in self.lab.work.swarm.nodes()}

    def told(self) -> dict[str, str]:
        """Return what `service.list` says of each service, once all of them are registered."""
        until(lambda: "registered" not in "".join(self._told().values()), 20)
        return self._told()

    def _told(self) -> dict[str, str]:
        found = ServicesReport(self.lab.work.look())
        return {name: found.state(name) for name in found.names}

    def calm(self, replicas: int = 3, name: str = "web") -> bool:
        """Return whether a service is as if nothing had ever moved."""
        running = self.running(name)
        return (
            running.service.replicas == replicas
            and not any(label.startswith("argosy.moving") for label in running.service.labels)
            and len(running.up) == replicas
            and {instance.id for instance in running.up} == self.lab.hosts(name)
            and not self.lab.work.look().of(name).withdrawn
        )


@pytest.fixture(scope="module")
def shared(cluster: EtcdCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceLab]:
    with (
        etcd.connect(cluster.settings(), cluster.machines) as store,
        service_lab(tmp_path_factory.mktemp("services"), cluster, store) as made,
    ):
        yield made


@pytest.fixture
def at(shared: ServiceLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    shared.swarms.lead(monkeypatch)
    # No router is behind these machines' agents: nobody has connections.
    monkeypatch.setattr(draining_module.Draining, "_wait_for_connections", lambda *_: None)
    monkeypatch.setattr(Routers, "wait_until_idle", lambda *_: {})
    monkeypatch.setattr(balancers, "wait_until_out", lambda *_: None)
    ssh = {"user": "root", "key": str(shared.swarms.folder / "ssh" / "key")}
    settings = shared.swarms.settings(ssh=ssh, discovery={"ttl_seconds": 2})
    assert settings.system == shared.settings.system
    for machine in shared.swarms.machines():
        record = {"address": machine.address, "role": "member", "release": "1", "state": "active", "metadata": {}}
        shared.work.store.put(f"/machines/{machine.name}", json.dumps(record))
    with Hosts(settings, shared.swarms.machines()) as hosts:
        made = Place(shared, settings, hosts)
        yield made
        for node in shared.work.swarm.nodes():
            shared.work.swarm.update_node(node, availability="active")
        shared.clear()


def test_instances_serve_elsewhere_before_their_own_machine_is_taken_out(at: Place) -> None:
    at.lab.submit(web={**WEB, "replicas": 3}, everywhere={**WEB, "replicas": None, "global": True})
    assert at.on("air-02") == 1
    own = next(instance for instance in at.running().up if instance.machine == "air-02")
    serving: list[int] = []

    with at.draining() as draining:
        draining._evacuation.evacuate(at.hosts["air-02"])
        # Nothing has ended: the new one serves beside the old ones, and the old gets nothing any more.
        found = at.running()
        assert {instance.machine for instance in found.up if instance.id != own.id} == {"air-01", "air-03"}
        assert sum(instance.registered for instance in found.up) == 4
        assert [instance.weight for instance in found.up if instance.id == own.id] == [0]
        assert at.availability()["air-02"] == "pause"
        assert found.service.labels["argosy.moving.air-02"] == "1"
        serving.append(len([instance for instance in found.up if instance.weight]))
    assert serving == [3]

    assert at.take_out("air-02")
    assert states(at.lab.work.store)["air-02"] == "draining"
    assert at.availability()["air-02"] == "drain"
    assert at.on("air-02") == 0
    assert at.on("air-02", "everywhere") == 0
    assert at.calm()
    assert not at.lab.swarms.nodes["air-02"].docker("ps", "-q")
    assert at.take_out("air-02")  # again: nothing moves
    assert at.told() == {"web": "running", "everywhere": "running"}, "nothing has failed"

    at.put_back("air-02")
    assert at.availability()["air-02"] == "active"
    until(lambda: at.on("air-02", "everywhere") == 1, 20)
    assert at.calm()
    assert at.told() == {"web": "running", "everywhere": "running"}


def test_several_machines_at_once_add_up(at: Place) -> None:
    at.lab.submit(web={**WEB, "replicas": 3})
    with at.draining() as draining:
        for name in ("air-01", "air-02"):
            draining._evacuation.evacuate(at.hosts[name])
        service = at.running().service
        assert service.replicas == 3 + sum(moving(service).values())
        assert set(moving(service)) == {"air-01", "air-02"}
        for name in ("air-01", "air-02"):
            draining._evacuation.finish(at.hosts[name])
    assert at.calm()
    assert at.on("air-03") == 3


def test_where_there_is_no_other_place_that_is_said_and_it_goes_on(at: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evacuation_module, "HOMELESS_SECONDS", 1.0)
    at.lab.submit(web={**WEB, "replicas": 1, "constraints": ["machine=air-01"]})
    assert at.take_out("air-01")
    assert any("Swarm finds no place for web elsewhere (no suitable node" in line for line in at.said)
    assert "air-01: no instance of web is left while air-01 is away" in at.said
    running = at.running()
    assert (running.service.replicas, len(running.up)) == (1, 0)
    at.put_back("air-01")
    until(lambda: at.calm(1), 20)


@pytest.mark.parametrize(
    ("first", "reason"), [("exit 1", "new instances of web fail elsewhere"), ("sleep 60", "no more in the time")]
)
def test_new_instances_that_do_not_serve_leave_the_machine_in_service(at: Place, first: str, reason: str) -> None:
    web = {**WEB, "replicas": 1, "update": {"deadline_seconds": 6}}
    check = {"command": ["cat", "/tmp/w/index.html"], "deadline_seconds": 30}
    at.lab.submit(web={**web, "command": ["sh", "-c", f"test $ARGOSY_SLOT = 1 || {first}; {SERVE}"], "check": check})
    (own,) = at.running().up
    with pytest.raises(Unhealthy, match=reason):
        at.take_out(own.machine)
    assert states(at.lab.work.store)[own.machine] == "active"
    assert at.availability()[own.machine] == "active"
    assert at.running().service.replicas == 1
    until(lambda: at.calm(1), 20)
    assert [instance.id for instance in at.running().up] == [own.id]


def test_killed_at_any_moment_the_same_again_or_giving_up_ends_well(at: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    at.lab.submit(web={**WEB, "replicas": 3})
    allowed = calls = 0
    changing_calls: dict[str, Any] = {
        "update_node": Swarm.update_node,
        "update_service": Swarm.update_service,
    }

    class Killed(BaseException):
        """As kill -9: nothing is done on the way out."""

    def counted(name: str) -> Any:
        def call(self: Swarm, *given: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > allowed:
                raise Killed
            return changing_calls[name](self, *given, **named)

        return call

    def restore() -> None:
        for name, real in changing_calls.items():
            monkeypatch.setattr(Swarm, name, real)

    for end in ("again", "abort", "settle"):
        allowed = 0
        while True:
            machine = next(instance.machine for instance in at.running().up)
            calls = 0
            for name in changing_calls:
                monkeypatch.setattr(Swarm, name, counted(name))
            try:
                at.take_out(machine)
                finished = True
            except Killed:
                finished = False
            restore()
            if end == "again":
                assert at.take_out(machine)
                assert at.on(machine) == 0
                assert at.calm()
            if end == "settle" and states(at.lab.work.store)[machine] == "active":
                assert at.settle() == []
                until(at.calm, 20)
                assert set(at.availability().values()) == {"active"}
            at.put_back(machine)
            until(at.calm, 20)
            assert set(at.availability().values()) == {"active"}
            if finished:
                break
            allowed += 1
        assert allowed >= 3


def test_a_machine_in_no_swarm_is_drained_as_ever(at: Place) -> None:
    off = at.lab.swarms.settings(swarm={"enabled": False}, discovery={"ttl_seconds": 2})
    at.settings = off
    assert at.take_out("air-03")
    assert at.availability()["air-03"] == "active"
    at.put_back("air-03")


def test_scaling_meanwhile_is_what_counts(at: Place) -> None:
    """A drain is killed, somebody scales, the drain goes on: the service has what it was scaled to."""
    at.lab.submit(web={**WEB, "replicas": 3})
    with at.draining() as draining:
        draining._evacuation.evacuate(at.hosts["air-01"])
    at.lab.make(changing.scale("web", 2))
    assert at.take_out("air-01")
    assert at.calm(2)
    at.put_back("air-01")
    assert at.calm(2)


def test_what_can_not_be_reached_stops_a_drain_before_anything_ends(at: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    at.lab.submit(web={**WEB, "replicas": 3})
    monkeypatch.setattr(Swarm, "tasks", lambda *_given, **_named: (_ for _ in ()).throw(EngineError("gone")))
    with pytest.raises(EngineError, match="gone"):
        at.take_out("air-01")
    monkeypatch.undo()
    assert states(at.lab.work.store)["air-01"] == "active"
    assert len(at.running().up) == 3


DATABASE = {**WEB, "replicas": 1, "volumes": [{"source": "argosy-lab-data", "target": "/data"}]}


def home_of(at: Place) -> str:
    (home,) = at.lab.work.look().of("db").homes
    return home


def serving(at: Place) -> bool:
    """Return whether the one instance of the database is registered, and no router was told to let go of it."""
    found = at.lab.work.look().of("db")
    return [bool(instance.weight) for instance in found.instances if instance.task.runs] == [True]


def test_a_database_serves_while_its_machine_is_upgraded_around_it(at: Place) -> None:
    at.lab.submit(web={**WEB, "replicas": 3}, db=DATABASE)
    home, (own,) = home_of(at), at.running("db").up
    assert own.machine == home
    seen: list[bool] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            seen.append(serving(at))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert at.take_out(home)
        assert states(at.lab.work.store)[home] == "draining"
        assert at.lab.hosts("db") == {own.id}
        assert not any(id.startswith(f"{home}:") for id in at.lab.hosts("web"))
        assert at.availability()[home] == "pause"
        assert at.take_out(home)  # as who resumes a rollout that has failed there
        at.put_back(home)
        until(lambda: any(id.startswith(f"{home}:") for id in at.lab.hosts("web")), 20)
        with at.draining() as draining:
            draining.give_back(at.hosts[home])
    finally:
        ended.set()
        watcher.join()
    assert at.calm()
    assert [instance.id for instance in at.running("db").up] == [own.id]
    assert len(seen) > 5
    assert all(seen)


def test_what_runs_since_before_homes_were_recorded_stays_without_a_restart(at: Place) -> None:
    at.lab.submit(db=DATABASE)
    (own,) = at.running("db").up
    with at.lab.work.locked("test"):
        Executor(at.lab.work, "db").keep_home(())
    assert at.lab.work.look().of("db").homes == ()
    assert at.settle() == []
    assert home_of(at) == own.machine
    assert [instance.id for instance in at.running("db").up] == [own.id]


def test_a_volume_that_is_given_up_begins_anew_elsewhere(at: Place) -> None:
    at.lab.submit(db=DATABASE)
    home = home_of(at)
    with at.lab.work.locked("test"):
        Executor(at.lab.work, "db").lose_home(home)
    with at.draining() as draining:
        draining.send_off(at.hosts[home])
    (moved,) = at.running("db").up
    assert moved.machine != home
    assert at.settle() == []
    assert home_of(at) == moved.machine


def test_what_grows_is_placed_anywhere_and_scaled_to_nothing_keeps_its_homes(at: Place) -> None:
    at.lab.submit(db={**DATABASE, "max_per_machine": 1})
    first = home_of(at)
    at.lab.make(changing.scale("db", 2))
    homes = at.lab.work.look().of("db").homes
    assert len(homes) == 2
    assert first in homes
    at.lab.make(changing.scale("db", 0))
    assert at.lab.work.look().of("db").homes == homes
    at.lab.make(changing.scale("db", 1))
    assert set(at.lab.work.look().of("db").homes) < set(homes)
    assert at.settle() == []
