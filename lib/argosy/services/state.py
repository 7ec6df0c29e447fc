"""Pure. What is seen of the scheduled services at one moment: what is wanted, what Swarm runs, what is registered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from argosy.config.loading import ScheduledSettings
from argosy.config.scheduled import MACHINE
from argosy.discovery.report import router_states
from argosy.engine.swarm_model import ACTIVE, DOWN, NANOSECONDS, READY, Node, SwarmService, Task
from argosy.etcd.values import Entry
from argosy.model import MachineState
from argosy.routing.haproxy import server_name
from argosy.schema import (
    SERVICES,
    Directory,
    Service,
    drain_key,
    generation_key,
    instance_key,
    parse_directory,
    parse_endpoint,
    service_of,
    weight_key,
)
from argosy.schema.labels import GENERATION, MACHINE_LABEL, SCHEDULED, SERVICE
from argosy.services.record import HOMES, PREFIX, ScheduledRecord, parse_homes
from argosy.services.spec import HELD, MEGABYTE
from argosy.services.updates.record import UPDATES

WITHDRAWN = "scaling"
"""The value of drain/ID of an instance that Swarm is going to stop; an operator's own is another."""
FAILED = frozenset({"failed", "rejected"})
PENDING = "pending"
"""A task's state while Swarm finds no machine for it."""
UNPLACED = 1 << 30


@dataclass(frozen=True, slots=True)
class Instance:
    """One try to run an instance, as Swarm tells it. `lost`: its machine is down, and with it any news of it;
    `endpoint`: where it is registered, empty when it is not; `weight`: what it gets of the requests there."""

    task: Task
    machine: str
    container: str
    generation: int
    lost: bool = False
    endpoint: str = ""
    weight: int = 0

    @property
    def id(self) -> str:
        """As its machine's agent registers it."""
        return f"{self.machine}:{self.container}"

    @property
    def short(self) -> str:
        """For people: without the task's id."""
        return f"{self.container.partition('.')[0]}.{self.task.slot or self.machine}"

    @property
    def registered(self) -> bool:
        return bool(self.endpoint)

    @property
    def failed(self) -> bool:
        """Whether it ended by itself, badly."""
        return self.task.state in FAILED

    @property
    def trouble(self) -> str:
        """What Swarm says is wrong with it, on one line."""
        return " ".join((self.task.error or (self.task.message if self.task.state == PENDING else "")).split())


@dataclass(frozen=True, slots=True)
class Running:
    """A generation in Swarm. `instances`: those that run or will; `ended`: tries that are over, the newest first."""

    number: int
    service: SwarmService
    instances: tuple[Instance, ...] = ()
    ended: tuple[Instance, ...] = ()

    @property
    def up(self) -> list[Instance]:
        return [instance for instance in self.instances if instance.task.runs]

    @property
    def wanted(self) -> list[Instance]:
        return [instance for instance in self.instances if instance.task.wanted]

    @property
    def serving(self) -> list[Instance]:
        """Those that take requests, or at least run where none are sent to them."""
        container = self.service.spec.get("TaskTemplate", {}).get("ContainerSpec", {})
        routed = SERVICE in (container.get("Labels") or {})
        return [instance for instance in self.up if instance.registered or not routed]

    @property
    def held(self) -> bool:
        """Whether the service was created, but not yet told to run anything."""
        return HELD in self.service.labels

    def failures(self) -> list[Instance]:
        return [instance for instance in self.ended if instance.failed]

    def instances_to_stop(self, count: int) -> list[Instance]:
        """Return those that Swarm will stop when `count` are to be left.

        Swarm chooses by itself, and tells nobody before. But it follows rules (github.com/moby/swarmkit,
        manager/orchestrator/replicated/services.go, `reconcile`): what runs is kept rather than what does not, then a
        lower slot rather than a higher one; in that order each is numbered as the first, second, ... on its machine,
        and those with the highest numbers stop. Up to twelve instances that is exact; beyond, a sort that is not stable
        has the last word. An instance that Swarm stops although we named another is deregistered when it is told.
        """
        ordered = sorted(self.wanted, key=lambda instance: (not instance.task.runs, instance.task.slot))
        on_machine: Counter[str] = Counter()
        numbers = {}
        for instance in ordered:
            on_machine[instance.task.node_id] += 1
            numbers[instance.id] = on_machine[instance.task.node_id] if instance.task.node_id else UNPLACED
        return sorted(ordered, key=lambda instance: numbers[instance.id])[count:]


@dataclass(frozen=True, slots=True)
class Routers:
    """The cluster as far as requests depend on it. `applied`: the revision that each live router has applied; `away`:
    machines that may have no instances, and why; `reasons`: why agents don't register a container, by its name."""

    applied: Mapping[str, int] = field(default_factory=dict)
    away: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    def behind(self, revision: int) -> str:
        """Return which live routers have not yet applied a revision; empty when all have."""
        late = [name for name, applied in self.applied.items() if applied < revision]
        return f"not yet applied by the router of {', '.join(late)}" if late else ""


@dataclass(frozen=True, slots=True)
class Routes:
    """What etcd holds of one service. `hosts`, `weights`, `drains`: the entries by an instance's ID; `generations`:
    those of the generations' own weights, by number."""

    routers: Routers = field(default_factory=Routers)
    hosts: Mapping[str, Entry] = field(default_factory=dict)
    weights: Mapping[str, Entry] = field(default_factory=dict)
    drains: Mapping[str, Entry] = field(default_factory=dict)
    generations: Mapping[str, Entry] = field(default_factory=dict)

    def registered(self, service: str) -> list[str]:
        """Return the IDs of the instances of a service in Swarm that agents have registered, whether Swarm still knows
        them or not."""
        prefix = f"{service}."
        return [id for id, entry in self.hosts.items() if entry.lease and id.partition(":")[2].startswith(prefix)]

    def servers(self, ids: Iterable[str]) -> list[str]:
        """Return what HAProxy calls those of these instances that are registered; a bad endpoint is no server."""
        found = []
        for id in ids:
            try:
                found += [server_name(id, parse_endpoint(self.hosts[id].value))]
            except (KeyError, ValueError):
                continue
        return found


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One scheduled service. `problem`: why its record can't be read; `generations`: those that Swarm has, by number;
    `strangers`: registered instances that are none of ours; `updating`: there is the record of an update; `homes`:
    the machines that have its volumes, as far as that is recorded."""

    name: str
    record: ScheduledRecord | None = None
    problem: str = ""
    generations: Mapping[int, Running] = field(default_factory=dict)
    routes: Routes = field(default_factory=Routes)
    strangers: tuple[str, ...] = ()
    updating: bool = False
    homes: tuple[str, ...] = ()

    @property
    def keeps_home(self) -> bool:
        return self.record.definition.keeps_home if self.record else bool(self.homes)

    @property
    def placed(self) -> tuple[str, ...]:
        """The machines that instances of the wanted generation have been given."""
        wanted = self.current.wanted if self.current else []
        return tuple(sorted({instance.machine for instance in wanted if instance.machine}))

    def stays_on(self, machine: str) -> bool:
        """Whether its instances on the machine must not move, since their volumes are there."""
        return self.keeps_home and machine in (self.homes or self.placed)

    @property
    def current(self) -> Running | None:
        """What Swarm has of the wanted generation."""
        return self.generations.get(self.record.generation) if self.record else None

    @property
    def instances(self) -> list[Instance]:
        """Those of every generation."""
        return [instance for running in self.generations.values() for instance in running.instances]

    @property
    def ended(self) -> list[Instance]:
        return [instance for running in self.generations.values() for instance in running.ended]

    @property
    def weights(self) -> dict[str, str]:
        """What stands in /services/NAME/generation/GEN, by GEN."""
        return {number: entry.value.strip() for number, entry in self.routes.generations.items()}

    @property
    def withdrawn(self) -> list[str]:
        """The instances that a scaling down has taken out of the routers."""
        return [id for id, entry in self.routes.drains.items() if entry.value == WITHDRAWN]

    @property
    def nothing(self) -> bool:
        return not (self.record or self.problem or self.generations or self.updating)


@dataclass(frozen=True, slots=True)
class ServicesState:
    """All scheduled services, and the machines as Swarm knows them. `entries`: those that routers follow."""

    services: Mapping[str, ServiceState]
    nodes: tuple[Node, ...]
    entries: tuple[Entry, ...] = field(default=(), repr=False)

    def of(self, name: str) -> ServiceState:
        return self.services.get(name) or ServiceState(name)

    def running(self) -> Iterator[tuple[ServiceState, Running]]:
        """Yield every generation that Swarm has, with its service."""
        for service in self.services.values():
            for running in service.generations.values():
                yield service, running

    def fitting(self, definition: ScheduledSettings) -> list[Node]:
        """Return the machines that the constraints leave, whether they take instances now or not."""
        return [node for node in self.nodes if fits(node, definition)]

    def taking(self, definition: ScheduledSettings) -> list[Node]:
        """Return those that take instances now."""
        return [node for node in self.fitting(definition) if (node.state, node.availability) == (READY, ACTIVE)]

    def room(self, node: Node, definition: ScheduledSettings, name: str) -> float:
        """Return how many instances of the service `name` have what they reserve on a machine, besides what others
        reserve there."""
        wanted = definition.reserve.cpus * NANOSECONDS, definition.reserve.memory_megabytes * MEGABYTE
        others = [running for it in self.services.values() if it.name != name for running in it.generations.values()]
        held = [running.service.reserved for running in others for it in running.wanted if it.task.node_id == node.id]
        taken = tuple(map(sum, zip(*held, strict=True))) or (0, 0)
        has = node.nano_cpus, node.memory_bytes
        found = [(own - gone) // each for own, gone, each in zip(has, taken, wanted, strict=True) if own and each]
        return max(0, min(found, default=float("inf")))

    def count(self, definition: ScheduledSettings, replicas: int | None) -> int:
        """Return how many instances there must be; `replicas`: None for one on every machine that takes some."""
        return len(self.taking(definition)) if replicas is None else replicas


def machine_of(node: Node) -> str:
    """Return the name of a node's machine."""
    return node.labels.get(MACHINE_LABEL) or node.hostname


def fits(node: Node, definition: ScheduledSettings) -> bool:
    """Return whether a machine meets the constraints, as Swarm reads them: a label that it lacks is unequal to all."""
    for constraint in definition.placed_by:
        own = machine_of(node) if constraint.key == MACHINE else node.labels.get(constraint.key)
        if (own is not None and own.lower() == constraint.value.lower()) is not constraint.equal:
            return False
    return True


def routers_of(directory: Directory, entries: Iterable[Entry]) -> Routers:
    """Return what `entries` say of machines and routers. `directory`: of the same entries."""
    states = router_states(directory, entries)
    problems = [problem for state in states.values() for problem in state.problems]
    machines = directory.machines.items()
    return Routers(
        {name: state.revision for name, state in states.items() if state.revision is not None},
        {name: f"it is {machine.state}" for name, machine in machines if machine.state != MachineState.ACTIVE},
        {problem.key.split()[1]: problem.reason for problem in problems if problem.key.startswith("container ")},
    )


def routes_of(name: str, entries: Iterable[Entry], routers: Routers) -> Routes:
    """Return what the entries of a service, or of all of them, say of it."""
    found = {entry.key: entry for entry in entries}
    prefixes = [make(name, "") for make in (instance_key, weight_key, drain_key, generation_key)]
    kinds = [{key.removeprefix(prefix): found[key] for key in found if key.startswith(prefix)} for prefix in prefixes]
    return Routes(routers, *kinds)


def services_state(
    entries: Sequence[Entry], services: Iterable[SwarmService], tasks: Iterable[Task], nodes: Iterable[Node]
) -> ServicesState:
    """Return what is seen. `entries`: of the records, /routers/ and what routers follow."""
    known = tuple(nodes)
    machines = {node.id: node for node in known}
    followed: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.key.startswith(SERVICES):
            followed.setdefault(service_of(entry.key), []).append(entry)
    parsed = parse_directory(entries)
    directory, routers = parsed.services, routers_of(parsed, entries)
    tasks_of: dict[str, list[Task]] = {}
    for task in tasks:
        tasks_of.setdefault(task.service_id, []).append(task)
    running: dict[str, dict[int, Running]] = {}
    for service in services:
        name, number = service.labels.get(SCHEDULED, ""), service.labels.get(GENERATION, "")
        if name and number.isdecimal():
            found = _running(int(number), service, tasks_of.get(service.id, []), machines, directory.get(name))
            running.setdefault(name, {})[int(number)] = found
    records = {entry.key: entry.value for entry in entries if entry.key.startswith((PREFIX, UPDATES, HOMES))}
    names = {key.removeprefix(prefix) for prefix in (PREFIX, UPDATES) for key in records if key.startswith(prefix)}
    states = {
        name: _service_state(
            name,
            records,
            dict(sorted(running.get(name, {}).items())),
            routes_of(name, followed.get(name, ()), routers),
            directory.get(name),
        )
        for name in sorted(names | running.keys())
    }
    return ServicesState(states, known, tuple(entry for entry in entries if entry.key not in records))


def _service_state(
    name: str, records: Mapping[str, str], running: Mapping[int, Running], routes: Routes, service: Service | None
) -> ServiceState:
    record: ScheduledRecord | None = None
    homes: tuple[str, ...] = ()
    problem = ""
    try:
        homes = parse_homes(records[HOMES + name]) if HOMES + name in records else ()
        record = ScheduledRecord.parse(records[PREFIX + name]) if PREFIX + name in records else None
    except ValueError as error:
        problem = str(error)
    found = ServiceState(name, record, problem, running, routes, updating=UPDATES + name in records, homes=homes)
    ours = {instance.id for instance in (*found.instances, *found.ended)}
    registered = [instance.id for instance in service.instances] if service else []
    return replace(found, strangers=tuple(id for id in registered if id not in ours))


def _running(
    number: int, service: SwarmService, tasks: Iterable[Task], machines: Mapping[str, Node], directory: Service | None
) -> Running:
    registered = {instance.id: instance for instance in directory.instances} if directory else {}
    every = []
    for task in sorted(tasks, key=lambda task: (task.created, task.id), reverse=True):
        node = machines.get(task.node_id)
        machine, container = machine_of(node) if node else "", task.container_name(service.name)
        lost = node is not None and node.state == DOWN and not task.over
        host = registered.get(f"{machine}:{container}")
        weight = host.weight if host and not host.draining else 0
        endpoint = str(host.endpoint) if host else ""
        every.append(Instance(task, machine, container, number, lost, endpoint, weight))
    live = [instance for instance in every if not instance.task.over]
    ended = [instance for instance in every if instance.task.over]
    live.sort(key=lambda instance: (instance.task.slot, instance.machine))
    return Running(number, service, tuple(live), tuple(ended))
