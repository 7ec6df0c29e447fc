"""Scheduled services as they may be seen, put together for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from argosy.config.loading import ScheduledSettings
from argosy.engine.swarm_model import Node, SwarmService, Task
from argosy.etcd.values import Entry
from argosy.schema import drain_key, generation_key, instance_key, weight_key
from argosy.services.record import HOMES, PREFIX, Generation, ScheduledRecord, ServiceImage, homes_text
from argosy.services.spec import service_labels, service_name
from argosy.services.state import WITHDRAWN, ServicesState, services_state
from argosy.services.updates.record import UPDATES

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
BY = "alice@build-1"
IMAGE = ServiceImage("10.0.0.5:5000/air/web@sha256:" + "1" * 64, "0.1.3")


def definition(**keys: Any) -> ScheduledSettings:
    return ScheduledSettings.model_validate({"image": "web", "discovery": {"port": 80, "scheme": "http"}, **keys})


def record(name: str = "web", number: int = 1, replicas: int | None = 2, **keys: Any) -> ScheduledRecord:
    stopped, previous = keys.pop("stopped", False), keys.pop("previous", None)
    made = definition(**({"replicas": replicas} if replicas is not None else {"global": True}), **keys)
    return ScheduledRecord(name, Generation(number, made, IMAGE), replicas, NOW, BY, stopped, previous)


def node(name: str, **more: Any) -> Node:
    labels = {"argosy.machine": name, **more.pop("labels", {})}
    return Node(f"node-{name}", 1, name, "10.0.0.1", labels=labels, **more)


@dataclass
class Cluster:
    """What is to be seen; every `task` is an instance on one of the machines in turn."""

    machines: Sequence[str] = ("air-01", "air-02", "air-03")
    nodes: list[Node] = field(default_factory=list)
    keys: list[Entry] = field(default_factory=list)
    services: list[SwarmService] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nodes = self.nodes or [node(name) for name in self.machines]

    def knows(self, *records: ScheduledRecord) -> Cluster:
        self.keys += [Entry(record.key, record.text(), 1, 1) for record in records]
        return self

    def key(self, key: str, value: str, revision: int = 1) -> Cluster:
        self.keys.append(Entry(key, value, 1, revision))
        return self

    def updates(self, name: str) -> Cluster:
        return self.key(UPDATES + name, "{}")

    def at_home(self, name: str, *machines: str) -> Cluster:
        return self.key(HOMES + name, homes_text(machines))

    def weighs(self, name: str, number: int, weight: str) -> Cluster:
        return self.key(generation_key(name, number), weight)

    def runs(
        self, name: str = "web", number: int = 1, count: int = 2, *, replicas: int | None = -1, registered: bool = True
    ) -> Cluster:
        """Let `count` instances run; `replicas`: what Swarm was told, else as many, None for a global service."""
        told = count if replicas == -1 else replicas
        mode: dict[str, Any] = {"Global": {}} if told is None else {"Replicated": {"Replicas": told}}
        labels = service_labels("air", name, number)
        full = service_name("air", name, number)
        self.services.append(SwarmService(f"id-{full}", 7, full, labels, {"Mode": mode, "Labels": labels}))
        for slot in range(1, count + 1):
            self.task(name, number, slot, registered=registered)
        return self

    def task(
        self,
        name: str = "web",
        number: int = 1,
        slot: int = 1,
        state: str = "running",
        desired: str = "running",
        *,
        registered: bool = True,
        **more: Any,
    ) -> Task:
        full = service_name("air", name, number)
        machine = self.nodes[(slot - 1) % len(self.nodes)]
        task_id = f"task{len(self.tasks)}"
        made = Task(task_id, f"id-{full}", machine.id, slot, state, desired, created=f"{len(self.tasks):04}", **more)
        self.tasks.append(made)
        if registered and state == "running":
            container = made.container_name(full)
            instance = f"{machine.hostname}:{container}"
            self.key(instance_key(name, instance), f"10.0.0.1:{32768 + len(self.tasks)}", len(self.keys) + 10)
        return made

    def weight(self, name: str, number: int, task: Task, weight: int) -> Cluster:
        machine = next(node.hostname for node in self.nodes if node.id == task.node_id)
        container = task.container_name(service_name("air", name, number))
        return self.key(weight_key(name, f"{machine}:{container}"), str(weight), 99)

    def withdraws(self, slot: int, name: str = "web", number: int = 1) -> Cluster:
        task = next(task for task in self.tasks if task.slot == slot)
        machine = next(node.hostname for node in self.nodes if node.id == task.node_id)
        instance = f"{machine}:{task.container_name(service_name('air', name, number))}"
        return self.key(drain_key(name, instance), WITHDRAWN, 99)

    def state(self) -> ServicesState:
        return services_state(self.keys, self.services, self.tasks, self.nodes)


def cluster(*records: ScheduledRecord, machines: Iterable[str] = ("air-01", "air-02", "air-03")) -> Cluster:
    return Cluster(tuple(machines)).knows(*records)


__all__ = ["BY", "IMAGE", "NOW", "PREFIX", "Cluster", "cluster", "definition", "node", "record", "replace"]
