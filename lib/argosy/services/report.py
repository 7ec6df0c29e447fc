"""What `service.list` and `service.show` tell of scheduled services. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from argosy.config import ScheduledSettings
from argosy.scheduled_record import definition_json
from argosy.scheduled_state import Fleet, Instance, Running, Seen
from argosy.scheduling import failed_slots
from argosy.service_changes import plain

Rows = list[list[object]]
LIST_COLUMNS = ["service", "wanted", "running", "registered", "version", "generation", "machines", "state"]
INSTANCE_COLUMNS = ["instance", "machine", "container", "state", "since", "endpoint", "weight", "health"]
ENDED_COLUMNS = ["ended", "machine", "state", "at", "error"]
EVERYWHERE = "every machine"
SHOWN_ENDED = 5
UP = "up"
LOST = "lost"


@dataclass(frozen=True, slots=True)
class ServicesReport:
    """`defined`: those of the configuration; `health`: by instance's ID, what each router that was asked says of it."""

    fleet: Fleet
    defined: Mapping[str, ScheduledSettings] = field(default_factory=dict)
    health: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return sorted({*self.fleet.services, *self.defined})

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
                f"{it.generation}/{it.task.slot or it.machine}",
                it.machine,
                it.container,
                state_of(it),
                it.task.updated[:19],
                it.endpoint or "not registered",
                it.weight if it.registered else "",
                self._health(it),
            ]
            for running in self.fleet.of(name).generations.values()
            for it in running.instances
        ]

    def ended_rows(self, name: str) -> Rows:
        """Return the rows under ENDED_COLUMNS: the newest of those that ended by themselves."""
        failed = [it for running in self.fleet.of(name).generations.values() for it in running.failures()]
        newest = sorted(failed, key=lambda it: it.task.updated, reverse=True)[:SHOWN_ENDED]
        return [
            [f"{it.generation}/{it.task.slot}", it.machine, it.task.state, it.task.updated[:19], plain(it.task.error)]
            for it in newest
        ]

    def shown(self, name: str) -> dict[str, Any]:
        """Return what `service.show --json` prints: as `to_json`, and "definition", "previous" (null, or as in the
        record), "ended": [INSTANCE]."""
        seen = self.fleet.of(name)
        record = seen.record.to_json() if seen.record else {}
        defined = self.defined.get(name)
        definition = record.get("definition") or (definition_json(defined) if defined else {})
        ended = [it for running in seen.generations.values() for it in running.ended]
        return {
            **self._json(name),
            "definition": definition,
            "previous": record.get("previous"),
            "ended": [self._instance(it) for it in ended],
        }

    def _row(self, name: str) -> list[object]:
        seen = self.fleet.of(name)
        record, running = seen.record, _present(seen)
        wanted: object = "" if record is None else 0 if record.stopped else record.replicas
        return [
            plain(name),
            EVERYWHERE if wanted is None else wanted,
            len(running.up) if running else 0,
            _registered(running),
            plain(record.image.version) if record else "",
            record.generation if record else "",
            ", ".join(_machines(running)),
            self.state(name),
        ]

    def state(self, name: str) -> str:
        """Return how a service is, in words."""
        seen, defined = self.fleet.of(name), name in self.defined
        record, running = seen.record, seen.current
        if seen.problem:
            return plain(f"unknown: {seen.problem}")
        if record is None:
            other = seen.generations or seen.updating
            return "etcd does not know it: inv service.destroy" if other else "not submitted" if defined else "unknown"
        update = ["an update is under way or was left"] if seen.updating else []
        if record.stopped:
            return "; ".join([*update, "still stopping" if seen.generations else "stopped"])
        if running is None:
            return "; ".join([*update, f"Swarm has lost it: inv service.revive {name}"])
        return "; ".join([*update, *self._troubles(seen, running)]) or "running"

    def _troubles(self, seen: Seen, running: Running) -> list[str]:
        record = seen.record
        assert record
        count = len(self.fleet.taking(record.definition)) if record.replicas is None else record.replicas
        up, words = running.up, []
        failed = failed_slots(seen, record)
        if failed:
            words.append(f"{len(failed)} failed and not tried again: inv service.revive {seen.name}")
        if len(up) < count - len(failed):
            reasons = sorted({it.task.error for it in running.instances if it.task.error and not it.task.runs})
            words.append(": ".join([f"{count - len(failed) - len(up)} not running", *map(plain, reasons)]))
        absent = [it for it in up if not it.registered] if record.definition.discovery else []
        if absent:
            words.append(f"{len(absent)} not registered")
        if seen.withdrawn:
            words.append(f"{len(seen.withdrawn)} get no requests since a scaling that was cut off: the same again")
        if len(up) > count:
            words.append(f"{len(up) - count} too many")
        return words

    def _json(self, name: str) -> dict[str, Any]:
        seen = self.fleet.of(name)
        record, running = seen.record, _present(seen)
        return {
            "name": name,
            "state": self.state(name),
            "wanted": record and (0 if record.stopped else record.replicas),
            "running": len(running.up) if running else 0,
            "registered": _registered(running),
            "generation": record and record.generation,
            "version": record.image.version if record else "",
            "image": record.image.reference if record else "",
            "stopped": bool(record and record.stopped),
            "updating": seen.updating,
            "since": record.to_json()["since"] if record else "",
            "by": record.by if record else "",
            "instances": [self._instance(it) for each in seen.generations.values() for it in each.instances],
        }

    def _instance(self, it: Instance) -> dict[str, Any]:
        return {
            "id": it.id,
            "slot": it.task.slot,
            "machine": it.machine,
            "container": it.container,
            "generation": it.generation,
            "state": LOST if it.lost else it.task.state,
            "since": it.task.updated,
            "endpoint": it.endpoint,
            "weight": it.weight if it.registered else 0,
            "error": it.task.error,
            "health": dict(self.health.get(it.id, {})),
        }

    def _health(self, it: Instance) -> str:
        told = self.health.get(it.id, {})
        words = [f"{said} on {router}" for router, said in told.items() if said != UP]
        up = sum(said == UP for said in told.values())
        return ", ".join([*words, *([f"up on {up} of {len(told)}"] if told else [])])


def tables(report: ServicesReport, name: str) -> list[tuple[list[str], Rows]]:
    """Return the tables that `service.show` prints: (columns, rows)."""
    definition = report.shown(name)["definition"]
    defined: Rows = [[key, plain(json.dumps(value))] for key, value in definition.items()]
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
    error = f": {plain(task.error)}" if task.error else ""
    return f"{task.state}{' (to end)' if task.desired not in ('running', 'ready') else ''}{error}"


def _present(seen: Seen) -> Running | None:
    """Return the wanted generation, or without a record the newest one that is there."""
    if seen.record or not seen.generations:
        return seen.current
    return seen.generations[max(seen.generations)]


def _registered(running: Running | None) -> int:
    return sum(it.registered for it in running.up) if running else 0


def _machines(running: Running | None) -> list[str]:
    return sorted({it.machine for it in running.up}) if running else []
