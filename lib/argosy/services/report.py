"""Pure. What `service.list` and `service.show` tell of scheduled services."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from argosy.config.loading import ScheduledSettings
from argosy.discovery.report import Rows, health_words
from argosy.services.plan import failed_slots
from argosy.services.record import definition_json
from argosy.services.state import Instance, Running, ServicesState, ServiceState
from argosy.text import printable

LIST_COLUMNS = ["service", "wanted", "running", "registered", "version", "generation", "machines", "state"]
INSTANCE_COLUMNS = ["instance", "machine", "container", "state", "since", "endpoint", "weight", "health"]
ENDED_COLUMNS = ["ended", "machine", "state", "at", "error"]
EVERYWHERE = "every machine"
SHOWN_ENDED = 5
LOST = "lost"


@dataclass(frozen=True, slots=True)
class ServicesReport:
    """`defined`: those of the configuration; `health`: by instance's ID, what each router that was asked says of it."""

    found: ServicesState
    defined: Mapping[str, ScheduledSettings] = field(default_factory=dict)
    health: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return sorted({*self.found.services, *self.defined})

    def rows(self, names: Iterable[str] = ()) -> Rows:
        """Return the rows under LIST_COLUMNS, of these services or of all."""
        return [self._row(name) for name in names or self.names]

    def to_json(self, names: Iterable[str] = ()) -> list[dict[str, Any]]:
        """Return the shape that `service.list --json` prints; keys are only ever added to it:

            [{"name", "state": "running" or what is wrong, "wanted": 4 or null (global, or not submitted), "running": 4,
              "registered": 4, "generation": 7 or null, "version", "image", "stopped", "updating", "since", "by",
              "instances": [INSTANCE]}]

        INSTANCE: {"id": "MACHINE:CONTAINER", "slot", "machine", "container", "generation", "state", "since",
        "endpoint": "" when it is not registered, "weight", "error", "health": {"air-01": "up"}}. Its state is Swarm's
        word for it, or "lost" when its machine is down.
        """
        return [self._json(name) for name in names or self.names]

    def instance_rows(self, name: str) -> Rows:
        """Return the rows under INSTANCE_COLUMNS: of every generation that is there."""
        return [
            [
                f"{instance.generation}/{instance.task.slot or instance.machine}",
                instance.machine,
                instance.container,
                state_of(instance),
                instance.task.updated[:19],
                instance.endpoint or "not registered",
                instance.weight if instance.registered else "",
                self._health(instance),
            ]
            for instance in self.found.of(name).instances
        ]

    def ended_rows(self, name: str) -> Rows:
        """Return the rows under ENDED_COLUMNS: the newest of those that ended by themselves."""
        failed = [(each.generation, each.machine, each.task) for each in self.found.of(name).ended if each.failed]
        newest = sorted(failed, key=lambda each: each[2].updated, reverse=True)[:SHOWN_ENDED]
        return [
            [f"{generation}/{task.slot}", machine, task.state, task.updated[:19], printable(task.error)]
            for generation, machine, task in newest
        ]

    def shown(self, name: str) -> dict[str, Any]:
        """Return what `service.show --json` prints: as `to_json`, and "definition", "previous" (null, or as in the
        record), "homes" (the machines that have its volumes), "ended": [INSTANCE]."""
        service = self.found.of(name)
        record = service.record.to_json() if service.record else {}
        defined = self.defined.get(name)
        definition = record.get("definition") or (definition_json(defined) if defined else {})
        return {
            **self._json(name),
            "definition": definition,
            "previous": record.get("previous"),
            "homes": list(service.homes),
            "ended": list(map(self._instance, service.ended)),
        }

    def _row(self, name: str) -> list[object]:
        told, service = self._json(name), self.found.of(name)
        wanted: object = "" if service.record is None else EVERYWHERE if told["wanted"] is None else told["wanted"]
        return [
            printable(name),
            wanted,
            told["running"],
            told["registered"],
            printable(told["version"]),
            told["generation"] or "",
            ", ".join(sorted({instance.machine for instance in _up(service)})),
            told["state"],
        ]

    def state(self, name: str) -> str:
        """Return how a service is, in words."""
        service, defined = self.found.of(name), name in self.defined
        record, running = service.record, service.current
        if service.problem:
            return printable(f"unknown: {service.problem}")
        if record is None:
            other = service.generations or service.updating
            return "etcd does not know it: inv service.destroy" if other else "not submitted" if defined else "unknown"
        update = ["an update is under way or was left"] if service.updating else []
        if record.stopped:
            return "; ".join([*update, "still stopping" if service.generations else "stopped"])
        if running is None:
            return "; ".join([*update, f"Swarm has lost it: inv service.revive {name}"])
        return "; ".join([*update, *self._troubles(service, running)]) or "running"

    def _troubles(self, service: ServiceState, running: Running) -> list[str]:
        record = service.record
        assert record
        count = self.found.count(record.definition, record.replicas)
        up, words = running.up, []
        failed = failed_slots(self.found, service.name)
        if failed:
            words.append(f"{len(failed)} failed and not tried again: inv service.revive {service.name}")
        if len(up) < count - len(failed):
            tasks = [instance.task for instance in running.instances]
            reasons = sorted({task.error for task in tasks if task.error and not task.runs})
            words.append(": ".join([f"{count - len(failed) - len(up)} not running", *map(printable, reasons)]))
        absent = [instance for instance in up if not instance.registered] if record.definition.discovery else []
        if absent:
            words.append(f"{len(absent)} not registered")
        if service.withdrawn:
            words.append(f"{len(service.withdrawn)} get no requests since a scaling that was cut off: the same again")
        if len(up) > count:
            words.append(f"{len(up) - count} too many")
        return words

    def _json(self, name: str) -> dict[str, Any]:
        service = self.found.of(name)
        record, up = service.record, _up(service)
        return {
            "name": name,
            "state": self.state(name),
            "wanted": record and (0 if record.stopped else record.replicas),
            "running": len(up),
            "registered": sum(instance.registered for instance in up),
            "generation": record and record.generation,
            "version": record.image.version if record else "",
            "image": record.image.reference if record else "",
            "stopped": bool(record and record.stopped),
            "updating": service.updating,
            "since": record.to_json()["since"] if record else "",
            "by": record.by if record else "",
            "instances": list(map(self._instance, service.instances)),
        }

    def _instance(self, instance: Instance) -> dict[str, Any]:
        return {
            "id": instance.id,
            "slot": instance.task.slot,
            "machine": instance.machine,
            "container": instance.container,
            "generation": instance.generation,
            "state": LOST if instance.lost else instance.task.state,
            "since": instance.task.updated,
            "endpoint": instance.endpoint,
            "weight": instance.weight if instance.registered else 0,
            "error": instance.task.error,
            "health": dict(self.health.get(instance.id, {})),
        }

    def _health(self, instance: Instance) -> str:
        return ", ".join(health_words(self.health.get(instance.id, {})))


def tables(report: ServicesReport, name: str) -> list[tuple[list[str], Rows]]:
    """Return the tables that `service.show` prints: (columns, rows)."""
    definition = report.shown(name)["definition"]
    defined: Rows = [[key, printable(json.dumps(value))] for key, value in definition.items()]
    found = [
        (LIST_COLUMNS, report.rows([name])),
        (INSTANCE_COLUMNS, report.instance_rows(name)),
        (ENDED_COLUMNS, report.ended_rows(name)),
        (["defined as", ""], defined),
    ]
    return [(columns, rows) for columns, rows in found if rows]


def state_of(instance: Instance) -> str:
    """Return how one instance is, in words."""
    task = instance.task
    if instance.lost:
        return f"{LOST}: its machine is down"
    if task.runs:
        return "running"
    error = f": {printable(task.error)}" if task.error else ""
    return f"{task.state}{'' if task.wanted else ' (to end)'}{error}"


def _up(service: ServiceState) -> list[Instance]:
    """Return what runs of the wanted generation, or without a record of the newest one that is there."""
    newest = service.generations[max(service.generations)] if service.generations else None
    running = service.current if service.record else newest
    return running.up if running else []
