"""How the instances of scheduled services leave a machine before it is taken out of service. Pure.

Swarm itself stops an instance on a machine that is drained, and only then starts another elsewhere. So each service
that has some there is given as many more first, while the machine takes none (its node is paused); when those serve,
the machine is taken out, and the service is given its own number back. What was added stands in the service's labels,
in the same write: whoever comes after a kill finds out from them and from what is wanted (/cluster/scheduled/NAME).

    argosy.moving.MACHINE   how many instances were added for those on MACHINE
    argosy.replicas         how many it had before, of a generation that is not (any more) the wanted one
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from argosy.container_labels import SERVICE
from argosy.model import MachineState
from argosy.scheduled_state import Fleet, Instance, Running, Seen, machine_of
from argosy.scheduled_victims import victims
from argosy.swarm_model import ACTIVE, RUNNING, Node, SwarmService
from argosy.swarm_spec import with_replicas

MOVING = "argosy.moving."
BASE = "argosy.replicas"
PENDING = "pending"

Moves = Mapping[str, int]
"""How many instances were added, by the machine whose instances they replace."""


@dataclass(frozen=True, slots=True)
class Move:
    """Instances of one generation that shall serve elsewhere. `count`: those on the machine; `needed`: how many shall
    serve elsewhere before it is taken out."""

    name: str
    generation: int
    count: int
    needed: int

    def __str__(self) -> str:
        return f"start {self.count} instance{'s' * (self.count != 1)} of {self.name} elsewhere"


@dataclass(frozen=True, slots=True)
class Progress:
    """`serving`: instances elsewhere that serve; `homeless`: why Swarm places no more, if it does not; `revision`: the
    newest of their keys in etcd."""

    move: Move
    serving: int
    homeless: str = ""
    revision: int = 0

    @property
    def done(self) -> bool:
        return self.serving >= self.move.needed


def moving(service: SwarmService) -> Moves:
    """Return the moves of a service that are under way."""
    found = {key.removeprefix(MOVING): text for key, text in service.labels.items() if key.startswith(MOVING)}
    return {machine: int(text) for machine, text in found.items() if text.isdecimal()}


def wanted(seen: Seen, running: Running) -> int | None:
    """Return how many instances a generation shall have when nothing moves; None of a global service.

    In the middle of an update that is what the update has made it, whatever the record says.
    """
    service = running.service
    if service.replicas is None:
        return None
    if seen.record is not None and seen.record.generation == running.number and not seen.updating:
        return 0 if seen.record.stopped else seen.record.replicas
    before = service.labels.get(BASE, "")
    return int(before) if before.isdecimal() else service.replicas - sum(moving(service).values())


def plan_moves(fleet: Fleet, machine: str) -> list[Move]:
    """Return what has to serve elsewhere before the machine is taken out of service."""
    moves = []
    for name, seen in fleet.services.items():
        for number, running in seen.generations.items():
            base, here = wanted(seen, running), [it for it in running.wanted if it.machine == machine]
            if base and here:
                serving = sum(serves(running, it) for it in running.instances)
                moves.append(Move(name, number, len(here), min(base, serving)))
    return moves


def with_move(machine: str, count: int, moves: Moves) -> Moves:
    return {**moves, machine: count}


def without(machines: Collection[str], moves: Moves) -> Moves:
    return {machine: count for machine, count in moves.items() if machine not in machines}


def spec_with(seen: Seen, running: Running, moves: Moves) -> dict[str, Any] | None:
    """Return the service's spec when these moves are under way; None when it is so already."""
    base = wanted(seen, running)
    if base is None:
        return None
    service = running.service
    own = {key: value for key, value in service.labels.items() if key != BASE and not key.startswith(MOVING)}
    added = {f"{MOVING}{machine}": str(count) for machine, count in moves.items()}
    labels = {**own, **added, **({BASE: str(base)} if moves else {})}
    replicas = base + sum(moves.values())
    if labels == dict(service.labels) and replicas == service.replicas:
        return None
    return {**with_replicas(service.spec, replicas), "Labels": labels}


def serves(running: Running, instance: Instance) -> bool:
    """Return whether it takes requests, or at least runs where none are sent to it."""
    container = running.service.spec.get("TaskTemplate", {}).get("ContainerSpec", {})
    return instance.task.runs and (instance.registered or SERVICE not in (container.get("Labels") or {}))


def progress(fleet: Fleet, move: Move, machine: str) -> Progress:
    """Return how far a move is."""
    running = fleet.of(move.name).generations.get(move.generation)
    if running is None:
        return Progress(move, move.needed)
    leaving = {machine, *moving(running.service)}
    elsewhere = [it for it in running.instances if it.machine not in leaving and serves(running, it)]
    waiting = [it.task for it in running.wanted if it.task.state == PENDING and it.task.error]
    revision = max((it.revision for it in elsewhere), default=0)
    return Progress(move, len(elsewhere), waiting[0].error if waiting else "", revision)


def registered_on(fleet: Fleet, machine: str) -> dict[str, list[str]]:
    """Return the instances on the machine that discovery knows, by service."""
    found: dict[str, list[str]] = {}
    for name, seen in fleet.services.items():
        every = (it for running in seen.generations.values() for it in running.instances)
        ids = [it.id for it in every if it.machine == machine and it.registered]
        if ids:
            found[name] = ids
    return found


def surplus(running: Running, spec: Mapping[str, Any]) -> list[Instance]:
    """Return the instances that Swarm will stop when the service becomes `spec`, and that are registered."""
    replicas = (spec["Mode"].get("Replicated") or {}).get("Replicas", 0)
    return [it for it in victims(running.wanted, replicas) if it.registered]


def left_behind(fleet: Fleet, states: Mapping[str, str]) -> list[tuple[str, int, frozenset[str]]]:
    """Return (service, generation, machines) where Swarm has another number of instances than it shall have: because of
    moves that nobody ends, since their machines are in service, or gone."""
    found = []
    for name, seen in fleet.services.items():
        for number, running in seen.generations.items():
            moves = moving(running.service)
            over = frozenset(it for it in moves if states.get(it, MachineState.ACTIVE) == MachineState.ACTIVE)
            if spec_with(seen, running, without(over, moves)) is not None:
                found.append((name, number, over))
    return found


def waiting(fleet: Fleet) -> dict[tuple[str, int], frozenset[str]]:
    """Return the tasks that have no place, by service and generation.

    Swarm may have forgotten them. When a service is changed while one of its tasks finds no place, Swarm 20.10 takes
    that for a task of the old version when it next looks, and never looks at it again, whatever it says of the reason
    (swarmkit, scheduler.noSuitableNode).
    """
    found = {}
    for name, seen in fleet.services.items():
        for number, running in seen.generations.items():
            tasks = [it.task for it in running.wanted if (it.task.state, it.task.desired) == (PENDING, RUNNING)]
            if tasks and running.service.replicas is not None:
                found[name, number] = frozenset(it.id for it in tasks)
    return found


def uneven(fleet: Fleet) -> dict[tuple[str, int], int]:
    """Return how many instances a service has more than its number, by service and generation.

    When a service is given fewer while Swarm waits to restart one (restart.delay_seconds), it may start that one all
    the same, and see it only when the service changes again.
    """
    found = {}
    for name, seen in fleet.services.items():
        for number, running in seen.generations.items():
            more = len(running.wanted) - (running.service.replicas or 0)
            if more > 0 and running.service.replicas is not None:
                found[name, number] = more
    return found


def closed_nodes(fleet: Fleet, states: Mapping[str, str]) -> list[Node]:
    """Return the nodes that take no instances although their machines are in service."""
    return [
        node
        for node in fleet.nodes
        if node.availability != ACTIVE and states.get(machine_of(node)) == MachineState.ACTIVE
    ]


def settling(fleet: Fleet, states: Mapping[str, str]) -> list[str]:
    """Return what is to be put right after a drain that was killed and not gone on with, a line each."""
    closed = [f"let {machine_of(it)}, which is in service, take instances again" for it in closed_nodes(fleet, states)]
    moved = [
        f"let generation {number} of {name} have its own number of instances again"
        for name, number, _ in left_behind(fleet, states)
    ]
    return closed + moved
