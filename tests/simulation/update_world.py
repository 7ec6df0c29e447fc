"""A cluster in memory whose scheduled service is updated: its Swarm, agents, routers, and what must always be true.

Nothing of it has a thread: what is due by the simulation's time happens, in order, whenever an operator looks.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from fake_etcd import Client
from scheduler import Process, Scheduler
from world import START, SimulatedClock, Violation, World

from argosy.cluster import lock as cluster_lock
from argosy.cluster.lock import ClusterLock
from argosy.config.loading import load
from argosy.config.scheduled import ScheduledSettings
from argosy.engine import swarm_model
from argosy.engine.swarm import Swarm
from argosy.engine.swarm_model import LogLine, Node, SwarmService
from argosy.errors import EngineError, EngineRefused, OutOfSequence
from argosy.etcd import Delete, Entry, Etcd, Put
from argosy.model import Endpoint
from argosy.routing.haproxy import server_name
from argosy.schema import SERVICES, generation_key, instance_key, machine_key, parse_endpoint, router_key, weight_key
from argosy.schema.instances import Registration, Wanted, plan, plan_generations, weight_of
from argosy.services.record import PREFIX, Generation, ScheduledRecord, ServiceImage
from argosy.services.routers import Routers
from argosy.services.spec import render_spec, routing_of, service_labels
from argosy.services.updates.interfaces import Operator
from argosy.services.updates.record import UPDATES, Update, UpdateStep
from argosy.services.work import ServicesCluster

NAME, SYSTEM = "web", "air"
DEADLINE_SECONDS = 40.0
LEASE = 1
SETTINGS = load(
    {
        "system": SYSTEM,
        "discovery": {"ttl_seconds": 10},
        "rollout": {"drain_seconds": 5},
        "clusters": {"test": {}},
    },
    root=Path(__file__).parent,
)
SERVING = 100
LATE_SECONDS = 4.0
"""So long what was seen of an instance may be out of date."""


def definition(version: int, **fields: object) -> ScheduledSettings:
    """Return a definition whose routes are other in each version, too."""
    update = {"deadline_seconds": DEADLINE_SECONDS, **fields.pop("update", {})}  # type: ignore[dict-item]
    found = {
        "image": f"web:{version}",
        "discovery": {"port": 80, "scheme": "http"},
        "check": {"http": {"port": 80, "path": f"/{version % 2}"}},
        "stop": {"grace_seconds": 3},
        "update": update,
        **fields,
    }
    return ScheduledSettings.model_validate(found)


@lru_cache
def attributes_of(reference: str) -> Mapping[str, str] | None:
    """Return the keys that a service has by the labels of a version of it."""
    made = Generation(1, definition(int(reference.partition(":")[2])), ServiceImage(reference))
    return routing_of(SETTINGS, NAME, made).attributes


read_update = lru_cache(1000)(Update.parse)
read_record = lru_cache(1000)(ScheduledRecord.parse)


def containers(number: int) -> str:
    return f"{SYSTEM}-{NAME}-{number}."


@dataclass
class Task:
    """`well_at`: since when its check passes; None for never. `state` and `wanted`: as Swarm tells them."""

    id: str
    machine: str
    slot: int
    number: int
    state: str = "starting"
    wanted: bool = True
    well: bool = False
    told: bool = False
    declared: bool = False
    ill_since: float = 0.0

    @property
    def container(self) -> str:
        return f"{containers(self.number)}{self.slot}.{self.id}"

    @property
    def instance(self) -> str:
        return f"{self.machine}:{self.container}"

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("10.0.0.1", 20000 + int(self.id))

    @property
    def over(self) -> bool:
        return self.state in ("failed", "shutdown")


@dataclass
class Service:
    """A service of Swarm. `replicas`: None for a global one, which `held` keeps from running anywhere."""

    id: str
    version: int
    spec: Mapping[str, Any]
    tasks: list[Task] = field(default_factory=list)

    @property
    def seen(self) -> SwarmService:
        return SwarmService(self.id, self.version, self.spec["Name"], self.spec["Labels"], self.spec)

    @property
    def number(self) -> int:
        return int(self.spec["Labels"]["argosy.generation"])

    @property
    def reference(self) -> str:
        return self.seen.image

    @property
    def replicas(self) -> int | None:
        return self.seen.replicas

    @property
    def held(self) -> bool:
        return bool(self.spec["TaskTemplate"]["Placement"]["Constraints"])


@dataclass
class Machine:
    """`slow`, `lag`: seconds that its agent, and its router, take at most to follow. `routes`: the weights by which its
    router sends to instances."""

    name: str
    up: bool = True
    drained: bool = False
    slow: float = 0.5
    lag: float = 0.3
    routes: dict[str, int] = field(default_factory=dict)
    applied: int = 0


class UpdateWorld(World[Operator]):
    """`bad`: by image, how new instances turn out: `sick` (never pass their check), `crash` (end at once), `flaky` (all
    but one fail after a while), `mortal` (all are ill for good from some moment on). `stalls`: how often in 1,000 a
    call of Swarm's is one that an operator stands still in; `fails`: one that does."""

    def __init__(
        self, scheduler: Scheduler, size: int, replicas: int | None, bad: Mapping[str, str], stop_first: bool
    ) -> None:
        super().__init__(scheduler)
        self.random = scheduler.random
        self.bad = dict(bad)
        self.ill: set[str] = set()
        self.stalls = 0
        self.fails = 0
        self.stop_first = stop_first
        names = [f"air-{number:02}" for number in range(1, size + 1)]
        self.machines = {name: Machine(name, lag=self.random.choice((0.3, 0.3, 0.3, 6.0))) for name in names}
        self.services: dict[int, Service] = {}
        self.quiet = False
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count(1)
        self._versions = itertools.count(1)
        self._advancing = False
        self._dead: list[Service] = []
        self.etcd.grant(10**9)
        self.etcd.before = self.advance
        first = Generation(1, *self._version(1, replicas))
        record = ScheduledRecord(NAME, first, replicas, START, "world")
        self.etcd.transact("world", [], [Put(record.key, record.text())])
        for name in self.machines:
            self.etcd.transact("world", [], [Put(machine_key(name), json.dumps({"state": "active"}))])
        self.create_service(render_spec(SETTINGS, NAME, first, replicas))
        self.settle()
        self.etcd.on_write = self.written

    def target(self, version: int, replicas: int | None) -> Generation:
        return Generation(0, *self._version(version, replicas))

    def _version(self, version: int, replicas: int | None) -> tuple[ScheduledSettings, ServiceImage]:
        order = "stop-first" if self.stop_first else "start-first"
        fields = {"global": True} if replicas is None else {"replicas": replicas}
        made = definition(version, update={"order": order}, **fields)
        return made, ServiceImage(f"web:{version}", str(version))

    def operator(self, process: Process, client: Client, lock: ClusterLock, clock: SimulatedClock) -> Operator:
        work = SimulatedWork(SETTINGS, store=cast(Etcd, client), clock=clock, lock=lock)
        work.swarm, work.world = FakeSwarm(self, process, self.fails), self
        return Operator(name=NAME, work=work, events=lambda _: None)

    # Time

    def at(self, seconds: float, deed: Callable[[], None]) -> None:
        """Let something happen in so many seconds."""
        heapq.heappush(self._due, (self.scheduler.now + seconds, next(self._numbers), deed))

    def soon(self, most: float, deed: Callable[[], None]) -> None:
        self.at(most * self.random.random(), deed)

    def advance(self) -> None:
        """Let everything happen that is due; what it brings about in turn may be, too."""
        if self._advancing or self.scheduler.now < self.etcd.down_until:
            return
        self._advancing = True
        now = self.scheduler.now
        try:
            while self._due and self._due[0][0] <= now:
                self.scheduler.now, _, deed = heapq.heappop(self._due)
                deed()
        finally:
            self.scheduler.now = now
            self._advancing = False

    def settle(self, seconds: float = 60) -> None:
        """Let time go on until what is under way has come to its end."""
        end = self.scheduler.now + seconds
        while self._due and self._due[0][0] <= end:
            self.scheduler.now = max(self.scheduler.now, self._due[0][0])
            self.advance()

    # Swarm

    def create_service(self, spec: Mapping[str, Any]) -> None:
        service = Service(f"service{next(self._numbers)}", next(self._versions), spec)
        self.services[service.number] = service
        self.soon(0.5, lambda: self.reconcile(service.number))

    def update_service(self, service: Service, spec: Mapping[str, Any]) -> None:
        service.version, service.spec = next(self._versions), spec
        self.soon(0.5, lambda: self.reconcile(service.number))

    def remove_service(self, id: str) -> None:
        service = self.service(id)
        if service is None:
            return
        del self.services[service.number]
        self._dead.append(service)
        for task in service.tasks:
            self.tell_to_end(task)

    def service(self, id: str) -> Service | None:
        """Return the service of this id or name."""
        return next((service for service in self.services.values() if id in (service.id, service.spec["Name"])), None)

    def seats(self) -> list[Machine]:
        return [machine for machine in self.machines.values() if machine.up and not machine.drained]

    def reconcile(self, number: int) -> None:
        """Let there be the tasks that are wanted, spread over the machines."""
        service = self.services.get(number)
        if service is None:
            return
        alive = {task.slot: task for task in service.tasks if task.wanted and not task.over}
        for slot, task in alive.items():
            if not self.machines[task.machine].up or self.machines[task.machine].drained:
                self.tell_to_end(task)
                alive = {number: other for number, other in alive.items() if number != slot}
        if service.replicas is None:
            places: dict[int, Machine | None] = {int(seat.name[-2:]): seat for seat in self.seats() if not service.held}
        else:
            places = dict.fromkeys(range(1, service.replicas + 1))
        for slot, place in places.items():
            if slot not in alive and (machine := place or self.freest(service)):
                self.start_task(service, machine, slot)

    def freest(self, service: Service) -> Machine | None:
        def load(it: Machine) -> int:
            return sum(task.machine == it.name and not task.over for task in service.tasks)

        seats = self.seats()
        return min(seats, key=lambda seat: (load(seat), self.random.random())) if seats else None

    def start_task(self, service: Service, machine: Machine, slot: int) -> None:
        task = Task(str(next(self._numbers)), machine.name, slot, service.number)
        service.tasks.append(task)
        self.soon(3, lambda: self.run_task(service, task))

    def run_task(self, service: Service, task: Task) -> None:
        if task.told or task.over:
            return
        task.state = "running"
        how = self.bad.get(service.reference, "")
        if how == "crash":
            self.soon(2, lambda: self.fail(service, task))
        elif how != "sick":
            self.soon(2, lambda: self.become_well(service, task))
        if how == "flaky" and task.slot != 1:
            self.at(5 + 30 * self.random.random(), lambda: self.fail(service, task))

    def become_well(self, service: Service, task: Task) -> None:
        if task.state != "running" or task.told or service.reference in self.ill:
            return
        task.well = True
        self.wake_agent(task.machine)

    def fall_ill(self, reference: str) -> None:
        """Let no instance of a version be well any more."""
        self.ill.add(reference)
        for service in self.services.values():
            if service.reference == reference:
                for task in service.tasks:
                    self.become_ill(task)

    def recover(self) -> None:
        """Let every version be as good as any from now on."""
        self.bad, self.ill = {}, set()
        for service in self.services.values():
            for task in service.tasks:
                self.become_well(service, task)
        self.reconcile_all()
        self.settle()

    def become_ill(self, task: Task) -> None:
        if task.well:
            task.well, task.ill_since = False, self.scheduler.now
            self.wake_agent(task.machine)

    def fail(self, service: Service, task: Task) -> None:
        if task.over or task.told:
            return
        self.become_ill(task)
        task.state = "failed"
        self.wake_agent(task.machine, at_once=True)
        self.at(2, lambda: self.reconcile(service.number))

    def tell_to_end(self, task: Task) -> None:
        """Send it the signal to stop: its agent hears of that at once, and it ends soon after."""
        if task.told or task.over:
            return
        self.check_nobody_sends_to(task)
        task.told, task.wanted = True, False
        self.wake_agent(task.machine, at_once=True)
        self.soon(3, lambda: self.end(task))

    def end(self, task: Task) -> None:
        task.well = False
        task.state = "shutdown" if not task.over else task.state

    def power(self, name: str, up: bool) -> None:
        machine = self.machines[name]
        machine.up = up
        if not up:
            for task in self.tasks():
                if task.machine == name and not task.over:
                    task.well, task.told, task.wanted, task.state = False, True, False, "shutdown"
            self.at(10, lambda: self.lease_ends(name))
            self.at(9, self.reconcile_all)
        else:
            machine.routes, machine.applied = {}, 0
            self.soon(3, lambda: self.wake_agent(name))
            self.soon(3, lambda: self.apply(name))
            self.soon(3, self.reconcile_all)

    def drain(self, name: str, drained: bool) -> None:
        self.machines[name].drained = drained
        state = "draining" if drained else "active"
        self.etcd.transact("world", [], [Put(machine_key(name), json.dumps({"state": state}))])
        self.soon(1, self.reconcile_all)
        self.soon(1, lambda: self.wake_agent(name))

    def reconcile_all(self) -> None:
        for number in list(self.services):
            self.reconcile(number)

    def tasks(self) -> list[Task]:
        return [task for service in (*self.services.values(), *self._dead) for task in service.tasks]

    # Agents

    def wake_agent(self, name: str, at_once: bool = False) -> None:
        self.soon(0.05 if at_once else self.machines[name].slow, lambda: self.sync(name))

    def lease_ends(self, name: str) -> None:
        if self.machines[name].up:
            return
        owned = [
            entry.key for entry in self.etcd.get_prefix(SERVICES).entries if f"/{name}:" in entry.key and entry.lease
        ]
        self.delete("agent", [*owned, router_key(name)])

    def delete(self, who: str, keys: Sequence[str]) -> None:
        if keys:
            self.etcd.transact(who, [], [Delete(key) for key in keys])

    def sync(self, name: str) -> None:
        """Do what the registrar does, by its own rules, with what stands in etcd now."""
        machine = self.machines[name]
        if not machine.up:
            return
        listed = {entry.key: entry for entry in self.etcd.get_prefix(SERVICES).entries}
        present = {key: entry for key, entry in listed.items() if f"/{name}:" in key and "/generation/" not in key}
        tasks = [
            task
            for task in self.tasks()
            if task.machine == name and task.well and not task.told and not machine.drained
        ]
        wanted = {task.id: self.wanted(task, listed) for task in tasks}
        arguments = present, list(wanted.values()), LEASE, {NAME}
        for deeds in [*plan(*arguments), *plan_generations(*arguments)]:
            self.etcd.transact("agent", [], deeds)
        for task in tasks:
            task.declared = not wanted[task.id].registration.weighed

    def wanted(self, task: Task, listed: Mapping[str, Entry]) -> Wanted:
        own = listed.get(generation_key(NAME, task.number))
        service = self.services.get(task.number)
        registration = Registration(
            NAME,
            task.instance,
            task.endpoint,
            weight=weight_of("", own),
            attributes=attributes_of(service.reference if service else f"web:{task.number}"),
            generation=task.number,
            weighed=own.mod_revision if own else 0,
        )
        return Wanted(registration, registered=task.declared, declared=task.declared)

    # Routers

    def apply(self, name: str) -> None:
        machine = self.machines[name]
        if not machine.up:
            return
        listing = self.etcd.get_prefix(SERVICES)
        prefix = instance_key(NAME, "")
        found = {entry.key: entry.value for entry in listing.entries}
        hosts = [key.removeprefix(prefix) for key in found if key.startswith(prefix)]
        machine.routes = {host: int(found.get(weight_key(NAME, host), SERVING)) for host in hosts}
        newest = max((entry.mod_revision for entry in listing.entries), default=0)
        machine.applied = max(newest, machine.applied)
        self.check_somebody_serves(machine)
        self.check_nobody_else_serves(machine)
        self.etcd.transact("router", [], [Put(router_key(name), str(machine.applied), LEASE)])

    # What happens when something is written

    def written(self, who: str, before: Entry | None, after: Entry | None) -> None:
        key = (after or before).key  # type: ignore[union-attr]
        operator = who not in ("agent", "router", "world")
        if operator:
            self.check_lock(who, key)
        if key.startswith(SERVICES):
            for name in self.machines:
                self.soon(self.machines[name].lag, lambda name=name: self.apply(name))  # type: ignore[misc]
        if "/generation/" in key:
            for name in self.machines:
                self.wake_agent(name)
            if after is not None and after.value == "0" and (before is None or before.value != "0"):
                self.check_somebody_else_is_well(int(key.rpartition("/")[2]))
        if key == UPDATES + NAME and after is not None and read_update(after.value).step is UpdateStep.REMOVING:
            self.check_somebody_else_is_well(read_update(after.value).old.number, before)

    # Promises

    def by_instance(self) -> dict[str, Task]:
        return {task.instance: task for task in self.tasks()}

    def step(self) -> UpdateStep | None:
        entry = self.etcd.get(UPDATES + NAME)
        return read_update(entry.value).step if entry else None

    def check_somebody_serves(self, machine: Machine) -> None:
        """Each router has somebody to send requests to who is well, unless the order is stop-first."""
        if self.stop_first or self.mortal:
            return
        known = self.by_instance()
        serving = [name for name, weight in machine.routes.items() if weight and name in known and known[name].well]
        if not serving:
            raise Violation(f"at {self.step()} the router of {machine.name} has nobody who is well: {machine.routes}")

    @property
    def mortal(self) -> bool:
        """Whether there may be nobody who is well, and nobody's fault."""
        return "mortal" in self.bad.values() or bool(self.ill)

    def check_somebody_else_is_well(self, number: int, before: Entry | None = None) -> None:
        """Whoever takes the requests away from a generation knows of somebody else, who was well a moment ago."""
        if self.stop_first or (before is not None and read_update(before.value).step is UpdateStep.REMOVING):
            return
        known, now = self.by_instance(), self.scheduler.now
        prefix, own = instance_key(NAME, ""), containers(number)
        listed = {entry.key: entry.value for entry in self.etcd.get_prefix(SERVICES).entries}
        hosts = [key.removeprefix(prefix) for key in listed if key.startswith(prefix)]
        others = [host for host in hosts if not host.partition(":")[2].startswith(own)]
        well = [other for other in others if known[other].well or now - known[other].ill_since < LATE_SECONDS]
        registered = [host for host in hosts if host not in others]
        if registered and not any(listed.get(weight_key(NAME, name)) != "0" for name in well):
            raise Violation(f"generation {number} is to get nothing, and nobody else is well")

    def check_nobody_sends_to(self, task: Task) -> None:
        """Whoever is well and told to end gets no requests; a machine that drains is another's to see to."""
        if (
            not task.well
            or self.machines[task.machine].drained
            or not self.machines[task.machine].up
            or task.number in self.services
        ):
            return
        for machine in self.machines.values():
            if machine.up and machine.routes.get(task.instance):
                raise Violation(f"{task.instance} is told to end while the router of {machine.name} sends to it")

    def check_nobody_else_serves(self, machine: Machine) -> None:
        """Requests go to the wanted generation; in an update to the other one, too, but not before it is ready."""
        wanted, entry = self.etcd.get(PREFIX + NAME), self.etcd.get(UPDATES + NAME)
        assert wanted is not None
        update = read_update(entry.value) if entry else None
        allowed = {read_record(wanted.value).generation}
        if update is not None:
            allowed |= (
                {update.old.number} if update.step is UpdateStep.STARTING else {update.old.number, update.new.number}
            )
        known = self.by_instance()
        others = [name for name, weight in machine.routes.items() if weight and known[name].number not in allowed]
        if others:
            raise Violation(f"the router of {machine.name} sends to {others}, of another generation than {allowed}")

    def check_end(self, reference: str) -> None:
        """See that one generation is there, of this image, whole, and nothing else."""
        self.settle()
        entry = self.etcd.get(PREFIX + NAME)
        assert entry is not None
        record = read_record(entry.value)
        running = {
            number: service for number, service in self.services.items() if service.replicas != 0 and not service.held
        }
        if record.image.reference != reference or list(running) != [record.generation]:
            raise Violation(f"{record.image.reference} ({record.generation}) is wanted, {list(running)} run")
        service = running[record.generation]
        if service.replicas != record.replicas:
            raise Violation(f"{service.replicas} instances, not {record.replicas}")
        listed = self.etcd.get_prefix(SERVICES).entries
        keys = {entry.key.removeprefix(f"{SERVICES}{NAME}/"): entry.value for entry in listed}
        wanted = {f"hosts/{task.instance}": str(task.endpoint) for task in service.tasks if task.well and not task.told}
        count = len(self.seats()) if record.replicas is None else record.replicas
        if len(wanted) != count:
            raise Violation(f"{len(wanted)} of {count} instances are well")
        expected = {**wanted, **(attributes_of(record.image.reference) or {})}
        if keys != expected:
            raise Violation(f"in etcd stands {keys}, not {expected}")
        if self.etcd.get(UPDATES + NAME) is not None:
            raise Violation("the update's record is there still")
        if self.etcd.get(cluster_lock.KEY) is not None:
            raise Violation("the lock is held still")


class FakeSwarm(Swarm):
    """The world's Swarm, as a manager tells it to one operator. `fails`: how often in 1,000 a call does."""

    def __init__(self, world: UpdateWorld, process: Process, fails: int) -> None:
        self._world = world
        self._process = process
        self._fails = fails

    def _reach(self) -> None:
        self._world.scheduler.step(0.02)
        if self._world.random.randrange(1000) < self._world.stalls:
            self._process.stalled_until = self._world.scheduler.now + 70
            self._world.scheduler.sleep(0.02)
        self._world.advance()
        if self._world.random.randrange(1000) < self._fails:
            raise EngineError("no manager of the Swarm answers")

    def nodes(self) -> list[Node]:
        self._reach()
        return [
            Node(
                machine.name,
                1,
                machine.name,
                "10.0.0.1",
                availability="drain" if machine.drained else "active",
                state="ready" if machine.up else "down",
            )
            for machine in self._world.machines.values()
        ]

    def services(self, labels: Mapping[str, str] | None = None) -> list[SwarmService]:
        self._reach()
        assert labels == service_labels(SYSTEM, NAME)
        return [service.seen for service in self._world.services.values()]

    def service(self, name: str) -> SwarmService | None:
        self._reach()
        found = self._world.service(name)
        return found.seen if found else None

    def create_service(self, spec: Mapping[str, Any], registry_auth: str = "") -> str:
        self._reach()
        if self._world.service(spec["Name"]) is not None:
            raise EngineRefused("the name is taken", 409)
        self._world.create_service(spec)
        return ""

    def update_service(self, service: SwarmService, spec: Mapping[str, Any], registry_auth: str = "") -> None:
        self._reach()
        found = self._world.service(service.id)
        if found is None or found.version != service.version:
            raise OutOfSequence("update out of sequence", 500)
        self._world.update_service(found, spec)

    def remove_service(self, service_id: str) -> None:
        self._reach()
        self._world.remove_service(service_id)

    def tasks(self, service_id: str = "", *, node_id: str = "") -> list[swarm_model.Task]:
        self._reach()
        return [
            swarm_model.Task(
                task.id,
                service.id,
                task.machine,
                task.slot,
                task.state,
                "running" if task.wanted else "shutdown",
                error="it ended with 1" if task.state == "failed" else "",
                created=f"{int(task.id):09}",
            )
            for service in (*self._world.services.values(), *self._world._dead)
            for task in service.tasks
        ]

    def logs(
        self, service_id: str, *, follow: bool = False, tail: int | None = None, since: int = 0
    ) -> Iterator[LogLine]:
        for task in self.tasks():
            if task.service_id == service_id:
                yield LogLine("", "stdout", task.node_id, task.id, "it said this")


class FakeRouters(Routers):
    """The world's routers, as they answer one operator."""

    def __init__(self, world: UpdateWorld) -> None:
        self._world = world

    def unready(self, servers: Collection[str]) -> Mapping[str, str]:
        self._world.scheduler.step(0.1)
        self._world.advance()
        known = {server_name(task.instance, task.endpoint): task for task in self._world.tasks()}
        found = {}
        for machine in self._world.machines.values():
            has = {
                server_name(route, parse_endpoint(self._endpoint(route)))
                for route in machine.routes
                if self._endpoint(route)
            }
            lacking = [server for server in servers if server not in has or not known[server].well]
            if machine.up and lacking:
                found[machine.name] = f"{len(lacking)} are not up"
        return found

    def _endpoint(self, instance: str) -> str:
        entry = self._world.etcd.get(instance_key(NAME, instance))
        return entry.value if entry else ""

    def wait_until_idle(self, servers: Collection[str], seconds: float) -> Mapping[str, int]:
        self._world.scheduler.sleep(seconds * self._world.random.random())
        return {}


class SimulatedWork(ServicesCluster):
    world: UpdateWorld

    def routers(self, name: str) -> FakeRouters:
        assert name == NAME
        return FakeRouters(self.world)
