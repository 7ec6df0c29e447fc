"""What must hold of a generation's instances before an update goes on: each a check, and why it does not pass. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from argosy.discovery_report import applied_revisions
from argosy.model import MachineState
from argosy.router_config import server_name
from argosy.schema import (
    MACHINES,
    ROUTERS,
    KeyValue,
    MachineRecord,
    generation_key,
    instance_key,
    parse_endpoint,
    parse_machine,
    router_problems_key,
    service_key,
    weight_key,
)

Gates = dict[tuple[str, str], str]
"""By machine (empty where none is known) and check: why it does not pass; empty when it does."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A task of a generation's service in Swarm. `machine`: empty until it is placed; `container`: the name that it has
    or will have; `short`: for people, without the task's id; `state`: Swarm's word; `runs`: and shall go on to; `over`:
    nothing of it runs any more; `failed`: it ended by itself, badly; `wanted`: Swarm means it to run; `trouble`: what
    Swarm says is wrong."""

    task: str
    machine: str
    container: str
    short: str
    state: str
    runs: bool = False
    over: bool = False
    failed: bool = False
    wanted: bool = True
    trouble: str = ""

    @property
    def id(self) -> str:
        """Return its ID in discovery."""
        return f"{self.machine}:{self.container}"


@dataclass(frozen=True, slots=True)
class Known:
    """What etcd holds of a service and of who routes to it. `hosts`, `weights`: the entries by an instance's ID;
    `generations`: those of the generations' own weights, by number; `applied`: the revision that each live router has
    applied; `away`: machines that may have no instances, and why; `reasons`: why agents don't register a container, by
    its name."""

    hosts: Mapping[str, KeyValue] = field(default_factory=dict)
    weights: Mapping[str, KeyValue] = field(default_factory=dict)
    generations: Mapping[str, KeyValue] = field(default_factory=dict)
    applied: Mapping[str, int] = field(default_factory=dict)
    away: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    def of(self, containers: str) -> list[str]:
        """Return the IDs of the instances on a lease whose container's name begins so."""
        return [it for it, entry in self.hosts.items() if entry.lease and it.partition(":")[2].startswith(containers)]

    def servers(self, instances: Iterable[str]) -> list[str]:
        """Return what HAProxy calls those of these instances that are registered; a bad endpoint is no server."""
        found = []
        for instance in instances:
            try:
                found += [server_name(instance, parse_endpoint(self.hosts[instance].value))]
            except (KeyError, ValueError):
                continue
        return found


def known(name: str, entries: Iterable[KeyValue]) -> Known:
    """Return what the entries (of the service, of /machines/ and of /routers/) say."""
    listed = list(entries)
    hosts, weights, own = instance_key(name, ""), weight_key(name, ""), generation_key(name, "")
    machines = [parse_machine(it) for it in listed if it.key.startswith(MACHINES)]
    return Known(
        hosts={it.key.removeprefix(hosts): it for it in listed if it.key.startswith(hosts)},
        weights={it.key.removeprefix(weights): it for it in listed if it.key.startswith(weights)},
        generations={it.key.removeprefix(own): it for it in listed if it.key.startswith(own)},
        applied=applied_revisions(listed),
        away={
            it.name: f"it is {it.state}"
            for it in machines
            if isinstance(it, MachineRecord) and it.state != MachineState.ACTIVE
        },
        reasons=_reasons(listed),
    )


def prefixes(name: str) -> tuple[str, ...]:
    """Return the prefixes of the keys that `known` needs."""
    return service_key(name, ""), MACHINES, ROUTERS


def _reasons(entries: Iterable[KeyValue]) -> dict[str, str]:
    """Return what agents say of containers that they don't register, by the container's name."""
    found: dict[str, str] = {}
    for entry in entries:
        if entry.key != router_problems_key(entry.key.removeprefix(ROUTERS).partition("/")[0]):
            continue
        try:
            told = [(str(it["key"]), str(it["reason"])) for it in json.loads(entry.value)]
        except (ValueError, TypeError, KeyError):
            continue  # `discovery.list` reports it
        found |= {
            key.removeprefix("container ").split()[0]: reason for key, reason in told if key.startswith("container ")
        }
    return found


def running_gates(wanted: int | None, instances: Collection[Instance]) -> Gates:
    """Return the checks that each instance is placed and runs. `wanted`: how many; None when it is not known."""
    alive = [it for it in instances if it.wanted and not it.over]
    lacking = 0 if wanted is None else wanted - len(alive)
    placed = f"{len(alive)} of {wanted}" if wanted is not None else str(len(alive))
    found: Gates = {("", "instances"): f"Swarm has begun {placed}" if lacking > 0 or not (alive or wanted == 0) else ""}
    for it in alive:
        ended = next((old for old in instances if old.short == it.short and old.failed and old.trouble), None)
        before = f"; the last one failed: {ended.trouble}" if ended and not it.runs else ""
        trouble = f": {it.trouble}" if it.trouble else ""
        found[(it.machine, it.short)] = "" if it.runs else f"{it.state}{trouble}{before}"
    return found


def registered_gates(running: Iterable[Instance], found: Known, weight: int | None) -> Gates:
    """Return the checks that each instance that runs is registered with `weight` (None: whichever), and known to every
    live router.

    A machine that drains has no registered instances, whatever runs there.
    """
    instances = list(running)
    serving = [it for it in instances if it.machine not in found.away]
    gates: Gates = {(it.machine, it.short): _registered_reason(it, found, weight) for it in serving}
    if instances and not serving:
        gates["", "machines"] = f"all of them are on machines that are out of service: {_names(instances)}"
    return gates


def _registered_reason(it: Instance, found: Known, weight: int | None) -> str:
    if it.id not in found.hosts:
        return found.reasons.get(it.container, "it runs, but its agent has not registered it yet")
    return (weight_reason(it.id, found, weight) if weight is not None else "") or applied_reason(it.id, found)


def _names(instances: Iterable[Instance]) -> str:
    return ", ".join(sorted({it.machine for it in instances}))


def weight_reason(instance: str, found: Known, weight: int) -> str:
    """Return why an instance does not have this weight. An operator's own wins, unless it is to get nothing."""
    entry = found.weights.get(instance)
    if entry is not None and not entry.lease and weight:
        return ""
    present = entry.value.strip() if entry is not None else "none"
    return "" if present == str(weight) else f"its weight is {present}, not yet {weight}"


def applied_reason(instance: str, found: Known) -> str:
    """Return which live routers have not yet applied what stands in etcd of an instance."""
    return _behind(found, found.hosts.get(instance), found.weights.get(instance))


def weighed_gates(instances: Iterable[str], number: int, found: Known, weight: int) -> Gates:
    """Return the checks that these instances of a generation have its weight, and that every live router knows: also of
    what was deregistered before the generation got it."""
    gates: Gates = {("", "routers"): _behind(found, found.generations.get(str(number)))}
    for instance in instances:
        machine, _, container = instance.partition(":")
        gates[machine, container.rpartition(".")[0]] = weight_reason(instance, found, weight) or applied_reason(
            instance, found
        )
    return gates


def _behind(found: Known, *entries: KeyValue | None) -> str:
    """Return which live routers have not yet applied these entries."""
    revision = max((it.mod_revision for it in entries if it is not None), default=0)
    behind = [name for name, at in found.applied.items() if at < revision]
    return f"not yet applied by the router of {', '.join(behind)}" if behind else ""


def failing(gates: Gates) -> str:
    """Return what does not pass, in one line."""
    return "; ".join(
        f"{f'{machine}: ' if machine else ''}{check}: {reason}" for (machine, check), reason in gates.items() if reason
    )
