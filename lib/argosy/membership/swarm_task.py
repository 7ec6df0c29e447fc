"""What the task `cluster.swarm` does: show a cluster's Swarm, or bring it to where it must be."""

from __future__ import annotations

from collections.abc import Iterable

from argosy.config.loading import Settings
from argosy.draining.machine import states
from argosy.errors import EtcdError, Refused
from argosy.membership.actions import Planned
from argosy.membership.observing import opened
from argosy.model import Step
from argosy.report import Report, silent
from argosy.services.evacuation.evacuate import Evacuation
from argosy.swarm import ensuring
from argosy.swarm.observing import observe, voters
from argosy.swarm.plan import SwarmStep
from argosy.swarm.report import SwarmReport, swarm_report


def show(settings: Settings) -> SwarmReport:
    """Return how the Swarm is. Changes nothing. Raises Refused when it is off, EtcdError."""
    _refuse_disabled(settings)
    with opened(settings, "", silent) as cluster:
        voting = voters([host.machine for host in cluster.hosts], cluster.store.members())
        return swarm_report(observe(settings, cluster.hosts, voting), states(cluster.store))


def ensure(settings: Settings, report: Report, *, force: bool = False) -> Planned:
    """Bring all machines into one Swarm, and end what a killed drain has left. Idempotent; return what was done.

    Raises Refused, QuorumAtRisk, LockHeld, EtcdError, and what goes wrong on the way: the same command resumes.
    """
    _refuse_disabled(settings)
    with opened(settings, "", report) as cluster:
        done = ensuring.ensure(cluster, force=force)
        settled: list[str] = []
        if Evacuation(cluster).unsettled(states(cluster.store)):
            with cluster.locked(ensuring.TASK):
                settled = Evacuation(cluster).settle(states(cluster.store))
        return _planned(done.steps, settled, done.notes)


def plan(settings: Settings, *, force: bool = False) -> Planned:
    """Return what `ensure` would do. Changes nothing. Raises Refused, QuorumAtRisk, EtcdError."""
    _refuse_disabled(settings)
    with opened(settings, "", silent) as cluster:
        seen, planned = ensuring.plan(cluster, force=force)
        settled = Evacuation(cluster).unsettled(states(cluster.store)) if any(seen.told) else []
        risk = [f"risked by force: {planned.risk}"] if planned.risk else []
        return _planned(planned.steps, settled, (*risk, *planned.notes))


def follow(settings: Settings, report: Report) -> None:
    """Bring the machines into the Swarm at the end of an install. What stands against it is told, and no failure:
    perhaps there are more machines to be installed first."""
    if not settings.swarm.enabled:
        return
    try:
        with opened(settings, "", report) as cluster:
            ensuring.ensure_or_tell(cluster)
    except EtcdError as error:
        report("swarm", f"not looked at: {error}; inv cluster.swarm --ensure, when etcd is there")


def _planned(steps: Iterable[SwarmStep], settled: Iterable[str], notes: tuple[str, ...]) -> Planned:
    before = (*(Step(step.machine, str(step)) for step in steps), *(Step("swarm", line) for line in settled))
    return Planned(notes=notes, before=before)


def _refuse_disabled(settings: Settings) -> None:
    if not settings.swarm.enabled:
        raise Refused("swarm.enabled is false in this cluster")
