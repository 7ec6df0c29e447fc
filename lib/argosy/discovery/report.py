"""Pure. What discovery knows at one moment: services, their instances, and what each router has made of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from argosy.discovery.differences import attributes
from argosy.etcd.values import Entry
from argosy.model import MachineState
from argosy.routing.changes import ActualServer
from argosy.routing.haproxy import backend_name, server_name
from argosy.schema import (
    FOLLOWED,
    ROUTERS,
    Directory,
    Instance,
    Problem,
    Service,
    parse_directory,
    router_key,
    router_problems_key,
)
from argosy.text import printable

Rows = list[list[object]]
Servers = Mapping[str, Mapping[str, ActualServer]]
"""By backend and name."""
Health = Mapping[tuple[str, str], Mapping[str, str]]
BY_HAND = "by hand"
UP, DOWN, ABSENT = "up", "down", "absent"


@dataclass(frozen=True, slots=True)
class RouterState:
    """What a machine's router tells. `revision`: that it has applied; None when it tells nothing: no agent is there.
    `problems`: what only that machine knows."""

    revision: int | None = None
    problems: tuple[Problem, ...] = ()

    def behind(self, revision: int) -> bool:
        return self.revision is None or self.revision < revision

    def to_json(self, wanted: int) -> dict[str, Any]:
        problems = [asdict(problem) for problem in self.problems]
        return {"revision": self.revision, "behind": self.behind(wanted), "problems": problems}


@dataclass(frozen=True, slots=True)
class DiscoveryReport:
    """`revision`: the newest one among what routers follow. `services`: sorted by name; `routers`: by machine's name,
    those of all live machines and others that told of themselves. `health`: by service and instance, what each router
    that was asked says of it: up, down or absent."""

    revision: int
    services: tuple[Service, ...]
    problems: tuple[Problem, ...]
    routers: Mapping[str, RouterState]
    health: Health = field(default_factory=dict)

    @property
    def instances(self) -> int:
        return sum(len(service.instances) for service in self.services)

    def to_json(self) -> dict[str, Any]:
        """Return the shape that `discovery.list --json` prints; keys are only ever added to it:

            {"revision": 812, "services": [SERVICE], "problems": [PROBLEM],
             "routers": {"air-01": {"revision": 812 or null, "behind": false, "problems": [PROBLEM]}}}

        SERVICE: {"name", "scheme", "host_port", "private", "sni": [], "check", "instances": [{"id", "endpoint",
        "weight", "draining", "registered_by": a machine's name or "by hand", "leased", "health": {"air-01": "up"}}]},
        health being empty unless the routers were asked;
        PROBLEM: {"service", "key", "reason"}.
        """
        return {
            "revision": self.revision,
            "services": [_service_json(service, self.health) for service in self.services],
            "problems": [asdict(problem) for problem in self.problems],
            "routers": {name: router.to_json(self.revision) for name, router in self.routers.items()},
        }

    def tables(self) -> list[tuple[list[str], Rows]]:
        """Return the tables that `discovery.list` prints: (columns, rows)."""
        services: Rows = [row for service in self.services for row in _service_rows(service, self.health)]
        routers: Rows = [[name, router.revision, self._router_word(router)] for name, router in self.routers.items()]
        problems: Rows = [["", printable(str(problem))] for problem in self.problems]
        problems += [
            [name, printable(str(problem))] for name, router in self.routers.items() for problem in router.problems
        ]
        columns = ["service", "scheme", "reached by", "check", "instance", "endpoint", "weight", "registered", "state"]
        shown = [(columns, services), (["router", "has applied", ""], routers), (["on", "problem"], problems)]
        return [(titles, rows) for titles, rows in shown if rows]

    def router_fault(self, machine: str) -> str:
        """Return what is wrong with the router of a machine that should have one, empty for nothing."""
        router = self.routers.get(machine, RouterState())
        if router.revision is None:
            return "its router reports nothing: is its agent running?"
        if router.behind(self.revision):
            return f"its router is behind: it has applied {router.revision}, {self.revision} is wanted"
        return ""

    def section(self) -> dict[str, Any]:
        """Return the section `discovery` of `cluster.status --json` (see there)."""
        return {
            "services": len(self.services),
            "instances": self.instances,
            "problems": self._problem_lines(),
            "routers": {name: router.revision for name, router in self.routers.items()},
        }

    def section_rows(self) -> Rows:
        """Return the same as rows of two cells."""
        rows: Rows = [["services", len(self.services)], ["instances", self.instances]]
        rows += [[f"router of {name}", self._router_word(router)] for name, router in self.routers.items()]
        return rows + [["problem", line] for line in self._problem_lines()]

    def _problem_lines(self) -> list[str]:
        local = [f"{name}: {problem}" for name, router in self.routers.items() for problem in router.problems]
        return [printable(line) for line in [*map(str, self.problems), *local]]

    def _router_word(self, router: RouterState) -> str:
        if router.revision is None:
            return "reports nothing: its agent is not there"
        return f"behind: {self.revision} is wanted" if router.behind(self.revision) else "up to date"


def discovery_report(
    entries: Iterable[Entry], names: Sequence[str] = (), found: Iterable[Problem] = ()
) -> DiscoveryReport:
    """Return the report of all `entries` under FOLLOWED and /routers/, of these services or of all.

    `found`: problems beyond those of the data itself, such as two services that claim the same.
    """
    listed = list(entries)
    directory = parse_directory(listed)
    problems = sorted({*directory.problems, *found}, key=lambda problem: (problem.service, problem.key, problem.reason))
    return DiscoveryReport(
        revision=newest_revision(listed),
        services=tuple(
            directory.services[service] for service in sorted(directory.services) if not names or service in names
        ),
        problems=tuple(problem for problem in problems if not names or problem.service in names),
        routers=router_states(directory, listed),
    )


def instance_health(services: Iterable[Service], servers: Mapping[str, Servers]) -> Health:
    """Return what each router says of each instance. `servers`: by machine, what its HAProxy has."""
    return {
        (service.name, instance.id): {
            machine: _health(found.get(backend_name(service.name), {}).get(server_name(instance.id, instance.endpoint)))
            for machine, found in servers.items()
        }
        for service in services
        if service.scheme is not None
        for instance in service.instances
    }


def _health(server: ActualServer | None) -> str:
    if server is None:
        return ABSENT
    return UP if server.up and not server.maintenance else DOWN


def newest_revision(entries: Iterable[Entry]) -> int:
    """Return the newest revision of what routers follow, as far as its keys tell (a deletion leaves none)."""
    return max((entry.mod_revision for entry in entries if entry.key.startswith(FOLLOWED)), default=0)


def applied_revisions(entries: Iterable[Entry]) -> dict[str, int]:
    """Return the revision that each live router says it has applied; -1 for a value that is no number."""
    told = {entry.key.removeprefix(ROUTERS): entry.value for entry in entries if entry.key.startswith(ROUTERS)}
    return {name: _number(value) for name, value in sorted(told.items()) if "/" not in name}


def router_states(directory: Directory, entries: Iterable[Entry]) -> dict[str, RouterState]:
    """Return the state of every live machine's router, and of others that told theirs."""
    listed = {entry.key: entry for entry in entries if entry.key.startswith(ROUTERS)}
    applied = applied_revisions(listed.values())
    names = sorted({*applied, *live_machines(directory)})
    return {name: RouterState(applied.get(name), _router_problems(name, listed)) for name in names}


def live_machines(directory: Directory) -> list[str]:
    """Return the names of the machines that should have a router."""
    return sorted(name for name, machine in directory.machines.items() if machine.state != MachineState.DOWN)


def registered_by(instance: str) -> str:
    """Return the machine whose agent registers an instance of this ID, MACHINE:CONTAINER; empty when it is no such
    ID. A machine's name holds no dot, so ip:port is none."""
    machine, colon, container = instance.partition(":")
    named = bool(machine) and all(char.isascii() and (char.isalnum() or char == "-") for char in machine)
    return machine if colon and container and named else ""


def _router_problems(name: str, entries: Mapping[str, Entry]) -> tuple[Problem, ...]:
    found: list[Problem] = []
    key = router_key(name)
    if key in entries and _number(entries[key].value) < 0:
        found.append(Problem("", key, "not a revision"))
    told = entries.get(router_problems_key(name))
    if told is None:
        return tuple(found)
    try:
        found += [
            Problem(str(load["service"]), str(load["key"]), str(load["reason"])) for load in json.loads(told.value)
        ]
    except (ValueError, TypeError, KeyError):
        found.append(Problem("", told.key, "not a JSON list of problems"))
    return tuple(found)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else -1


def _service_json(service: Service, health: Health) -> dict[str, Any]:
    return {
        "name": service.name,
        **attributes(service),
        "host_port": service.host_port,
        "private": service.private,
        "sni": list(service.sni),
        "instances": [
            _instance_json(instance, health.get((service.name, instance.id), {})) for instance in service.instances
        ],
    }


def _instance_json(instance: Instance, health: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": instance.id,
        "endpoint": str(instance.endpoint),
        "weight": instance.weight,
        "draining": instance.draining,
        "registered_by": registered_by(instance.id) or BY_HAND,
        "leased": bool(instance.lease),
        "health": dict(health),
    }


def _service_rows(service: Service, health: Health) -> Rows:
    """Return a row for each instance; what is said of the service stands in the first one."""
    known = attributes(service)
    first: list[object] = [service.name, known["scheme"] or "(none)", _reached_by(service), known["check"]]
    rows: Rows = [
        [
            *(first if number == 0 else [""] * len(first)),
            printable(instance.id),
            str(instance.endpoint),
            instance.weight,
            f"{registered_by(instance.id) or BY_HAND}{', leased' if instance.lease else ''}",
            _state(instance, health.get((service.name, instance.id), {})),
        ]
        for number, instance in enumerate(service.instances)
    ]
    return rows or [[*first, "(none)", "", "", "", ""]]


def _state(instance: Instance, health: Mapping[str, str]) -> str:
    """Return how an instance is, in words; nothing to say of one whose routers were not asked."""
    return ", ".join(["draining"] * instance.draining + health_words(health))


def health_words(health: Mapping[str, str]) -> list[str]:
    """Return what the routers that were asked say of an instance, in words."""
    words = [f"{said} on {router}" for router, said in health.items() if said != UP]
    up = sum(said == UP for said in health.values())
    return [*words, *([f"up on {up} of {len(health)}"] if health else [])]


def _reached_by(service: Service) -> str:
    """Return what leads to the service, in words."""
    if service.scheme is None:
        return "nothing"
    ways = [] if service.private or service.scheme == "tcp" else ["name"]
    ways += [f"port {service.host_port}"] if service.host_port else []
    ways += [f"TLS name {name}" for name in service.sni if not service.private]
    return ", ".join(ways) or "nothing"
