"""Pure. What becomes of a scheduled service when it is submitted, started, stopped, scaled, destroyed, revived.

A plan is made of what is seen and holds only what is not so yet: whoever is killed between two of its actions, the same
command again plans the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from argosy.config.loading import ScheduledSettings
from argosy.config.scheduled import MACHINE
from argosy.discovery.changes import Conflicts, refuse_claims
from argosy.engine.swarm_model import Task
from argosy.errors import ConfigError, Refused, nearest
from argosy.schema.labels import MACHINE_LABEL
from argosy.services import actions
from argosy.services.actions import Action, Plan, instances
from argosy.services.homes import spec_at_home
from argosy.services.record import Generation, ScheduledRecord, ServiceImage, definition_json
from argosy.services.state import Running, ServicesState, ServiceState, machine_of

NOTHING = "0"
"""The weight of a generation that gets no requests."""
GONE = "remove"
"""What Swarm wants of the task of a slot that there is no more, as after scaling down."""


# Submit


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be submitted. `replicas`: other than the definition's, or None; `attributes`: the service's own keys,
    as agents will put them."""

    name: str
    definition: ScheduledSettings
    image: ServiceImage
    replicas: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int | None:
        return self.definition.count if self.replicas is None else self.replicas


def plan_submit(
    state: ServicesState, wanted: Wanted, now: datetime, by: str, conflicts: Conflicts = lambda _: ()
) -> Plan:
    """Return what submits a service, or completes what was submitted so before, with the number that is asked for.

    Raises Refused for one that runs with another definition: that is an update. And for a port or a TLS name that
    another service has, as `conflicts` tells.
    """
    name, seen = wanted.name, state.of(wanted.name)
    refuse_unreadable(seen)
    if wanted.replicas is not None and wanted.definition.everywhere:
        raise ConfigError(f"{name} is global: one on every machine", "replicas")
    if seen.record is None:
        if seen.generations:
            numbers = ", ".join(map(str, seen.generations))
            raise Refused(
                f"{name}: Swarm runs generation {numbers} of it, and etcd does not know why: "
                f"inv service.destroy {name} clears that up"
            )
        refuse_unplaceable(state, name, wanted.definition, wanted.count)
        refuse_unready_conflicts(state, name, wanted.definition)
        refuse_claims(name, wanted.attributes, state.entries, conflicts)
        generation = Generation(1, wanted.definition, wanted.image)
        record = ScheduledRecord(name, generation, wanted.count, now, by)
        return Plan(name, (actions.SaveRecord(record), *_running(seen, record)))
    refuse_update(seen)
    record = seen.record
    if reason := difference(record, wanted):
        raise Refused(f"{name}: {reason}")
    said = []
    if record.image != wanted.image:
        there, here = wanted.image.version or wanted.image.reference, record.image.version or record.image.reference
        said.append(f"version {here} is what is wanted; inv service.update {name} brings {there}")
    if wanted.replicas is not None and wanted.replicas != record.replicas:
        scaled = plan_scale(state, name, wanted.replicas)
        return replace(scaled, said=(*said, *scaled.said))
    if record.stopped:
        return Plan(name, (), (*said, f"it is stopped: inv service.start {name}"))
    return Plan(name, _running(seen, record), tuple(said))


def difference(record: ScheduledRecord, wanted: Wanted) -> str:
    """Return why a service that was submitted can't be submitted so, with what to do; empty when it can."""
    name, before, after = record.name, definition_json(record.definition), definition_json(wanted.definition)
    before.pop("replicas", None), after.pop("replicas", None)
    keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    what = f"it was submitted with another {', '.join(keys)}: inv service.update {name} brings this definition"
    return what if keys else ""


def refuse_unplaceable(
    state: ServicesState, name: str, definition: ScheduledSettings, count: int | None, *, anywhere: bool = False
) -> None:
    """Refuse what no machines of the cluster could ever run. `anywhere`: also where there are no volumes of it yet."""
    fitting = state.fitting(definition)
    if not fitting:
        raise Refused(f"{name}: no machine fits {', '.join(definition.constraints)}; they have {_metadata(state)}")
    homes = () if anywhere or not definition.keeps_home else state.of(name).homes
    if homes:
        fitting = [node for node in fitting if machine_of(node) in homes]
    if not fitting:
        volumes, where = ", ".join(definition.kept_volumes), ", ".join(homes)
        raise Refused(
            f"{name}: its volumes ({volumes}) are on {where}, which is gone or does not fit "
            f"{', '.join(definition.constraints) or 'it'}; elsewhere they would be empty: inv service.destroy {name} "
            "gives them up"
        )
    single = definition.ports or definition.conflicts
    bound = 1 if single else definition.max_per_machine
    if count is not None and bound and count > bound * len(fitting):
        reason = "a fixed port" if definition.ports else "conflicts" if definition.conflicts else "max_per_machine"
        raise Refused(
            f"{name}: {instances(count)} have no place: {reason} allows {bound} on each of the {len(fitting)} machines "
            "that fit"
        )
    room = {machine_of(node): state.room(node, definition, name) for node in fitting}
    places = sum(min(bound or free, free) for free in room.values())
    if (count or 0) > places or (count is None and not all(room.values())):
        asked = {"cpus": definition.reserve.cpus, "memory_megabytes": definition.reserve.memory_megabytes}
        reserve = ", ".join(f"{key}: {value:g}" for key, value in asked.items() if value)
        free = ", ".join(f"{machine}: {places:g}" for machine, places in sorted(room.items()))
        raise Refused(f"{name}: {instances(count)} have no room: each reserves {reserve}, there is room on {free}")


def _metadata(state: ServicesState) -> str:
    """Return what there is that a constraint could name."""
    names = [f"{MACHINE}={machine_of(node)}" for node in state.nodes]
    labels = {f"{key}={label}" for node in state.nodes for key, label in node.labels.items() if key != MACHINE_LABEL}
    return ", ".join([*sorted(labels), *names]) or "nothing"


def refuse_unready_conflicts(state: ServicesState, name: str, definition: ScheduledSettings) -> None:
    """Refuse to place beside a service that runs without knowing of the conflict: Swarm would not keep them apart."""
    for other in definition.conflicts:
        record = state.of(other).record
        if record and name not in record.definition.conflicts:
            raise Refused(
                f"{name} conflicts with {other}, which runs without knowing it: inv service.update {other} first"
            )


# Start, stop, scale


def plan_start(state: ServicesState, name: str) -> Plan:
    """Return what lets a stopped service run again."""
    seen, record = _changeable(state, name)
    if not record.stopped:
        return Plan(name, _running(seen, record))
    refuse_unplaceable(state, name, record.definition, record.replicas)
    started = replace(record, stopped=False)
    return Plan(name, (actions.SaveRecord(started), *_running(seen, started)))


def plan_stop(state: ServicesState, name: str) -> Plan:
    """Return what stops all instances; what is wanted of them stays known."""
    seen, record = _changeable(state, name)
    first = () if record.stopped else (actions.SaveRecord(replace(record, stopped=True)),)
    return Plan(name, (*first, *_away(seen.generations, seen.weights)))


def plan_scale(state: ServicesState, name: str, count: int) -> Plan:
    """Return what makes it `count` instances."""
    seen, record = _changeable(state, name)
    if record.replicas is None:
        raise Refused(f"{name} is global, one instance on every machine that fits: it can't be scaled")
    if count < 0:
        raise ConfigError("it can't be less than none", "count")
    scaled = replace(record, replicas=count)
    first = () if scaled == record else (actions.SaveRecord(scaled),)
    if record.stopped:
        return Plan(name, first, (f"it is stopped: inv service.start {name} starts {instances(count)}",))
    refuse_unplaceable(state, name, record.definition, count, anywhere=grows_anywhere(seen, count))
    return Plan(name, (*first, *_running(seen, scaled)))


def grows_anywhere(seen: ServiceState, count: int) -> bool:
    """Return whether a service gets more instances beside those that run at home: then the new ones have no volumes
    yet."""
    there = len(seen.current.wanted) if seen.current else 0
    return 0 < there < count and count > len(seen.homes)


def _running(seen: ServiceState, record: ScheduledRecord, given_up: tuple[int, ...] = ()) -> tuple[Action, ...]:
    """Return what lets the wanted generation run, of which all or nothing may be there. `given_up`: slots to revive."""
    number, replicas = record.generation, record.replicas
    withdrawn = set(seen.withdrawn)
    needed: list[Action] = [
        actions.ResumeRouting(name)
        for name, weight in seen.weights.items()
        if name == str(number) and weight == NOTHING
    ]
    running, scaled = seen.generations.get(number), False
    if running is None or running.held:
        needed.append(actions.Create(record.current, replicas))
    elif replicas is not None and running.service.replicas != replicas:
        grows = replicas > (running.service.replicas or 0)
        going = [] if grows else running.instances_to_stop(replicas)
        routed = tuple(instance.id for instance in going if instance.registered)
        homes = None
        if record.definition.keeps_home:
            homes = () if grows_anywhere(seen, replicas) else seen.homes
        scale = actions.Scale(number, replicas, homes)
        needed += [*([actions.Withdraw(routed)] if routed else []), scale]
        scaled = True
        withdrawn |= set(routed)
    if given_up:
        needed.append(actions.Revive(number, given_up))
    left_behind = {other: generation for other, generation in seen.generations.items() if other != number}
    stale = seen.weights.keys() - {str(number)}
    restore = [actions.Restore(tuple(sorted(withdrawn)))] if withdrawn else []
    anywhere = bool(running and spec_at_home(seen, running, seen.homes)) if seen.homes else True
    homeless = record.definition.keeps_home and (scaled or anywhere)
    settle = [actions.KeepHome(tuple(record.definition.kept_volumes))] if homeless else []
    return (*needed, actions.WaitUntilServing(record), *settle, *restore, *_away(left_behind, stale))


def _away(generations: Mapping[int, Running], weights: Iterable[str]) -> tuple[Action, ...]:
    """Return what takes all instances of generations away: first out of every router."""
    routed = [
        number
        for number, generation in generations.items()
        if any(instance.registered for instance in generation.instances)
    ]
    return (
        *map(actions.StopRouting, routed),
        *(actions.Remove(number, len(running.wanted)) for number, running in generations.items()),
        *map(actions.ResumeRouting, sorted({*weights, *map(str, routed)})),
    )


# Destroy


def plan_destroy(state: ServicesState, name: str) -> Plan:
    """Return what leaves nothing of a service. Instances under its name that are none of ours keep their routes."""
    seen = state.of(name)
    if seen.nothing:
        return Plan(name, (), (f"there is no such scheduled service{nearest(name, state.services)}",))
    said: tuple[str, ...] = ()
    if seen.strangers:
        said = (f"{', '.join(seen.strangers)} stay registered under its name: inv discovery.deregister {name}",)
    return Plan(name, (*_away(seen.generations, seen.weights), actions.DeleteRecord(keys=not seen.strangers)), said)


# Revive


def plan_revive(state: ServicesState, name: str) -> Plan:
    """Return what starts anew what has failed or what Swarm has lost."""
    seen, record = _changeable(state, name)
    if record.stopped:
        return Plan(name, (), (f"it is stopped: inv service.start {name}",))
    return Plan(name, _running(seen, record, failed_slots(state, name)))


def failed_slots(state: ServicesState, name: str) -> tuple[int, ...]:
    """Return the slots that Swarm starts no more: their last try is over, there is no other, and it runs fewer than it
    must. Of a global service: 0 for each machine that takes instances and of which that is true.

    A slot whose instance was moved off a machine looks the same for good, but another one has its place.
    """
    seen = state.of(name)
    record, running = seen.record, seen.current
    if record is None or running is None:
        return ()

    def place(task: Task) -> str:
        return task.node_id if record.replicas is None else str(task.slot)

    held = {place(instance.task) for instance in running.wanted}
    ended = sorted(running.ended, key=lambda instance: instance.failed)  # of a place, one that failed counts last
    over = {place(each.task): each for each in ended if each.task.desired != GONE and place(each.task) not in held}
    if record.replicas is None:
        taking = {node.id for node in state.taking(record.definition)}
        return tuple(sorted(each.task.slot for node, each in over.items() if node in taking))
    missing = max(0, (running.service.replicas or 0) - len(held))
    failed_first = sorted(over.values(), key=lambda each: (not each.failed, each.task.slot))
    return tuple(sorted(each.task.slot for each in failed_first[:missing]))


# What is refused


def _changeable(state: ServicesState, name: str) -> tuple[ServiceState, ScheduledRecord]:
    """Return a service and its record. Raises Refused for one that was not submitted, or is in the middle of an
    update."""
    seen = state.of(name)
    refuse_unreadable(seen)
    if seen.record is None:
        hint = nearest(name, {other: found for other, found in state.services.items() if found.record})
        raise Refused(f"there is no scheduled service {name}{hint}: inv service.submit {name} makes it")
    refuse_update(seen)
    return seen, seen.record


def refuse_unreadable(seen: ServiceState) -> None:
    if seen.problem:
        raise Refused(
            f"{seen.name}: what etcd says of it is {seen.problem}; inv service.destroy {seen.name} forgets it"
        )


def refuse_update(seen: ServiceState) -> None:
    """Refuse to change a service in the middle of an update."""
    if seen.updating:
        raise Refused(
            f"an update of {seen.name} is under way or was left: inv service.update {seen.name} resumes it, inv "
            f"service.rollback {seen.name} goes back"
        )


def chosen(
    names: Sequence[str], known: Mapping[str, object], everything: bool, system: Collection[str] = ()
) -> list[str]:
    """Return the services that a command is about. `system`: those of every machine, which are none of them.

    Raises ConfigError for none, for an unknown one.
    """
    if everything and names:
        raise ConfigError("give names, or --all", "all")
    if everything:
        return sorted(known)
    if not names:
        raise ConfigError(f"which one? known: {', '.join(sorted(known)) or 'none'}", "names")
    for name in names:
        if name not in known:
            if name in system:
                raise ConfigError(of_every_machine(name), name)
            words = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"no scheduled service{nearest(name, known)}; known: {words}", name)
    return list(dict.fromkeys(names))


def of_every_machine(name: str) -> str:
    """Return what to say of a system service where a scheduled one is meant."""
    return f"it is not scheduled, it runs on every machine: inv cluster.logs {name}, inv cluster.rolling-upgrade"
