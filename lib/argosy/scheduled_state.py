"""What is seen of the scheduled services at one moment: what is wanted, what Swarm runs, what is registered. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from argosy.config import ScheduledSettings
from argosy.container_labels import GENERATION, SCHEDULED
from argosy.scheduled_record import PREFIX, ScheduledRecord, parse_record
from argosy.scheduled_settings import MACHINE
from argosy.schema import (
    KeyValue,
    Service,
    drain_key,
    generation_key,
    instance_key,
    parse_directory,
    service_key,
    weight_key,
)
from argosy.swarm_model import ACTIVE, DOWN, READY, RUNNING, Node, SwarmService, Task
from argosy.swarm_spec import MACHINE_LABEL

UPDATES = "/cluster/updates/"
"""The record of the update of NAME that goes on or was left (argosy.update_record)."""
WITHDRAWN = "scaling"
"""The value of drain/ID of an instance that Swarm is going to stop; an operator's own is another."""
FAILED = frozenset({"failed", "rejected"})


@dataclass(frozen=True, slots=True)
class Instance:
    """One try to run an instance, as Swarm tells it. `lost`: its machine is down, and with it any news of it;
    `endpoint`: where it is registered, empty when it is not; `weight`: what it gets of the requests there; `revision`:
    the newest of these keys in etcd."""

    task: Task
    machine: str
    container: str
    generation: int
    lost: bool = False
    endpoint: str = ""
    weight: int = 0
    revision: int = 0

    @property
    def id(self) -> str:
        """As its machine's agent registers it."""
        return f"{self.machine}:{self.container}"

    @property
    def registered(self) -> bool:
        return bool(self.endpoint)


@dataclass(frozen=True, slots=True)
class Running:
    """A generation in Swarm. `instances`: those that run or shall; `ended`: tries that are over, the newest first."""

    number: int
    service: SwarmService
    instances: tuple[Instance, ...] = ()
    ended: tuple[Instance, ...] = ()

    @property
    def up(self) -> list[Instance]:
        return [it for it in self.instances if it.task.runs]

    @property
    def wanted(self) -> list[Instance]:
        """Those that Swarm wants to run, whether they do or not."""
        return [it for it in self.instances if it.task.desired in (RUNNING, READY)]

    def failures(self) -> list[Instance]:
        return [it for it in self.ended if it.task.state in FAILED]


@dataclass(frozen=True, slots=True)
class Seen:
    """One scheduled service. `problem`: why its record can't be read; `generations`: those that Swarm has, by number;
    `keys`: its keys under /services/; `strangers`: instances there that are none of ours; `weights`: what stands in
    /services/NAME/generation/GEN, by GEN; `withdrawn`: instances that a scaling down has taken out of the routers;
    `updating`: there is the record of an update."""

    name: str
    record: ScheduledRecord | None = None
    problem: str = ""
    generations: Mapping[int, Running] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    withdrawn: tuple[str, ...] = ()
    updating: bool = False

    @property
    def current(self) -> Running | None:
        """What Swarm has of the wanted generation."""
        return self.generations.get(self.record.generation) if self.record else None

    @property
    def nothing(self) -> bool:
        return not (self.record or self.problem or self.generations or self.updating)


@dataclass(frozen=True, slots=True)
class Fleet:
    """All scheduled services, and the machines as Swarm knows them."""

    services: Mapping[str, Seen]
    nodes: tuple[Node, ...]
    entries: tuple[KeyValue, ...] = field(default=(), repr=False)
    """Those that routers follow."""

    def of(self, name: str) -> Seen:
        return self.services.get(name) or Seen(name)

    def fitting(self, definition: ScheduledSettings) -> list[Node]:
        """Return the machines that the constraints leave, whether they take instances now or not."""
        return [node for node in self.nodes if fits(node, definition)]

    def taking(self, definition: ScheduledSettings) -> list[Node]:
        """Return those that take instances now."""
        return [it for it in self.fitting(definition) if it.state == READY and it.availability == ACTIVE]


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


def fleet_of(
    entries: Sequence[KeyValue], services: Iterable[SwarmService], tasks: Iterable[Task], nodes: Iterable[Node]
) -> Fleet:
    """Return what is seen. `entries`: under /cluster/scheduled/, /cluster/updates/ and what routers follow."""
    known = tuple(nodes)
    found = {it.key: it for it in entries}
    registered = parse_directory(entries).services
    tasks_of: dict[str, list[Task]] = {}
    for task in tasks:
        tasks_of.setdefault(task.service_id, []).append(task)
    machines = {node.id: node for node in known}
    running: dict[str, dict[int, Running]] = {}
    for service in services:
        name, number = service.labels.get(SCHEDULED, ""), service.labels.get(GENERATION, "")
        if name and number.isdecimal():
            reading = _Reading(name, int(number), service, machines, registered.get(name), found)
            running.setdefault(name, {})[int(number)] = reading.running(tasks_of.get(service.id, []))
    names = {key.removeprefix(prefix) for prefix in (PREFIX, UPDATES) for key in found if key.startswith(prefix)}
    seen = {
        name: _seen(name, found, dict(sorted(running.get(name, {}).items())), registered.get(name))
        for name in sorted(names | running.keys())
    }
    return Fleet(seen, known, tuple(it for it in entries if not it.key.startswith((PREFIX, UPDATES))))


def _seen(name: str, found: Mapping[str, KeyValue], running: Mapping[int, Running], service: Service | None) -> Seen:
    record, problem = None, ""
    if PREFIX + name in found:
        try:
            record = parse_record(found[PREFIX + name].value)
        except ValueError as error:
            problem = str(error)
    ours = {it.id for each in running.values() for it in (*each.instances, *each.ended)}
    prefix, drains = generation_key(name, ""), drain_key(name, "")
    keys = tuple(key for key in found if key.startswith(service_key(name, "")))
    return Seen(
        name,
        record,
        problem,
        running,
        keys,
        tuple(it.id for it in service.instances if it.id not in ours) if service else (),
        {key.removeprefix(prefix): found[key].value.strip() for key in keys if key.startswith(prefix)},
        tuple(key.removeprefix(drains) for key in keys if key.startswith(drains) and found[key].value == WITHDRAWN),
        UPDATES + name in found,
    )


class _Reading:
    """One generation, while it is put together from what Swarm and etcd say."""

    def __init__(
        self,
        name: str,
        number: int,
        service: SwarmService,
        machines: Mapping[str, Node],
        registered: Service | None,
        found: Mapping[str, KeyValue],
    ) -> None:
        self.name = name
        self.number = number
        self.service = service
        self.machines = machines
        self.registered = {it.id: it for it in registered.instances} if registered else {}
        self.found = found

    def running(self, tasks: Iterable[Task]) -> Running:
        every = [self.instance(task) for task in sorted(tasks, key=lambda it: (it.created, it.id), reverse=True)]
        live = sorted((it for it in every if not it.task.over), key=lambda it: (it.task.slot, it.machine))
        return Running(self.number, self.service, tuple(live), tuple(it for it in every if it.task.over))

    def instance(self, task: Task) -> Instance:
        node, container = self.machines.get(task.node_id), task.container_name(self.service.name)
        lost = node is not None and node.state == DOWN and not task.over
        found = Instance(task, machine_of(node) if node else "", container, self.number, lost)
        host = self.registered.get(found.id)
        if host is None:
            return found
        keys = [key(self.name, found.id) for key in (instance_key, weight_key, drain_key)]
        revision = max(self.found[key].mod_revision for key in keys if key in self.found)
        return replace(
            found, endpoint=str(host.endpoint), weight=0 if host.draining else host.weight, revision=revision
        )
