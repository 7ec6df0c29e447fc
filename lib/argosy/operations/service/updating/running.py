"""The updates of a real cluster's services: its Swarm, its routers and its etcd behind the seams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from argosy.agent.labels import parse_labels
from argosy.config import ScheduledSettings, Settings
from argosy.console import Report
from argosy.discovery_report import applied_revisions
from argosy.errors import ConfigError, nearest
from argosy.events import Said
from argosy.model import Step
from argosy.operations.clock import SystemClock
from argosy.operations.cluster_lock import Who
from argosy.operations.discovery.draining import default_deadline_seconds
from argosy.operations.journal import read_rollout
from argosy.operations.service.imaging import resolve
from argosy.operations.service.updating import deciding
from argosy.operations.service.updating.deciding import Wish
from argosy.operations.service.updating.engine import SwarmEngine
from argosy.operations.service.updating.routers import RemoteRouters
from argosy.operations.service.updating.seams import Events, Limits, Operator, Routers, Routing
from argosy.operations.service.work import Work, changing
from argosy.scheduled_record import Generation, ScheduledRecord
from argosy.scheduled_rules import kept_apart
from argosy.scheduling import refuse_unplaceable, refuse_unready_conflicts
from argosy.schema import ROUTERS
from argosy.schema.values import DEFAULT_WEIGHT
from argosy.swarm_spec import instance_labels, service_name
from argosy.update_plan import plan_lines, wanted_replicas
from argosy.update_record import Update

UPDATE, ROLLBACK = "service.update", "service.rollback"


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says; what it leaves out (empty, None) the configuration and the definition do.
    `definitions`: all that there are."""

    name: str
    definitions: Mapping[str, ScheduledSettings]
    image: str = ""
    release: str = ""
    canary: str | None = None
    soak_seconds: float | None = None
    named: bool = False
    renew: bool = False


def wish_of(work: Work, flags: Flags) -> Wish:
    """Return what is wished by `service.update`."""
    named = flags.named or bool(flags.image or flags.release)
    return Wish(
        flags.name,
        lambda record: _target(work, flags, record),
        named=named,
        renew=flags.renew,
        canary=flags.canary,
        soak_seconds=flags.soak_seconds,
    )


def plan(work: Work, wish: Wish) -> list[Step]:
    """Return what `update` would do. Changes nothing and takes no lock."""
    decision = deciding.decide(wish, work.store, str(Who.here()), work.clock.now())
    return plan_lines(decision.update) if decision.update else []


def update(work: Work, wish: Wish, events: Events, routers: Routers | None = None) -> Update | None:
    """Bring a service to what is wished. See `deciding.update`. `routers`: others than the machines'."""
    with changing(work, ROLLBACK if wish.rollback else UPDATE) as held:
        _tell_rollout(held, events)
        return deciding.update(wish, _operator(held, wish.name, events, routers or _routers(held, wish.name, events)))


def reporting(events: Events) -> Report:
    """Return what tells a line among the events."""
    clock = SystemClock()
    return lambda subject, message: events(Said(at=clock.now(), machine=subject, message=message))


def _routers(work: Work, name: str, events: Events) -> RemoteRouters:
    if work.hosts is None:
        raise AssertionError("the machines' routers can't be asked")
    work.holding.on_lost(work.hosts.cancel)

    def live() -> list[str]:
        return list(applied_revisions(work.store.get_prefix(ROUTERS).entries))

    return RemoteRouters(work.settings, work.hosts, name, live, reporting(events))


def _operator(work: Work, name: str, events: Events, routers: Routers) -> Operator:
    settings = work.settings
    return Operator(
        name=name,
        store=work.store,
        lock=work.holding,
        engine=SwarmEngine(settings, name, work.swarm),
        routers=routers,
        events=events,
        clock=work.clock,
        routing=lambda generation: routing_of(settings, name, generation),
        containers=lambda number: f"{service_name(settings.system, name, number)}.",
        limits=Limits(applied_seconds=default_deadline_seconds(settings), drain_seconds=settings.rollout.drain_seconds),
    )


def routing_of(settings: Settings, name: str, generation: Generation) -> Routing:
    """Return how the instances of a generation are routed to when it is in charge, as agents read its labels."""
    if generation.definition.discovery is None:
        return Routing()
    declared, problems = parse_labels(name, instance_labels(settings, name, generation))
    if declared is None:
        raise ConfigError("; ".join(map(str, problems)), f"scheduled.{name}.discovery")
    return Routing(int(declared.weight or DEFAULT_WEIGHT), declared.attributes)


def _target(work: Work, flags: Flags, record: ScheduledRecord) -> Generation:
    """Return what the service shall be. Raises ConfigError, Refused, RegistryError."""
    if flags.name not in flags.definitions:
        raise ConfigError(
            f"no definition of it{nearest(flags.name, flags.definitions)}: it was submitted from a file; give --file",
            f"scheduled.{flags.name}",
        )
    definition = kept_apart(flags.definitions)[flags.name]
    image = resolve(work.settings, definition, release=flags.release, image=flags.image)
    fleet = work.look()
    refuse_unplaceable(fleet, flags.name, definition, wanted_replicas(record, definition))
    refuse_unready_conflicts(fleet, flags.name, definition)
    return Generation(0, definition, image)


def _tell_rollout(work: Work, events: Events) -> None:
    """Tell of a rollout that was left: an update may be what it waits for, and goes round the machines that are out."""
    rollout = read_rollout(work.store)
    if rollout is not None:
        message = f"rollout {rollout.id} has not ended ({rollout.state}): machines that are out of service stay so"
        events(Said(at=work.clock.now(), message=message))
