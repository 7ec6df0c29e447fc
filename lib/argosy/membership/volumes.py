"""The volumes of services on a machine that leaves: refused, or given up on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from argosy.clock import wait_until
from argosy.discovery import keys
from argosy.errors import ArgosyError, LockLost
from argosy.membership.actions import Action, action
from argosy.membership.observing import Membership
from argosy.services import homes
from argosy.services.applying import Executor, settle_homes
from argosy.services.homes import Kept
from argosy.services.record import HOMES, PREFIX
from argosy.services.state import ServicesState, services_state
from argosy.services.work import working

PLACED_SECONDS = 10.0
"""How long what lost its volumes may take to be placed elsewhere, until that is recorded by somebody else."""


def refuse_loss(cluster: Membership, name: str) -> None:
    """Raise Refused, with nothing changed, when the machine has volumes, unless they may be lost."""
    if not cluster.lose_volumes:
        homes.refuse_loss(kept_on(cluster, name), name)


def kept_on(cluster: Membership, name: str) -> list[Kept]:
    """Return what would be lost with the machine. What can't be known may be lost, too.

    Swarm is asked only where there is any service with volumes.
    """
    pinned = [
        Kept(service, tuple(volumes))
        for service, entry in cluster.settings.services.items()
        if name in entry.machines and (volumes := entry.kept_volumes)
    ]
    return [*pinned, *_scheduled_on(cluster, name)]


def _scheduled_on(cluster: Membership, name: str) -> list[Kept]:
    if not cluster.settings.swarm.enabled:
        return []
    if cluster.seen.reason:
        return [Kept("scheduled services, which etcd can't tell of now", ())]
    recorded = services_state(keys.read(cluster.store, (PREFIX, HOMES)), (), (), ())
    keeping = [service for service in recorded.services.values() if homes.may_keep(service)]
    if not keeping:
        return []
    try:
        with working(cluster) as work:
            return homes.volumes_on(work.look(), name)
    except ArgosyError:
        unknown = [service for service in keeping if not (service.homes or service.problem)]
        return [*homes.volumes_on(recorded, name), *(Kept(service.name, ()) for service in unknown)]


def to_remove(cluster: Membership) -> list[str]:
    """Return the names of volumes that services keep, when they may be lost: then none of them is left behind."""
    if not cluster.lose_volumes:
        return []
    settings = cluster.settings
    kept = {volume for entry in settings.services.values() for volume in entry.kept_volumes}
    kept |= {volume for entry in settings.scheduled.values() for volume in entry.kept_volumes}
    if not cluster.seen.reason:
        recorded = services_state(keys.read(cluster.store, (PREFIX, HOMES)), (), (), ()).services.values()
        kept |= {volume for each in recorded if each.record for volume in each.record.definition.kept_volumes}
    return sorted(kept)


def losing(cluster: Membership, name: str) -> Iterator[Action]:
    """Yield what gives up the volumes on the machine, as far as it is known that there are any."""
    lost = [] if cluster.seen.reason else [kept.service for kept in _scheduled_on(cluster, name)]
    if lost:
        text = f"give up the volumes of {', '.join(lost)} there"
        yield action(name, text, lambda: _lose(cluster, name))


def settling(cluster: Membership, name: str) -> Iterator[Action]:
    """Yield what keeps services, which begin anew, with their new volumes."""
    lost = [] if cluster.seen.reason else [kept.service for kept in _scheduled_on(cluster, name)]
    if lost:
        yield action("swarm", f"keep {', '.join(lost)} where it is placed anew", lambda: _settle(cluster, name))


def _lose(cluster: Membership, name: str) -> None:
    with _by_force(cluster, name), working(cluster) as work:
        state = work.look()
        for service in state.services.values():
            if service.stays_on(name):
                Executor(work, service.name).lose_home(name)


def _settle(cluster: Membership, name: str) -> None:
    with _by_force(cluster, name), working(cluster) as work:

        def placed() -> bool:
            cluster.holding.check()
            return not any(_waits(work.look()))

        wait_until(placed, PLACED_SECONDS)
        settle_homes(work)


@contextmanager
def _by_force(cluster: Membership, name: str) -> Iterator[None]:
    """Let `force` continue without a Swarm."""
    try:
        yield
    except LockLost:
        raise
    except ArgosyError as error:
        if not cluster.force:
            raise
        cluster.report(
            name, f"the Swarm does not know that its volumes are lost: {error}; inv cluster.swarm --ensure, later"
        )


def _waits(state: ServicesState) -> Iterator[str]:
    """Yield the services with volumes that have no place yet."""
    for service in state.services.values():
        if service.keeps_home and service.record and not (service.record.stopped or service.homes or service.placed):
            yield service.name
