"""The real Swarm: the seam `Engine`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from argosy.config import Settings
from argosy.container_labels import GENERATION, SYSTEM
from argosy.errors import ArgosyError, EngineRefused, Refused
from argosy.operations.service.imaging import registry_auth
from argosy.scheduled_record import Generation
from argosy.scheduled_state import FAILED, fits, machine_of
from argosy.swarm import Swarm
from argosy.swarm_model import ACTIVE, DOWN, READY, RUNNING, Node, SwarmService, Task
from argosy.swarm_spec import render_spec, service_labels, service_name, with_replicas
from argosy.update_gates import Instance

HELD = "argosy.held"
"""A label of a service that was created and is not to run yet."""
NOWHERE = "node.id == nowhere"
LOG_LINES = 10
PENDING = "pending"
"""A task's state while Swarm finds no machine for it."""


class SwarmEngine:
    """What Swarm has of one scheduled service."""

    def __init__(self, settings: Settings, name: str, swarm: Swarm) -> None:
        self._settings = settings
        self._name = name
        self._swarm = swarm
        self._ids: dict[int, str] = {}
        self._removed: set[int] = set()

    def prepare(self, generation: Generation, replicas: int | None) -> Callable[[], None]:
        """Create the service so that nothing of it runs; what is returned lets it run. Swarm refuses that once somebody
        else has touched or removed it."""
        spec = render_spec(self._settings, self._name, generation, replicas)
        auth = registry_auth(self._settings, generation.image)
        found = self._service(generation.number)
        if found is None:
            try:
                self._swarm.create_service(_held(spec), auth)
            except EngineRefused as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
            found = self._service(generation.number)
        if found is None:
            raise Refused(f"{self._name}: generation {generation.number} was removed by somebody else just now")
        self._ids[generation.number] = found.id
        self._removed.discard(generation.number)
        if HELD not in found.labels and found.replicas == (spec_replicas(spec)):
            return lambda: None
        return lambda: self._swarm.update_service(found, spec, auth)

    def generations(self) -> Collection[int]:
        services = self._swarm.services(service_labels(self._settings.system, self._name))
        numbers = {int(text): it.id for it in services if (text := it.labels.get(GENERATION, "")).isdecimal()}
        self._ids |= numbers
        return sorted(numbers)

    def remove(self, generation: int) -> None:
        found = self._service(generation)
        if found is not None:
            self._ids[generation] = found.id
            self._swarm.remove_service(found.id)
        self._removed.add(generation)

    def instances(self, generation: int) -> Sequence[Instance]:
        if generation not in self._ids and (found := self._service(generation)):
            self._ids[generation] = found.id
        service = self._ids.get(generation)
        if service is None:
            return []
        # Of a service that is gone Swarm lists no tasks by its id, and yet has them until they have ended.
        gone = generation in self._removed
        tasks = self._swarm.tasks() if gone else self._swarm.tasks(service)
        nodes = {node.id: node for node in self._swarm.nodes()}
        every = sorted((it for it in tasks if it.service_id == service), key=lambda it: (it.created, it.id))
        return [self._instance(generation, it, nodes, gone) for it in every]

    def seats(self, generation: Generation) -> int:
        fitting = [it for it in self._swarm.nodes() if fits(it, generation.definition)]
        return sum(it.state == READY and it.availability == ACTIVE for it in fitting)

    def last_lines(self, generation: int, instance: Instance) -> Sequence[str]:
        try:
            lines = list(self._swarm.logs(self._ids.get(generation, ""), tail=LOG_LINES))
        except ArgosyError as error:
            return [f"(its log can't be had: {error})"]
        return [it.text for it in sorted(lines, key=lambda it: it.time) if it.task_id == instance.task]

    def _service(self, generation: int) -> SwarmService | None:
        name = service_name(self._settings.system, self._name, generation)
        found = self._swarm.service(name)
        if found is not None and found.labels.get(SYSTEM) != self._settings.system:
            raise Refused(f"{self._name}: Swarm has a service {name} that is none of ours")
        return found

    def _instance(self, generation: int, task: Task, nodes: Mapping[str, Node], gone: bool) -> Instance:
        """Return a task as an instance. Of a service that is gone, nothing is expected of machines that are down."""
        service = service_name(self._settings.system, self._name, generation)
        node = nodes.get(task.node_id)
        machine = machine_of(node) if node else ""
        away = gone and (node is None or node.state == DOWN)
        return Instance(
            task.id,
            machine,
            task.container_name(service),
            f"{service}.{task.slot or machine}",
            task.state,
            runs=task.runs,
            over=task.over or away,
            failed=task.state in FAILED,
            wanted=task.desired in (RUNNING, READY),
            trouble=" ".join((task.error or (task.message if task.state == PENDING else "")).split()),
        )


def spec_replicas(spec: Mapping[str, Any]) -> int | None:
    """Return how many instances a spec means; None of a global service."""
    replicated = spec["Mode"].get("Replicated")
    return None if replicated is None else int(replicated["Replicas"])


def _held(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of a service of which nothing runs. One that nobody ever lets run does no harm."""
    labels = {**spec["Labels"], HELD: "true"}
    if spec_replicas(spec) is not None:
        return {**with_replicas(spec, 0), "Labels": labels}
    task, placement = spec["TaskTemplate"], spec["TaskTemplate"]["Placement"]
    nowhere = {**placement, "Constraints": [*placement.get("Constraints", ()), NOWHERE]}
    return {**spec, "Labels": labels, "TaskTemplate": {**task, "Placement": nowhere}}
