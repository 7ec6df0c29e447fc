"""Pure. How the instances of scheduled services leave a machine before it is taken out of service.

Swarm itself stops an instance on a machine that is drained, and only then starts another elsewhere. So each service
that has some there is given as many more first, while the machine takes none (its node is paused); when those serve,
the machine is taken out, and the service is given its own number back. What stays with its volumes runs on instead:
then the machine is only paused all the while, and the numbers are given back when it is in service again. What was
added stands in the service's labels, in the same write: whoever comes after a kill finds out from them and from what is
wanted (/cluster/scheduled/NAME).

    argosy.moving.MACHINE   how many instances were added for those on MACHINE
    argosy.replicas         how many it had before, of a generation that is not (any more) the wanted one
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from argosy.engine.swarm_model import ACTIVE, RUNNING, Node, SwarmService
from argosy.model import MachineState
from argosy.services.homes import unsettled
from argosy.services.serving import applied_reason
from argosy.services.spec import with_replicas
from argosy.services.state import PENDING, Running, ServicesState, ServiceState, machine_of

MOVING = "argosy.moving."
BASE = "argosy.replicas"

Moves = Mapping[str, int]
"""How many instances were added, by the machine whose instances they replace."""


@dataclass(frozen=True, slots=True)
class Move:
    """Instances of one generation that must serve elsewhere. `count`: those on the machine; `needed`: how many must
    serve elsewhere before it is taken out."""

    name: str
    generation: int
    count: int
    needed: int

    def __str__(self) -> str:
        return f"start {self.count} instance{'s' * (self.count != 1)} of {self.name} elsewhere"


@dataclass(frozen=True, slots=True)
class Progress:
    """`serving`: instances elsewhere that serve, and that every live router knows; `homeless`: why Swarm places no
    more, if it does not."""

    serving: int
    homeless: str = ""


def moving(service: SwarmService) -> dict[str, int]:
    """Return the moves of a service that are under way."""
    found = {key.removeprefix(MOVING): text for key, text in service.labels.items() if key.startswith(MOVING)}
    return {machine: int(text) for machine, text in found.items() if text.isdecimal()}


def wanted(service: ServiceState, running: Running) -> int | None:
    """Return how many instances a generation must have when nothing moves; None of a global service.

    In the middle of an update that is what the update has made it, whatever the record says.
    """
    present, record = running.service, service.record
    if present.replicas is None:
        return None
    if record is not None and record.generation == running.number and not service.updating:
        return 0 if record.stopped else record.replicas
    before = present.labels.get(BASE, "")
    return int(before) if before.isdecimal() else present.replicas - sum(moving(present).values())


def staying(state: ServicesState, machine: str) -> list[str]:
    """Return the services that run and stay with their volumes on the machine."""
    stopped = {name for name, service in state.services.items() if service.record and service.record.stopped}
    return [name for name, service in state.services.items() if service.stays_on(machine) and name not in stopped]


def plan_moves(state: ServicesState, machine: str, stay: Collection[str] = ()) -> list[Move]:
    """Return what has to serve elsewhere before the machine is taken out of service. `stay`: services that do not."""
    moves = []
    for service, running in state.running():
        if service.name in stay:
            continue
        base, here = wanted(service, running), sum(instance.machine == machine for instance in running.wanted)
        if base and here:
            moves.append(Move(service.name, running.number, here, min(base, len(running.serving))))
    return moves


def with_move(machine: str, count: int, moves: Moves) -> Moves:
    return {**moves, machine: count}


def without(machines: Collection[str], moves: Moves) -> Moves:
    return {machine: count for machine, count in moves.items() if machine not in machines}


def spec_with(service: ServiceState, running: Running, moves: Moves) -> dict[str, Any] | None:
    """Return the service's spec when these moves are under way; None when it is so already."""
    base = wanted(service, running)
    if base is None:
        return None
    present = running.service
    own = {key: value for key, value in present.labels.items() if key != BASE and not key.startswith(MOVING)}
    added = {f"{MOVING}{machine}": str(count) for machine, count in moves.items()}
    labels = {**own, **added, **({BASE: str(base)} if moves else {})}
    replicas = base + sum(moves.values())
    if labels == dict(present.labels) and replicas == present.replicas:
        return None
    return {**with_replicas(present.spec, replicas), "Labels": labels}


def progress(state: ServicesState, move: Move, machine: str) -> Progress:
    """Return how far a move is."""
    service = state.of(move.name)
    running = service.generations.get(move.generation)
    if running is None:
        return Progress(move.needed)
    leaving = {machine, *moving(running.service)}
    elsewhere = [instance for instance in running.serving if instance.machine not in leaving]
    serving = sum(not applied_reason(instance.id, service.routes) for instance in elsewhere)
    homeless = [instance.trouble for instance in running.wanted if instance.task.state == PENDING]
    return Progress(serving, next(filter(None, homeless), ""))


def registered_on(state: ServicesState, machine: str, stay: Collection[str] = ()) -> dict[str, list[str]]:
    """Return the instances on the machine that discovery knows, by service. `stay`: without those services."""
    found: dict[str, list[str]] = {}
    for name, service in state.services.items():
        if name in stay:
            continue
        ids = [instance.id for instance in service.instances if instance.machine == machine and instance.registered]
        if ids:
            found[name] = ids
    return found


def left_behind(state: ServicesState, states: Mapping[str, str]) -> list[tuple[str, int, frozenset[str]]]:
    """Return (service, generation, machines) where Swarm has another number of instances than it must have: because of
    moves that nobody ends, since their machines are in service, or gone."""
    found = []
    for service, running in state.running():
        moves = moving(running.service)
        over = frozenset(name for name in moves if states.get(name, MachineState.ACTIVE) == MachineState.ACTIVE)
        if spec_with(service, running, without(over, moves)) is not None:
            found.append((service.name, running.number, over))
    return found


def unplaced(running: Running) -> frozenset[str]:
    """Return the tasks of a generation that have no place.

    Swarm may have forgotten them. When a service is changed while one of its tasks finds no place, Swarm 20.10 takes
    that for a task of the old version when it next looks, and never looks at it again, whatever it says of the reason
    (swarmkit, scheduler.noSuitableNode).
    """
    tasks = [instance.task for instance in running.wanted]
    return frozenset(task.id for task in tasks if (task.state, task.desired) == (PENDING, RUNNING))


def surplus(running: Running) -> int:
    """Return how many instances a generation has more than its number.

    When a service is given fewer while Swarm waits to restart one (restart.delay_seconds), it may start that one all
    the same, and see it only when the service changes again.
    """
    return max(0, len(running.wanted) - (running.service.replicas or 0))


def miscounted(state: ServicesState) -> dict[tuple[str, int], Running]:
    """Return the generations of which Swarm has too many instances, or some that have no place, by service and
    number."""
    return {
        (service.name, running.number): running
        for service, running in state.running()
        if running.service.replicas is not None and (unplaced(running) or surplus(running))
    }


def closed_nodes(state: ServicesState, states: Mapping[str, str]) -> list[Node]:
    """Return the nodes that take no instances although their machines are in service."""
    return [
        node
        for node in state.nodes
        if node.availability != ACTIVE and states.get(machine_of(node)) == MachineState.ACTIVE
    ]


def settling(state: ServicesState, states: Mapping[str, str]) -> list[str]:
    """Return what is to be put right, as after a drain that was killed and not resumed, a line each."""
    names = map(machine_of, closed_nodes(state, states))
    closed = [f"let {name}, which is in service, take instances again" for name in names]
    moved = [
        f"let generation {number} of {name} have its own number of instances again"
        for name, number, _ in left_behind(state, states)
    ]
    homes = [f"keep {name} on the machines that have its volumes" for name in unsettled(state)]
    return closed + moved + homes
