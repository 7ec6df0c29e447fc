"""Take an instance or a machine out of every router, and back, without touching its open connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from argosy.config import Settings
from argosy.discovery_changes import KeyChange, Target, plan_instance_drain, plan_machine_drain
from argosy.discovery_report import newest_revision
from argosy.etcd import Entry, Etcd
from argosy.operations.discovery import keys
from argosy.operations.discovery.routers import Applied, wait_until_applied
from argosy.schema import FOLLOWED, MACHINES, SERVICES, machine_key


@dataclass(frozen=True, slots=True)
class Drained:
    """`already`: it was so before."""

    already: bool
    applied: Applied


def default_deadline_seconds(settings: Settings) -> float:
    """Return how long to wait for the routers: one that is dead is out of the count after a lease's time."""
    return 2.0 * settings.discovery.ttl_seconds


def plan(store: Etcd, target: Target, *, drain: bool) -> KeyChange:
    """Return what `set_draining` would write."""
    prefix = _prefix(target)
    return _plan(target, store.get_prefix(prefix).entries, drain)


def set_draining(store: Etcd, target: Target, *, drain: bool, deadline_seconds: float) -> Drained:
    """Begin (or end) the draining of `target` and wait until every live router has applied it. Idempotent.

    An instance: the key /services/NAME/drain/ID. A machine: the state in its record, `draining` or `active`.
    Raises Refused for a target that there is none of, DeadlineExceeded when a router does not follow: it stays drained.
    """
    done = keys.change(store, _prefix(target), lambda entries: _plan(target, entries, drain))
    revision = done.revision or newest_revision(keys.read(store, FOLLOWED))
    return Drained(not done.revision, wait_until_applied(store, revision, deadline_seconds))


def _plan(target: Target, entries: Sequence[Entry], drain: bool) -> KeyChange:
    if target.instance:
        return plan_instance_drain(target, entries, drain)
    return plan_machine_drain(target, machine_key(target.name), entries, drain)


def _prefix(target: Target) -> str:
    return SERVICES if target.instance else MACHINES
