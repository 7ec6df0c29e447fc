"""See that all machines are in one Swarm, in their places: look, plan, and do it under the cluster's lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from argosy.config import Settings
from argosy.console import Report
from argosy.errors import Refused
from argosy.etcd import Etcd
from argosy.host import Hosts
from argosy.operations import cluster_lock
from argosy.operations.auditing import noted
from argosy.operations.cluster_lock import ClusterLock
from argosy.operations.swarm.applying import Applier
from argosy.operations.swarm.observing import observe_settled, voters
from argosy.swarm_plan import SwarmPlan, SwarmStep, plan_leaving, plan_swarm
from argosy.swarm_seen import Seen

TASK = "cluster.swarm"
ROUNDS = 4
"""A Swarm that goes on by force with one manager is looked at again, and so are those that were refused meanwhile."""


@dataclass(frozen=True, slots=True)
class Ensured:
    """What was seen before, what was done, and what is left: notes of the last plan."""

    seen: Seen
    steps: tuple[SwarmStep, ...] = ()
    notes: tuple[str, ...] = ()
    risks: tuple[str, ...] = field(default=())


def plan(
    settings: Settings, hosts: Hosts, store: Etcd, *, silent: Mapping[str, str] | None = None, force: bool = False
) -> tuple[Seen, SwarmPlan]:
    """Return what is seen, and what `ensure` would do. Changes nothing. Raises Refused, QuorumAtRisk, EtcdError.

    `silent`: see `observe`.
    """
    seen = _look(settings, hosts, store, silent)
    return seen, plan_swarm(seen, force=force)


def ensure(
    settings: Settings,
    hosts: Hosts,
    store: Etcd,
    report: Report,
    *,
    lock: ClusterLock | None = None,
    force: bool = False,
) -> Ensured:
    """Bring all machines of `hosts` into one Swarm; nothing is done, and no lock taken, when they are in it.

    `lock`: the caller's, if it holds the cluster's. Idempotent; killed at any moment, the same again goes on. Raises
    Refused, QuorumAtRisk, LockHeld, EtcdError, and what goes wrong on the way.
    """
    seen, planned = plan(settings, hosts, store, force=force)
    if not planned.steps:
        return Ensured(seen, notes=planned.notes)
    with _held(settings, store, report, lock) as holding:
        applier = Applier(settings, hosts, holding, report)
        done: list[SwarmStep] = []
        risks: list[str] = []
        for _ in range(ROUNDS):
            planned = plan(settings, hosts, store, silent=seen.silent, force=force)[1]
            if not planned.steps:
                break
            if planned.risk:
                report("swarm", f"risked by force: {planned.risk}")
                risks.append(planned.risk)
            with noted(store, holding, report, f"swarm: {_summary(planned)}"):
                applier.apply(planned)
            done += planned.steps
        else:
            raise Refused(f"the Swarm does not come to rest; still to be done: {_summary(planned)}; run it again")
        return Ensured(seen, tuple(done), planned.notes, tuple(risks))


def ensure_or_tell(
    settings: Settings, hosts: Hosts, store: Etcd, report: Report, *, lock: ClusterLock | None = None
) -> None:
    """Do `ensure` at the end of something else: what stands against it is told, with what to do about it later.

    What goes wrong on the way raises.
    """
    if not settings.swarm.enabled:
        return
    try:
        notes = ensure(settings, hosts, store, report, lock=lock).notes
    except Refused as refusal:
        report("swarm", f"not as it shall be yet: {refusal}")
        return
    for note in notes:
        report("swarm", note)


def plan_departure(settings: Settings, hosts: Hosts, store: Etcd, name: str, *, force: bool = False) -> SwarmPlan:
    """Return what lets the machine `name` leave the Swarm. Raises QuorumAtRisk, EtcdError."""
    return plan_leaving(_look(settings, hosts, store), name, force=force)


def depart(
    settings: Settings, hosts: Hosts, store: Etcd, lock: ClusterLock, report: Report, name: str, *, force: bool = False
) -> None:
    """Let the machine leave the Swarm, alive or dead. Idempotent. Raises as `plan_departure`, and what goes wrong."""
    applier = Applier(settings, hosts, lock, report)
    seen: Seen | None = None
    for _ in range(ROUNDS):
        seen = _look(settings, hosts, store, seen.silent if seen else None)
        planned = plan_leaving(seen, name, force=force)
        if planned.risk:
            report("swarm", f"risked by force: {planned.risk}")
        if not planned.steps:
            for note in planned.notes:
                report("swarm", note)
            return
        applier.apply(planned)


def _look(settings: Settings, hosts: Hosts, store: Etcd, silent: Mapping[str, str] | None = None) -> Seen:
    voting = voters([host.machine for host in hosts], store.members())
    return observe_settled(settings, hosts, voting, silent)


def _summary(planned: SwarmPlan) -> str:
    return "; ".join(f"{step.machine}: {step}" for step in planned.steps)


@contextmanager
def _held(settings: Settings, store: Etcd, report: Report, lock: ClusterLock | None) -> Iterator[ClusterLock]:
    if lock is not None:
        yield lock
        return
    with cluster_lock.held(store, TASK, ttl_seconds=settings.rollout.lock_ttl_seconds, report=report) as own:
        yield own
