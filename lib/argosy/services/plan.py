"""What becomes of a scheduled service when it is submitted, started, stopped, scaled, destroyed, revived. Pure.

A plan is made of what is seen and holds only what is not so yet: whoever is killed between two of its actions, the same
command again plans the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from argosy.config import ScheduledSettings
from argosy.discovery_changes import Conflicts, refuse_claims
from argosy.errors import ConfigError, Refused, nearest
from argosy.scheduled_actions import (
    Action,
    Await,
    Create,
    Forget,
    Plan,
    Remember,
    Remove,
    Restore,
    Revive,
    Scale,
    Silence,
    Unsilence,
    Withdraw,
    instances,
)
from argosy.scheduled_record import Generation, ScheduledRecord, ServiceImage, definition_json
from argosy.scheduled_settings import MACHINE
from argosy.scheduled_state import Fleet, Instance, Running, Seen, machine_of
from argosy.scheduled_victims import victims
from argosy.swarm_spec import MACHINE_LABEL

NOTHING = "0"
"""The weight of a generation that gets no requests."""
GONE = "remove"
"""What Swarm wants of the task of a slot that there is no more, as after scaling down."""


# Submit


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be submitted. `replicas`: other than the definition's, or None."""

    name: str
    definition: ScheduledSettings
    image: ServiceImage
    replicas: int | None = None

    @property
    def count(self) -> int | None:
        return self.definition.count if self.replicas is None else self.replicas


def plan_submit(fleet: Fleet, wanted: Wanted, now: datetime, by: str, conflicts: Conflicts = lambda _: ()) -> Plan:
    """Return what submits a service, or completes what was submitted so before, with the number that is asked for.

    Raises Refused for one that runs with another definition: that is an update. And for a port or a TLS name that
    another service has, as `conflicts` tells.
    """
    name, seen = wanted.name, fleet.of(wanted.name)
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
        refuse_unplaceable(fleet, name, wanted.definition, wanted.count)
        refuse_unready_conflicts(fleet, name, wanted.definition)
        refuse_claims(name, _attributes(wanted.definition), fleet.entries, conflicts)
        generation = Generation(1, wanted.definition, wanted.image)
        record = ScheduledRecord(name, generation, wanted.count, now, by)
        return Plan(name, (Remember(record), *_running(seen, record)))
    refuse_update(seen)
    record = seen.record
    if reason := difference(record, wanted):
        raise Refused(f"{name}: {reason}")
    said = []
    if record.image != wanted.image:
        there, here = wanted.image.version or wanted.image.reference, record.image.version or record.image.reference
        said.append(f"version {here} is what is wanted; inv service.update {name} brings {there}")
    if wanted.replicas is not None and wanted.replicas != record.replicas:
        scaled = plan_scale(fleet, name, wanted.replicas)
        return replace(scaled, said=(*said, *scaled.said))
    if record.stopped:
        return Plan(name, (), (*said, f"it is stopped: inv service.start {name}"))
    return Plan(name, _running(seen, record), tuple(said))


def _attributes(definition: ScheduledSettings) -> dict[str, str]:
    """Return what the agents will put under /services/NAME/, as far as others may have it already."""
    found = definition.discovery
    if found is None or not found.scheme:
        return {}
    values = {
        "scheme": found.scheme,
        "host_port": str(found.host_port or ""),
        "sni": " ".join(found.sni),
        "private": "true" if found.private else "",
    }
    return {attribute: value for attribute, value in values.items() if value}


def difference(record: ScheduledRecord, wanted: Wanted) -> str:
    """Return why a service that was submitted can't be submitted so, with what to do; empty when it can."""
    name, before, after = record.name, definition_json(record.definition), definition_json(wanted.definition)
    before.pop("replicas", None), after.pop("replicas", None)
    keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    what = f"it was submitted with another {', '.join(keys)}: inv service.update {name} brings this definition"
    return what if keys else ""


def refuse_unplaceable(fleet: Fleet, name: str, definition: ScheduledSettings, count: int | None) -> None:
    """Refuse what no machines of the cluster could ever run."""
    fitting = fleet.fitting(definition)
    if not fitting:
        raise Refused(f"{name}: no machine fits {', '.join(definition.constraints)}; they have {_metadata(fleet)}")
    single = definition.ports or definition.conflicts
    bound = 1 if single else definition.max_per_machine
    if count is not None and bound and count > bound * len(fitting):
        reason = "a fixed port" if definition.ports else "conflicts" if definition.conflicts else "max_per_machine"
        raise Refused(
            f"{name}: {instances(count)} have no place: {reason} allows {bound} on each of the {len(fitting)} machines "
            "that fit"
        )


def _metadata(fleet: Fleet) -> str:
    """Return what there is that a constraint could name."""
    names = [f"{MACHINE}={machine_of(node)}" for node in fleet.nodes]
    labels = {f"{key}={it}" for node in fleet.nodes for key, it in node.labels.items() if key != MACHINE_LABEL}
    return ", ".join([*sorted(labels), *names]) or "nothing"


def refuse_unready_conflicts(fleet: Fleet, name: str, definition: ScheduledSettings) -> None:
    """Refuse to place beside a service that runs without knowing of the conflict: Swarm would not keep them apart."""
    for other in definition.conflicts:
        record = fleet.of(other).record
        if record and name not in record.definition.conflicts:
            raise Refused(
                f"{name} conflicts with {other}, which runs without knowing it: inv service.update {other} first"
            )


# Start, stop, scale


def plan_start(fleet: Fleet, name: str) -> Plan:
    """Return what lets a stopped service run again."""
    record = known(fleet, name)
    seen = fleet.of(name)
    refuse_update(seen)
    if not record.stopped:
        return Plan(name, _running(seen, record))
    refuse_unplaceable(fleet, name, record.definition, record.replicas)
    started = replace(record, stopped=False)
    return Plan(name, (Remember(started), *_running(seen, started)))


def plan_stop(fleet: Fleet, name: str) -> Plan:
    """Return what stops all instances; what is wanted of them stays known."""
    record = known(fleet, name)
    seen = fleet.of(name)
    refuse_update(seen)
    first = () if record.stopped else (Remember(replace(record, stopped=True)),)
    return Plan(name, (*first, *_away(seen.generations, seen.weights)))


def plan_scale(fleet: Fleet, name: str, count: int) -> Plan:
    """Return what makes it `count` instances."""
    record = known(fleet, name)
    seen = fleet.of(name)
    refuse_update(seen)
    if record.replicas is None:
        raise Refused(f"{name} is global, one instance on every machine that fits: it can't be scaled")
    if count < 0:
        raise ConfigError("it can't be less than none", "count")
    scaled = replace(record, replicas=count)
    first = () if scaled == record else (Remember(scaled),)
    if record.stopped:
        return Plan(name, first, (f"it is stopped: inv service.start {name} starts {instances(count)}",))
    refuse_unplaceable(fleet, name, record.definition, count)
    return Plan(name, (*first, *_running(seen, scaled)))


def _running(seen: Seen, record: ScheduledRecord) -> tuple[Action, ...]:
    """Return what lets the wanted generation run, of which all or nothing may be there."""
    number, replicas = record.generation, record.replicas
    withdrawn = set(seen.withdrawn)
    actions: list[Action] = [
        Unsilence(it) for it, weight in seen.weights.items() if it == str(number) and weight == NOTHING
    ]
    running = seen.generations.get(number)
    if running is None:
        actions.append(Create(record.current, replicas))
    elif replicas is not None and running.service.replicas != replicas:
        going = victims(running.wanted, replicas) if replicas < (running.service.replicas or 0) else []
        routed = tuple(it.id for it in going if it.registered)
        actions += [*([Withdraw(routed)] if routed else []), Scale(number, replicas)]
        withdrawn |= set(routed)
    left_behind = {other: it for other, it in seen.generations.items() if other != number}
    stale = {it for it in seen.weights if it != str(number)}
    restore = [Restore(tuple(sorted(withdrawn)))] if withdrawn else []
    return (*actions, Await(record), *restore, *_away(left_behind, stale))


def _away(generations: Mapping[int, Running], weights: Iterable[str]) -> tuple[Action, ...]:
    """Return what takes all instances of generations away: first out of every router."""
    routed = [it.number for it in generations.values() if any(each.registered for each in it.instances)]
    return (
        *map(Silence, routed),
        *(Remove(it.number, len(it.wanted)) for it in generations.values()),
        *map(Unsilence, sorted({*weights, *map(str, routed)})),
    )


# Destroy


def plan_destroy(fleet: Fleet, name: str) -> Plan:
    """Return what leaves nothing of a service. Instances under its name that are none of ours keep their routes."""
    seen = fleet.of(name)
    if seen.nothing:
        return Plan(name, (), (f"there is no such scheduled service{nearest(name, fleet.services)}",))
    said: tuple[str, ...] = ()
    if seen.strangers:
        said = (f"{', '.join(seen.strangers)} stay registered under its name: inv discovery.deregister {name}",)
    return Plan(name, (*_away(seen.generations, seen.weights), Forget(keys=not seen.strangers)), said)


# Revive


def plan_revive(fleet: Fleet, name: str) -> Plan:
    """Return what starts anew what has failed or what Swarm has lost."""
    record = known(fleet, name)
    seen = fleet.of(name)
    refuse_update(seen)
    if record.stopped:
        return Plan(name, (), (f"it is stopped: inv service.start {name}",))
    running = seen.current
    rest = _running(seen, record)
    given_up = failed_slots(seen, record)
    if running is None or not given_up:
        return Plan(name, rest)
    waiting = next(number for number, it in enumerate(rest) if isinstance(it, Await))
    return Plan(name, (*rest[:waiting], Revive(running.number, given_up), *rest[waiting:]))


def failed_slots(seen: Seen, record: ScheduledRecord) -> tuple[int, ...]:
    """Return the slots that Swarm starts no more: their last try is over, and there is no other. Of a global service:
    0 for each machine of which that is true."""
    running = seen.current
    if running is None:
        return ()

    def place(it: Instance) -> str:
        return it.task.node_id if record.replicas is None else str(it.task.slot)

    held = {place(it) for it in running.wanted}
    lost = {place(it): it.task.slot for it in running.ended if it.task.desired != GONE and place(it) not in held}
    return tuple(sorted(lost.values()))


# What is refused


def known(fleet: Fleet, name: str) -> ScheduledRecord:
    """Return the record of a service. Raises Refused for one that was not submitted."""
    seen = fleet.of(name)
    refuse_unreadable(seen)
    if seen.record is None:
        records = {it.name: it for it in fleet.services.values() if it.record}
        hint = nearest(name, records)
        raise Refused(f"there is no scheduled service {name}{hint}: inv service.submit {name} makes it")
    return seen.record


def refuse_unreadable(seen: Seen) -> None:
    if seen.problem:
        raise Refused(
            f"{seen.name}: what etcd says of it is {seen.problem}; inv service.destroy {seen.name} forgets it"
        )


def refuse_update(seen: Seen) -> None:
    """Refuse to change a service in the middle of an update."""
    if seen.updating:
        raise Refused(
            f"an update of {seen.name} is under way or was left: inv service.update {seen.name} goes on with it, inv "
            f"service.rollback {seen.name} goes back"
        )


def chosen(names: Sequence[str], known: Mapping[str, object], everything: bool) -> list[str]:
    """Return the services that a command is about. Raises ConfigError for none, for an unknown one."""
    if everything and names:
        raise ConfigError("give names, or --all", "all")
    if everything:
        return sorted(known)
    if not names:
        raise ConfigError(f"which one? known: {', '.join(sorted(known)) or 'none'}", "names")
    for name in names:
        if name not in known:
            words = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"no scheduled service{nearest(name, known)}; known: {words}", name)
    return list(dict.fromkeys(names))
