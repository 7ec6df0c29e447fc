"""A cluster in memory whose scheduled service is updated: its Swarm, agents, routers, and what must always be true.

Nothing of it has a thread: what is due by the simulation's time happens, in order, whenever an operator looks.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from fake_etcd import Client, FakeEtcd
from scheduler import Process, Scheduler
from world import TTL_SECONDS, Result, SimulatedClock, Violation

from argosy.agent.registrations import Registration, Wanted, plan, plan_generations, weight_of
from argosy.errors import ArgosyError, EngineError, Interrupted, OutOfSequence
from argosy.etcd import Delete, Entry, Put
from argosy.model import Endpoint
from argosy.operations import cluster_lock
from argosy.operations.cluster_lock import ClusterLock, Who, held, parse_holder
from argosy.operations.service.updating.seams import Limits, Operator, Routing
from argosy.router_config import server_name
from argosy.scheduled_record import PREFIX, Generation, ScheduledRecord, ServiceImage, parse_record
from argosy.scheduled_settings import ScheduledSettings
from argosy.scheduled_state import UPDATES
from argosy.schema import SERVICES, generation_key, instance_key, machine_key, parse_endpoint, router_key, weight_key
from argosy.update_gates import Instance
from argosy.update_record import Step, parse_update

NAME, SYSTEM = "web", "air"
DEADLINE_SECONDS = 40.0
LEASE = 1
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


def routing(generation: Generation) -> Routing:
    check = generation.definition.check
    path = check.http.path if check and check.http else ""
    return Routing(SERVING, {"scheme": "http", "check": f"http {path}"})


read_update = lru_cache(1000)(parse_update)
read_record = lru_cache(1000)(parse_record)


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

    number: int
    generation: Generation
    version: int
    replicas: int | None
    held: bool
    tasks: list[Task] = field(default_factory=list)


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


class UpdateWorld:
    """`bad`: by image, how new instances turn out: `sick` (never pass their check), `crash` (end at once), `flaky` (all
    but one fail after a while), `mortal` (all are ill for good from some moment on). `stalls`: how often in 1,000 a
    call of Swarm's is one that an operator stands still in."""

    def __init__(
        self, scheduler: Scheduler, size: int, replicas: int | None, bad: Mapping[str, str], stop_first: bool
    ) -> None:
        self.scheduler = scheduler
        self.random = scheduler.random
        self.bad = dict(bad)
        self.ill: set[str] = set()
        self.stalls = 0
        self.stop_first = stop_first
        self.etcd = FakeEtcd(scheduler)
        names = [f"air-{number:02}" for number in range(1, size + 1)]
        self.machines = {name: Machine(name, lag=self.random.choice((0.3, 0.3, 0.3, 6.0))) for name in names}
        self.services: dict[int, Service] = {}
        self.locks: dict[str, str] = {}
        self.broken: set[str] = set()
        self.quiet = False
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count(1)
        self._versions = itertools.count(1)
        self._advancing = False
        self._dead: dict[int, list[Task]] = {}
        self.etcd.grant(10**9)
        self.etcd.before = self.advance
        first = self.target(1, replicas)
        record = ScheduledRecord(NAME, replace(first, number=1), replicas, self.clock(Process("x")).now(), "world")
        self.etcd.transact("world", [], [Put(record.key, record.text())], [])
        for name in self.machines:
            self.etcd.transact("world", [], [Put(machine_key(name), json.dumps({"state": "active"}))], [])
        self.put_service(Service(1, record.current, next(self._versions), replicas, held=False))
        self.settle()
        self.etcd.on_write = self.written

    def target(self, version: int, replicas: int | None) -> Generation:
        order = "stop-first" if self.stop_first else "start-first"
        fields = {"global": True} if replicas is None else {"replicas": replicas}
        made = definition(version, update={"order": order}, **fields)
        return Generation(0, made, ServiceImage(f"web:{version}", str(version)))

    def clock(self, process: Process, skew_seconds: float = 0) -> SimulatedClock:
        return SimulatedClock(self.scheduler, process, skew_seconds)

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

    def put_service(self, service: Service) -> None:
        self.services[service.number] = service
        self.soon(0.5, lambda: self.reconcile(service.number))

    def remove_service(self, number: int) -> None:
        service = self.services.pop(number, None)
        if service is None:
            return
        self._dead.setdefault(number, []).extend(service.tasks)
        for task in service.tasks:
            self.tell_to_end(task)

    def seats(self) -> list[Machine]:
        return [it for it in self.machines.values() if it.up and not it.drained]

    def reconcile(self, number: int) -> None:
        """Let there be the tasks that are wanted, spread over the machines."""
        service = self.services.get(number)
        if service is None:
            return
        alive = {task.slot: task for task in service.tasks if task.wanted and not task.over}
        for slot, task in alive.items():
            if not self.machines[task.machine].up or self.machines[task.machine].drained:
                self.tell_to_end(task)
                alive = {it: other for it, other in alive.items() if it != slot}
        if service.replicas is None:
            places: dict[int, Machine | None] = {int(it.name[-2:]): it for it in self.seats() if not service.held}
        else:
            places = dict.fromkeys(range(1, service.replicas + 1))
        for slot, place in places.items():
            if slot not in alive and (machine := place or self.freest(service)):
                self.start_task(service, machine, slot)

    def freest(self, service: Service) -> Machine | None:
        def load(it: Machine) -> int:
            return sum(task.machine == it.name and not task.over for task in service.tasks)

        seats = self.seats()
        return min(seats, key=lambda it: (load(it), self.random.random())) if seats else None

    def start_task(self, service: Service, machine: Machine, slot: int) -> None:
        task = Task(str(next(self._numbers)), machine.name, slot, service.number)
        service.tasks.append(task)
        self.soon(3, lambda: self.run_task(service, task))

    def run_task(self, service: Service, task: Task) -> None:
        if task.told or task.over:
            return
        task.state = "running"
        how = self.bad.get(service.generation.image.reference, "")
        if how == "crash":
            self.soon(2, lambda: self.fail(service, task))
        elif how != "sick":
            self.soon(2, lambda: self.become_well(service, task))
        if how == "flaky" and task.slot != 1:
            self.at(5 + 30 * self.random.random(), lambda: self.fail(service, task))

    def become_well(self, service: Service, task: Task) -> None:
        if task.state != "running" or task.told or service.generation.image.reference in self.ill:
            return
        task.well = True
        self.wake_agent(task.machine)

    def fall_ill(self, reference: str) -> None:
        """Let no instance of a version be well any more."""
        self.ill.add(reference)
        for service in self.services.values():
            if service.generation.image.reference == reference:
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
        self.etcd.transact("world", [], [Put(machine_key(name), json.dumps({"state": state}))], [])
        self.soon(1, self.reconcile_all)
        self.soon(1, lambda: self.wake_agent(name))

    def reconcile_all(self) -> None:
        for number in list(self.services):
            self.reconcile(number)

    def tasks(self) -> list[Task]:
        held = [*(it.tasks for it in self.services.values()), *self._dead.values()]
        return [task for tasks in held for task in tasks]

    # Agents

    def wake_agent(self, name: str, at_once: bool = False) -> None:
        self.soon(0.05 if at_once else self.machines[name].slow, lambda: self.sync(name))

    def lease_ends(self, name: str) -> None:
        if self.machines[name].up:
            return
        owned = [it.key for it in self.etcd.get_prefix(SERVICES).entries if f"/{name}:" in it.key and it.lease]
        self.delete("agent", [*owned, router_key(name)])

    def delete(self, who: str, keys: Sequence[str]) -> None:
        if keys:
            self.etcd.transact(who, [], [Delete(key) for key in keys], [])

    def sync(self, name: str) -> None:
        """Do what the registrar does, by its own rules, with what stands in etcd now."""
        machine = self.machines[name]
        if not machine.up:
            return
        listed = {it.key: it for it in self.etcd.get_prefix(SERVICES).entries}
        present = {key: it for key, it in listed.items() if f"/{name}:" in key and "/generation/" not in key}
        tasks = [it for it in self.tasks() if it.machine == name and it.well and not it.told and not machine.drained]
        wanted = {task.id: self.wanted(task, listed) for task in tasks}
        arguments = present, list(wanted.values()), LEASE, {NAME}
        for deeds in [*plan(*arguments), *plan_generations(*arguments)]:
            self.etcd.transact("agent", [], deeds, [])
        for task in tasks:
            task.declared = not wanted[task.id].registration.weighed

    def wanted(self, task: Task, listed: Mapping[str, Entry]) -> Wanted:
        own = listed.get(generation_key(NAME, task.number))
        generation = self.generation(task.number)
        registration = Registration(
            NAME,
            task.instance,
            task.endpoint,
            weight=weight_of("", own),
            attributes=routing(generation).attributes,
            generation=task.number,
            weighed=own.mod_revision if own else 0,
        )
        return Wanted(registration, registered=task.declared, declared=task.declared)

    def generation(self, number: int) -> Generation:
        """Return what the service's own records say that a generation is."""
        if number in self.services:
            return self.services[number].generation
        return Generation(number, definition(number), ServiceImage(""))

    # Routers

    def apply(self, name: str) -> None:
        machine = self.machines[name]
        if not machine.up:
            return
        listing = self.etcd.get_prefix(SERVICES)
        prefix = instance_key(NAME, "")
        found = {it.key: it.value for it in listing.entries}
        hosts = [key.removeprefix(prefix) for key in found if key.startswith(prefix)]
        machine.routes = {it: int(found.get(weight_key(NAME, it), SERVING)) for it in hosts}
        newest = max((it.mod_revision for it in listing.entries), default=0)
        machine.applied = max(newest, machine.applied)
        self.check_somebody_serves(machine)
        self.check_nobody_else_serves(machine)
        self.etcd.transact("router", [], [Put(router_key(name), str(machine.applied), LEASE)], [])

    # What happens when something is written

    def written(self, who: str, before: Entry | None, after: Entry | None) -> None:
        key = (after or before).key  # type: ignore[union-attr]
        operator = who not in ("agent", "router", "world")
        if operator and key != cluster_lock.KEY and self.locks.get(who, "") != self.holder():
            raise Violation(f"{who} writes {key} without the lock")
        if key.startswith(SERVICES):
            for name in self.machines:
                self.soon(self.machines[name].lag, lambda name=name: self.apply(name))  # type: ignore[misc]
        if "/generation/" in key:
            for name in self.machines:
                self.wake_agent(name)
            if after is not None and after.value == "0" and (before is None or before.value != "0"):
                self.check_somebody_else_is_well(int(key.rpartition("/")[2]))
        if key == UPDATES + NAME and after is not None and read_update(after.value).step is Step.REMOVING:
            self.check_somebody_else_is_well(read_update(after.value).old.number, before)

    # Promises

    def holder(self) -> str:
        entry = self.etcd.get(cluster_lock.KEY)
        return parse_holder(entry.value).id if entry else ""

    def by_instance(self) -> dict[str, Task]:
        return {task.instance: task for task in self.tasks()}

    def step(self) -> Step | None:
        entry = self.etcd.get(UPDATES + NAME)
        return read_update(entry.value).step if entry else None

    def check_somebody_serves(self, machine: Machine) -> None:
        """Each router has somebody to send requests to who is well, unless the order is stop-first."""
        if self.stop_first or self.mortal:
            return
        known = self.by_instance()
        serving = [it for it, weight in machine.routes.items() if weight and it in known and known[it].well]
        if not serving:
            raise Violation(f"at {self.step()} the router of {machine.name} has nobody who is well: {machine.routes}")

    @property
    def mortal(self) -> bool:
        """Whether there may be nobody who is well, and nobody's fault."""
        return "mortal" in self.bad.values() or bool(self.ill)

    def check_somebody_else_is_well(self, number: int, before: Entry | None = None) -> None:
        """Whoever takes the requests away from a generation knows of somebody else, who was well a moment ago."""
        if self.stop_first or (before is not None and read_update(before.value).step is Step.REMOVING):
            return
        known, now = self.by_instance(), self.scheduler.now
        prefix, own = instance_key(NAME, ""), containers(number)
        listed = {it.key: it.value for it in self.etcd.get_prefix(SERVICES).entries}
        hosts = [key.removeprefix(prefix) for key in listed if key.startswith(prefix)]
        others = [it for it in hosts if not it.partition(":")[2].startswith(own)]
        well = [it for it in others if known[it].well or now - known[it].ill_since < LATE_SECONDS]
        registered = [it for it in hosts if it not in others]
        if registered and not any(listed.get(weight_key(NAME, it)) != "0" for it in well):
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
            allowed |= {update.old.number} if update.step is Step.STARTING else {update.old.number, update.new.number}
        known = self.by_instance()
        others = [it for it, weight in machine.routes.items() if weight and known[it].number not in allowed]
        if others:
            raise Violation(f"the router of {machine.name} sends to {others}, of another generation than {allowed}")

    def check_end(self, reference: str) -> None:
        """See that one generation is there, of this image, whole, and nothing else."""
        self.settle()
        entry = self.etcd.get(PREFIX + NAME)
        assert entry is not None
        record = read_record(entry.value)
        running = {number: it for number, it in self.services.items() if it.replicas != 0 and not it.held}
        if record.image.reference != reference or list(running) != [record.generation]:
            raise Violation(f"{record.image.reference} ({record.generation}) is wanted, {list(running)} run")
        service = running[record.generation]
        if service.replicas != record.replicas:
            raise Violation(f"{service.replicas} instances, not {record.replicas}")
        listed = self.etcd.get_prefix(SERVICES).entries
        keys = {it.key.removeprefix(f"{SERVICES}{NAME}/"): it.value for it in listed}
        wanted = {f"hosts/{it.instance}": str(it.endpoint) for it in service.tasks if it.well and not it.told}
        count = len(self.seats()) if record.replicas is None else record.replicas
        if len(wanted) != count:
            raise Violation(f"{len(wanted)} of {count} instances are well")
        expected = {**wanted, **(routing(record.current).attributes or {})}
        if keys != expected:
            raise Violation(f"in etcd stands {keys}, not {expected}")
        if self.etcd.get(UPDATES + NAME) is not None:
            raise Violation("the update's record is there still")
        if self.etcd.get(cluster_lock.KEY) is not None:
            raise Violation("the lock is held still")


class FakeEngine:
    """The seam `Engine` for one operator. `fails`: how often in 1,000 a call does."""

    def __init__(self, world: UpdateWorld, process: Process, lock: ClusterLock, fails: int) -> None:
        self._world = world
        self._process = process
        self._lock = lock
        self._fails = fails

    def _reach(self) -> None:
        self._world.scheduler.step(0.02)
        if self._world.random.randrange(1000) < self._world.stalls:
            self._process.stalled_until = self._world.scheduler.now + 70
            self._world.scheduler.sleep(0.02)
        self._world.advance()
        if self._world.random.randrange(1000) < self._fails:
            raise EngineError("no manager of the Swarm answers")

    def prepare(self, generation: Generation, replicas: int | None) -> Callable[[], None]:
        self._reach()
        world, number = self._world, generation.number
        found = world.services.get(number)
        if found is None:
            found = Service(number, generation, next(world._versions), None if replicas is None else 0, held=True)
            world.put_service(found)
            self._reach()
        if world.services.get(number) is not found:
            raise EngineError("the service has gone")
        if not found.held and found.replicas == replicas:
            return lambda: None
        version = found.version

        def begin() -> None:
            self._reach()
            now = world.services.get(number)
            if now is None or now.version != version:
                raise OutOfSequence("update out of sequence", 500)
            now.version, now.replicas, now.held = next(world._versions), replicas, False
            world.put_service(now)

        return begin

    def generations(self) -> Collection[int]:
        self._reach()
        return sorted(self._world.services)

    def remove(self, generation: int) -> None:
        self._reach()
        self._world.remove_service(generation)

    def instances(self, generation: int) -> Sequence[Instance]:
        self._reach()
        service = self._world.services.get(generation)
        tasks = service.tasks if service else self._world._dead.get(generation, [])
        return [
            Instance(
                it.id,
                it.machine,
                it.container,
                f"{containers(generation)}{it.slot}",
                it.state,
                runs=it.state == "running" and it.wanted,
                over=it.over,
                failed=it.state == "failed",
                wanted=it.wanted,
                trouble="it ended with 1" if it.state == "failed" else "",
            )
            for it in tasks
        ]

    def seats(self, generation: Generation) -> int:
        self._reach()
        return len(self._world.seats())

    def last_lines(self, generation: int, instance: Instance) -> Sequence[str]:
        return ["it said this"]


class FakeRouters:
    """The seam `Routers` for one operator."""

    def __init__(self, world: UpdateWorld, lock: ClusterLock) -> None:
        self._world = world
        self._lock = lock

    def unready(self, servers: Collection[str]) -> Mapping[str, str]:
        self._world.scheduler.step(0.1)
        self._world.advance()
        known = {server_name(it.instance, it.endpoint): it for it in self._world.tasks()}
        found = {}
        for machine in self._world.machines.values():
            has = {server_name(it, parse_endpoint(self._endpoint(it))) for it in machine.routes if self._endpoint(it)}
            lacking = [it for it in servers if it not in has or not known[it].well]
            if machine.up and lacking:
                found[machine.name] = f"{len(lacking)} are not up"
        return found

    def _endpoint(self, instance: str) -> str:
        entry = self._world.etcd.get(instance_key(NAME, instance))
        return entry.value if entry else ""

    def wait_until_idle(self, servers: Collection[str], seconds: float) -> Mapping[str, int]:
        self._world.scheduler.sleep(seconds * self._world.random.random())
        return {}


def operate(
    world: UpdateWorld,
    name: str,
    command: Callable[[Operator], object],
    client: Client,
    skew_seconds: float = 0,
    fails: int = 0,
) -> tuple[Process, Result]:
    """Let an operator begin the command, in a process of its own."""
    process, result = Process(name), Result()
    clock = world.clock(process, skew_seconds)

    def main() -> None:
        try:
            with held(client, "a task", ttl_seconds=TTL_SECONDS, clock=clock, who=Who(name, "host")) as lock:
                world.locks[name] = lock.id
                operator = Operator(
                    NAME,
                    client,
                    lock,
                    FakeEngine(world, process, lock, fails),
                    FakeRouters(world, lock),
                    lambda _: None,
                    clock,
                    routing,
                    containers,
                    Limits(applied_seconds=20, drain_seconds=5, stop_seconds=10),
                )
                command(operator)
        except ArgosyError as error:
            result.error = error
        except KeyboardInterrupt:
            result.error = Interrupted("Ctrl-C")
        result.ended = True
        world.scheduler.kill(process)

    world.scheduler.spawn(process, "main", main)
    return process, result
