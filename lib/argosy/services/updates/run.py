"""The updates of a real cluster's services: its Swarm, its routers and its etcd behind the interfaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from argosy.builds import stored
from argosy.cluster.events import Events, Said
from argosy.cluster.journal import rollout_left
from argosy.cluster.lock import Who
from argosy.config.loading import ScheduledSettings
from argosy.config.scheduled_rules import kept_apart
from argosy.errors import ConfigError, nearest
from argosy.model import Step
from argosy.services.applying import settle_homes
from argosy.services.definitions import resolve
from argosy.services.plan import refuse_unplaceable, refuse_unready_conflicts
from argosy.services.preflight import refuse_unready
from argosy.services.record import Generation, ScheduledRecord
from argosy.services.updates import begin
from argosy.services.updates.begin import UpdateRequest
from argosy.services.updates.interfaces import Operator
from argosy.services.updates.plan import plan_lines, wanted_replicas
from argosy.services.updates.record import Update
from argosy.services.work import ServicesCluster

UPDATE, ROLLBACK = "service.update", "service.rollback"


def plan(work: ServicesCluster, request: UpdateRequest) -> list[Step]:
    """Return what `update` would do. Changes nothing and takes no lock."""
    decision = begin.decide(request, work.store, str(Who.here()), work.clock.now())
    return plan_lines(decision.update) if decision.update else []


def update(work: ServicesCluster, request: UpdateRequest, events: Events) -> Update | None:
    """Bring a service to what is asked for. See `begin.update`."""
    with work.locked(ROLLBACK if request.rollback else UPDATE):
        _tell_rollout(work, events)
        done = begin.update(
            request, Operator(name=request.name, work=work, events=events, ready=partial(_refuse_unready, work))
        )
        if done is None and not (request.named or request.rollback):
            _tell_unpushed(work, request.name, events)
        settle_homes(work)
        return done


def target(
    work: ServicesCluster,
    name: str,
    definitions: Mapping[str, ScheduledSettings],
    *,
    image: str = "",
    release: str = "",
) -> Callable[[ScheduledRecord], Generation]:
    """Return what finds out what the service must be. `definitions`: all that there are; `image`, `release`: instead of
    what the definition says. It raises ConfigError, Refused, RegistryError."""

    def find(record: ScheduledRecord) -> Generation:
        if name not in definitions:
            raise ConfigError(
                f"no definition of it{nearest(name, definitions)}: it was submitted from a file; give --file",
                f"scheduled.{name}",
            )
        definition = kept_apart(definitions)[name]
        found = resolve(work.settings, definition, release=release, image=image)
        state = work.look()
        refuse_unplaceable(state, name, definition, wanted_replicas(record, definition))
        refuse_unready_conflicts(state, name, definition)
        return Generation(0, definition, found)

    return find


def _refuse_unready(work: ServicesCluster, update: Update) -> None:
    if not update.stopped:
        refuse_unready(work, update.name, update.new, update.replicas)


def _tell_rollout(work: ServicesCluster, events: Events) -> None:
    """Tell of a rollout that was left: an update may be what it waits for, and goes round the machines that are out."""
    left = rollout_left(work.store)
    if left:
        message = f"{left}: machines that are out of service stay so"
        events(Said(at=work.clock.now(), message=message))


def _tell_unpushed(work: ServicesCluster, name: str, events: Events) -> None:
    """Say of a service that runs its newest image when a newer one was built and forgotten."""
    current = begin.read_record(work.store, name).current
    if current.definition.own_image:
        forgotten = stored.unpushed(work.settings, current.definition.image, current.image.version)
        if forgotten:
            events(Said(at=work.clock.now(), service=name, message=forgotten))
