"""What the task `cluster.swarm` does: show a cluster's Swarm, or bring it to where it shall be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from argosy import etcd, inventory
from argosy.config import Settings
from argosy.console import Report
from argosy.errors import EtcdError, Refused
from argosy.etcd import Etcd
from argosy.host import Hosts
from argosy.model import Step
from argosy.operations import cluster_lock
from argosy.operations.clock import SystemClock
from argosy.operations.draining import states
from argosy.operations.membership import observing as membership
from argosy.operations.swarm import ensuring
from argosy.operations.swarm.draining import Moving
from argosy.operations.swarm.observing import observe, voters
from argosy.swarm_report import SwarmReport, swarm_report


@dataclass(frozen=True, slots=True)
class Ensured:
    """`steps`: those that were done, or would be; `notes`: what stays as it is, and why, or what is risked."""

    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return `{"steps": [{"subject", "action"}], "notes": [TEXT]}`."""
        steps = [{"subject": step.subject, "action": step.action} for step in self.steps]
        return {"steps": steps, "notes": list(self.notes)}


def show(settings: Settings) -> SwarmReport:
    """Return how the Swarm is. Changes nothing. Raises Refused when it is off, EtcdError."""
    with _opened(settings) as (hosts, store):
        return observe_report(settings, hosts, store)


def observe_report(settings: Settings, hosts: Hosts, store: Etcd) -> SwarmReport:
    """Return how the Swarm of the machines of `hosts` is."""
    voting = voters([host.machine for host in hosts], store.members())
    return swarm_report(observe(settings, hosts, voting), states(store))


def ensure(settings: Settings, report: Report, *, force: bool = False) -> Ensured:
    """Bring all machines into one Swarm, and end what a killed drain has left. Idempotent.

    Raises Refused, QuorumAtRisk, LockHeld, EtcdError, and what goes wrong on the way: the same again goes on.
    """
    with _opened(settings) as (hosts, store):
        done = ensuring.ensure(settings, hosts, store, report, force=force)
        steps = [Step(it.machine, str(it)) for it in done.steps]
        settled = [Step("swarm", line) for line in _settle(settings, hosts, store, report)]
        return Ensured((*steps, *settled), done.notes)


def plan(settings: Settings, *, force: bool = False) -> Ensured:
    """Return what `ensure` would do. Changes nothing. Raises Refused, QuorumAtRisk, EtcdError."""
    with _opened(settings) as (hosts, store):
        seen, planned = ensuring.plan(settings, hosts, store, force=force)
        steps = [Step(it.machine, str(it)) for it in planned.steps]
        settled = [Step("swarm", line) for line in _unsettled(settings, hosts, store)] if any(seen.told) else []
        risk = [f"risked by force: {planned.risk}"] if planned.risk else []
        return Ensured((*steps, *settled), (*risk, *planned.notes))


def follow(settings: Settings, report: Report) -> None:
    """Bring the machines into the Swarm at the end of an install. What stands against it is told, and no failure:
    perhaps there are more machines to be installed first."""
    if not settings.swarm.enabled:
        return
    try:
        with _opened(settings) as (hosts, store):
            ensuring.ensure_or_tell(settings, hosts, store, report)
    except EtcdError as error:
        report("swarm", f"not looked at: {error}; inv cluster.swarm --ensure, when etcd is there")


def _settle(settings: Settings, hosts: Hosts, store: Etcd, report: Report) -> list[str]:
    if not _unsettled(settings, hosts, store):
        return []
    with cluster_lock.held(store, ensuring.TASK, ttl_seconds=settings.rollout.lock_ttl_seconds, report=report) as lock:
        return Moving(settings, hosts, store, lock, report, SystemClock()).settle(states(store))


def _unsettled(settings: Settings, hosts: Hosts, store: Etcd) -> list[str]:
    return Moving(settings, hosts, store, None, _silent, SystemClock()).unsettled(states(store))


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Hosts, Etcd]]:
    """Give the machines of the cluster, also those that only etcd knows, and its etcd."""
    if not settings.swarm.enabled:
        raise Refused("swarm.enabled is false in this cluster")
    known = inventory.select(settings)
    with etcd.connect(settings, known) as store:
        seen = membership.observe(store, known)
        with Hosts(settings, seen.machines) as hosts:
            yield hosts, store


def _silent(_subject: str, _message: str) -> None:
    """A plan is all that is said."""
