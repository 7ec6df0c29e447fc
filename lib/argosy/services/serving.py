"""Pure. Whether the instances of a generation serve, and why not: a check of each thing that must hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from argosy.config.loading import ScheduledSettings
from argosy.etcd.values import Entry
from argosy.services.record import Generation
from argosy.services.state import Instance, Routes, Running, ServicesState

Gates = dict[tuple[str, str], str]
"""By machine (empty where none is known) and check: why it does not pass; empty when it does."""
ROUTERS_FOLLOW = "routers"
"""The check that every live router has applied what stands in etcd."""
STEADY_SECONDS = 2.0
"""For how long instances must run whose state nobody checks, or of which one has failed already."""
TRIES = 3
"""Failures of one instance after which it is not waited for any longer."""


class Failures:
    """What has failed of a generation since the first look: Swarm keeps only a few ended tries of each instance, so
    they are counted as they come."""

    def __init__(self) -> None:
        self._known: set[str] | None = None
        self._count: Counter[str] = Counter()
        self.last: dict[str, Instance] = {}
        """By the instance's short name."""

    def look(self, running: Running) -> None:
        failed = running.failures()
        if self._known is None:
            self._known = {instance.task.id for instance in failed}
        for instance in reversed(failed):
            if instance.task.id not in self._known:
                self._known.add(instance.task.id)
                self._count[instance.short] += 1
                self.last[instance.short] = instance

    def often(self) -> list[Instance]:
        """Return the last failure of each instance that has failed so often that it will not get well by itself."""
        return [instance for short, instance in self.last.items() if self._count[short] >= TRIES]


class Watch:
    """One generation of a service, watched until it serves. `exact`: no more instances than wanted may be left."""

    def __init__(self, name: str, generation: Generation, exact: bool = False) -> None:
        self.name = name
        self.generation = generation
        self._exact = exact
        self.failures = Failures()
        self._up: frozenset[str] = frozenset()
        self._since = 0.0

    def look(self, state: ServicesState, replicas: int | None, now: float, weight: int | None = None) -> Gates:
        """Return the checks of its instances. `replicas`: how many; None for one on every machine that takes some.
        `weight`: that each must have; None: any. `now`: seconds of a clock that never goes back."""
        definition = self.generation.definition
        service = state.of(self.name)
        running = service.generations.get(self.generation.number)
        if running is None:
            return {("", "instances"): f"Swarm does not have generation {self.generation.number}"}
        self.failures.look(running)
        up = frozenset(instance.task.id for instance in running.up)
        if up != self._up:
            self._up, self._since = up, now
        count = state.count(definition, replicas)
        gates = running_gates(count, running)
        if self._exact:
            gates |= surplus_gates(count, running)
        if definition.discovery:
            registered = registered_gates(running.up, service.routes, weight)
            gates |= {key: reason for key, reason in registered.items() if not gates.get(key)}
        steady_seconds = STEADY_SECONDS if self.failures.last or unchecked(definition) else 0
        if up and not failing(gates) and now - self._since < steady_seconds:
            gates["", "instances"] = f"{len(up)} run: watching whether they keep running"
        return gates

    def hopeless(self, state: ServicesState, gates: Gates) -> str:
        """Return why it is no use to wait for the checks that do not pass; empty when it may be."""
        if self.generation.number not in state.of(self.name).generations:
            return failing(gates)
        ill = {check for (_, check), reason in gates.items() if reason}
        lacking = bool(gates.get(("", "instances")))
        often = [failed for failed in self.failures.often() if lacking or failed.short in ill]
        return f"{often[0].short} has failed {TRIES} times: {often[0].trouble}" if often else ""


def unchecked(definition: ScheduledSettings) -> bool:
    """Return whether nobody checks an instance's state: that it runs says little then."""
    asked = definition.discovery is not None and definition.discovery.check != "none"
    return not asked and not (definition.check and definition.check.command)


def running_gates(count: int, running: Running) -> Gates:
    """Return the checks that `count` instances are placed and run."""
    wanted = running.wanted
    failed = {instance.short: instance for instance in reversed(running.failures()) if instance.trouble}
    lacking = ""
    if len(wanted) < count:
        present = {instance.short for instance in wanted}
        given_up = [f"{short} failed: {instance.trouble}" for short, instance in failed.items() if short not in present]
        lacking = "; ".join([f"Swarm has created {len(wanted)} of {count}", *given_up])
    gates: Gates = {("", "instances"): lacking}
    for instance in wanted:
        before = failed.get(instance.short)
        words = [instance.task.state, *([instance.trouble] if instance.trouble else [])]
        reason = ": ".join(words) + (f"; the last one failed: {before.trouble}" if before else "")
        gates[instance.machine, instance.short] = "" if instance.task.runs else reason
    return gates


def surplus_gates(count: int, running: Running) -> Gates:
    """Return the check that no more than `count` instances are left; what was lost with its machine does not count."""
    left = [instance for instance in running.instances if not instance.lost or instance.task.wanted]
    return {("", "surplus"): f"{len(left) - count} of {len(left)} have not ended yet" if len(left) > count else ""}


def registered_gates(instances: Iterable[Instance], routes: Routes, weight: int | None) -> Gates:
    """Return the checks that each instance that runs is registered with `weight` (None: any), and known to every live
    router.

    A machine that drains has no registered instances, whatever runs there.
    """
    running = list(instances)
    away = sorted({instance.machine for instance in running if instance.machine in routes.routers.away})
    serving = [instance for instance in running if instance.machine not in away]
    gates = {(instance.machine, instance.short): _registered_reason(instance, routes, weight) for instance in serving}
    if running and not serving:
        gates["", "machines"] = f"all of them are on machines that are out of service: {', '.join(away)}"
    return gates


def _registered_reason(instance: Instance, routes: Routes, weight: int | None) -> str:
    if instance.id not in routes.hosts:
        unknown = "it runs, but its agent has not registered it yet"
        return routes.routers.reasons.get(instance.container, unknown)
    wrong = weight_reason(instance.id, routes, weight) if weight is not None else ""
    return wrong or applied_reason(instance.id, routes)


def weight_reason(instance: str, routes: Routes, weight: int) -> str:
    """Return why an instance does not have this weight. An operator's own wins, unless it is to get nothing."""
    entry = routes.weights.get(instance)
    if entry is not None and not entry.lease and weight:
        return ""
    present = entry.value.strip() if entry is not None else "none"
    return "" if present == str(weight) else f"its weight is {present}, not yet {weight}"


def applied_reason(instance: str, routes: Routes) -> str:
    """Return which live routers have not yet applied what stands in etcd of an instance."""
    return _behind(routes, routes.hosts.get(instance), routes.weights.get(instance))


def weighed_gates(instances: Iterable[str], number: int, routes: Routes, weight: int) -> Gates:
    """Return the checks that these instances of a generation have its weight, and that every live router knows: also of
    what was deregistered before the generation got it."""
    gates: Gates = {("", ROUTERS_FOLLOW): _behind(routes, routes.generations.get(str(number)))}
    for instance in instances:
        machine, _, container = instance.partition(":")
        reason = weight_reason(instance, routes, weight) or applied_reason(instance, routes)
        gates[machine, container.rpartition(".")[0]] = reason
    return gates


def _behind(routes: Routes, *entries: Entry | None) -> str:
    """Return which live routers have not yet applied these entries."""
    return routes.routers.behind(max((entry.mod_revision for entry in entries if entry is not None), default=0))


def failing(gates: Gates) -> str:
    """Return what does not pass, in one line."""
    return "; ".join(
        f"{f'{machine}: ' if machine else ''}{check}: {reason}" for (machine, check), reason in gates.items() if reason
    )
