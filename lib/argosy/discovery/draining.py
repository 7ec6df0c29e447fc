"""Take an instance or a machine out of every router, and back, without touching its open connections."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from argosy.config import Settings
from argosy.discovery_changes import KeyChange, Target, plan_instance_drain, plan_machine_drain
from argosy.discovery_report import newest_revision, registered_by
from argosy.errors import DeadlineExceeded
from argosy.etcd import Entry, Etcd
from argosy.etcd.values import EventKind
from argosy.operations.discovery import keys
from argosy.operations.discovery.routers import LOOK_SECONDS, Applied, wait_until_applied
from argosy.schema import FOLLOWED, MACHINES, SERVICES, instance_key, machine_key, service_of
from argosy.service_changes import plain


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

    An instance: the key /services/NAME/drain/ID. A machine: the state in its record, `draining` or `active`; its agent
    then deregisters its instances, which is waited for, too.
    Raises Refused for a target that there is none of, DeadlineExceeded when an agent or a router does not follow: it
    stays drained.
    """
    started = time.monotonic()
    done = keys.change(store, _prefix(target), lambda entries: _plan(target, entries, drain))
    revision = done.revision or newest_revision(keys.read(store, FOLLOWED))
    left = deadline_seconds - (time.monotonic() - started)
    if drain and not target.instance:
        applied = wait_until_drained(store, target.name, revision, left)
    else:
        applied = wait_until_applied(store, revision, left)
    return Drained(not done.revision, replace(applied, seconds=time.monotonic() - started))


def wait_until_drained(store: Etcd, machine: str, revision: int, deadline_seconds: float) -> Applied:
    """Wait until the machine, which drains since `revision`, has no instances any more and every live router knows it.

    Changes nothing. Raises DeadlineExceeded.
    """
    deadline = time.monotonic() + deadline_seconds
    left = _wait_until_left(store, machine, deadline)
    return wait_until_applied(store, max(left, revision), max(0.0, deadline - time.monotonic()))


def _wait_until_left(store: Etcd, machine: str, deadline: float) -> int:
    """Wait until the machine's agent has deregistered its instances, and return the revision at which the last one
    went; 0 when there are none. What has no lease is somebody else's, and stays."""
    with store.bell(SERVICES) as bell:
        listing = store.get_prefix(SERVICES)
        present = leaving = _own_instances(listing.entries, machine)
        while present:
            left = deadline - time.monotonic()
            if left <= 0:
                shown = ", ".join(sorted(map(plain, present)))
                raise DeadlineExceeded(
                    f"{machine} drains, but its agent has not yet deregistered {shown}; see inv cluster.logs agent"
                )
            bell.wait(min(LOOK_SECONDS, left))
            present = _own_instances(store.get_prefix(SERVICES).entries, machine)
    return _deleted_at(store, leaving, listing.revision) if leaving else 0


def _deleted_at(store: Etcd, gone: Collection[str], since: int) -> int:
    """Return the revision at which the last of these keys went, all of which did after `since`."""
    pending = set(gone)
    with store.watch(SERVICES, since + 1) as changes:
        for change in changes:
            pending -= {it.entry.key for it in change.events if it.kind is EventKind.DELETE}
            if not pending:
                return change.revision
    return since


def _own_instances(entries: Iterable[Entry], machine: str) -> frozenset[str]:
    prefixes = {entry.key: instance_key(service_of(entry.key), "") for entry in entries if entry.lease}
    hosts = {key: key.removeprefix(prefix) for key, prefix in prefixes.items() if key.startswith(prefix)}
    return frozenset(key for key, instance in hosts.items() if registered_by(instance) == machine)


def _plan(target: Target, entries: Sequence[Entry], drain: bool) -> KeyChange:
    if target.instance:
        return plan_instance_drain(target, entries, drain)
    return plan_machine_drain(target, machine_key(target.name), entries, drain)


def _prefix(target: Target) -> str:
    return SERVICES if target.instance else MACHINES
