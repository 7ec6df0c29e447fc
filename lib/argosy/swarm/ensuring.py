"""See that all machines are in one Swarm, in their places: look, plan, and do it under the cluster's lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from argosy.cluster.opening import OpenCluster
from argosy.errors import Refused
from argosy.swarm.applying import Applier
from argosy.swarm.observed import ObservedSwarm
from argosy.swarm.observing import observe_settled, voters
from argosy.swarm.plan import SwarmPlan, SwarmStep, plan_leaving, plan_swarm

TASK = "cluster.swarm"
ROUNDS = 4
"""A Swarm that continues by force with one manager is looked at again, and so are those that were refused meanwhile."""


def plan(
    cluster: OpenCluster, *, silent: Mapping[str, str] | None = None, force: bool = False
) -> tuple[ObservedSwarm, SwarmPlan]:
    """Return what is seen, and what `ensure` would do. Changes nothing. Raises Refused, QuorumAtRisk, EtcdError.

    `silent`: see `observe`.
    """
    seen = _look(cluster, silent)
    return seen, plan_swarm(seen, force=force)


def ensure(cluster: OpenCluster, *, force: bool = False) -> SwarmPlan:
    """Bring all machines into one Swarm, and return what was done; nothing, and no lock is taken, when they are in it.

    Idempotent; killed at any moment, the same command resumes. Raises Refused, QuorumAtRisk, LockHeld, EtcdError, and
    what goes wrong on the way.
    """
    seen, planned = plan(cluster, force=force)
    if not planned.steps:
        return planned
    with cluster.locked(TASK):
        applier = Applier(cluster)
        done: list[SwarmStep] = []
        for _ in range(ROUNDS):
            planned = plan(cluster, silent=seen.silent, force=force)[1]
            if not planned.steps:
                break
            _tell_risk(cluster, planned)
            with cluster.noted(f"swarm: {_summary(planned)}"):
                applier.apply(planned)
            done += planned.steps
        else:
            raise Refused(f"the Swarm does not come to rest; still to be done: {_summary(planned)}; run it again")
        return SwarmPlan(tuple(done), planned.notes)


def ensure_or_tell(cluster: OpenCluster) -> None:
    """Do `ensure` at the end of something else: what stands against it is told, with what to do about it later.

    What goes wrong on the way raises.
    """
    if not cluster.settings.swarm.enabled:
        return
    try:
        _tell_notes(cluster, ensure(cluster).notes)
    except Refused as refusal:
        cluster.report("swarm", f"not as it must be yet: {refusal}")


def plan_departure(cluster: OpenCluster, name: str, *, force: bool = False) -> SwarmPlan:
    """Return what lets the machine `name` leave the Swarm. Raises QuorumAtRisk, EtcdError."""
    return plan_leaving(_look(cluster), name, force=force)


def depart(cluster: OpenCluster, name: str, *, force: bool = False) -> None:
    """Let the machine leave the Swarm, alive or dead. Idempotent. Raises as `plan_departure`, and what goes wrong."""
    applier = Applier(cluster)
    seen: ObservedSwarm | None = None
    for _ in range(ROUNDS):
        seen = _look(cluster, seen.silent if seen else None)
        planned = plan_leaving(seen, name, force=force)
        _tell_risk(cluster, planned)
        if not planned.steps:
            _tell_notes(cluster, planned.notes)
            return
        applier.apply(planned)


def _look(cluster: OpenCluster, silent: Mapping[str, str] | None = None) -> ObservedSwarm:
    voting = voters([host.machine for host in cluster.hosts], cluster.store.members())
    return observe_settled(cluster.settings, cluster.hosts, voting, silent)


def _summary(planned: SwarmPlan) -> str:
    return "; ".join(f"{step.machine}: {step}" for step in planned.steps)


def _tell_risk(cluster: OpenCluster, planned: SwarmPlan) -> None:
    if planned.risk:
        cluster.report("swarm", f"risked by force: {planned.risk}")


def _tell_notes(cluster: OpenCluster, notes: Iterable[str]) -> None:
    for note in notes:
        cluster.report("swarm", note)
