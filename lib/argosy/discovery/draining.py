"""Take an instance or a machine out of every router, and back, without touching its open connections."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from operator import not_

from argosy.clock import wait_until
from argosy.config.loading import Settings
from argosy.discovery import keys
from argosy.discovery.changes import KeyChange, Target, plan_drain
from argosy.discovery.report import newest_revision, registered_by
from argosy.discovery.routers import LOOK_SECONDS, Applied, wait_until_applied
from argosy.errors import DeadlineExceeded
from argosy.etcd import Entry, Etcd
from argosy.etcd.values import EventKind
from argosy.schema import FOLLOWED, SERVICES, MachineRecord, instance_key, machine_key, parse_machine, service_of
from argosy.text import printable


def default_deadline_seconds(settings: Settings) -> float:
    """Return how long to wait for the routers: one that is dead is out of the count after a lease's time."""
    return 2.0 * settings.discovery.ttl_seconds


def plan(store: Etcd, target: Target, *, drain: bool) -> KeyChange:
    """Return what `set_draining` would write."""
    return plan_drain(target, store.get_prefix(target.prefix).entries, drain)


def set_draining(store: Etcd, target: Target, *, drain: bool, deadline_seconds: float) -> tuple[bool, Applied]:
    """Begin (or end) the draining of `target`, wait until every live router has applied it, and return whether it was
    so before, and who has applied it. Idempotent.

    An instance: the key /services/NAME/drain/ID. A machine: the state in its record, `draining` or `active`; its agent
    then deregisters its instances, which is waited for, too.
    Raises Refused for a target that there is none of, DeadlineExceeded when an agent or a router does not follow: it
    stays drained.
    """
    started = time.monotonic()
    done = keys.change(store, target.prefix, lambda entries: plan_drain(target, entries, drain))
    revision = done.revision or newest_revision(keys.read(store, FOLLOWED))
    left = deadline_seconds - (time.monotonic() - started)
    if drain and not target.instance:
        applied = wait_until_drained(store, target.name, revision, left)
    else:
        applied = wait_until_applied(store, revision, left)
    return not done.revision, replace(applied, seconds=time.monotonic() - started)


def wait_until_drained(store: Etcd, machine: str, revision: int, deadline_seconds: float) -> Applied:
    """Wait until the machine, which drains since `revision`, has no instances any more (but those that its record lets
    stay) and every live router knows it.

    Changes nothing. Raises DeadlineExceeded.
    """
    deadline = time.monotonic() + deadline_seconds
    left = _wait_until_left(store, machine, deadline_seconds)
    return wait_until_applied(store, max(left, revision), max(0.0, deadline - time.monotonic()))


def _wait_until_left(store: Etcd, machine: str, seconds: float) -> int:
    """Wait until the machine's agent has deregistered its instances, and return the revision at which the last one
    went; 0 when there are none. What has no lease is somebody else's, and stays."""
    record = store.get(machine_key(machine))
    found = parse_machine(record) if record else None
    staying = found.staying if isinstance(found, MachineRecord) else ()
    with store.hint(SERVICES) as hint:
        listing = store.get_prefix(SERVICES)
        leaving = _own_instances(listing.entries, machine, staying)
        if not leaving:
            return 0
        present = wait_until(
            lambda: _own_instances(store.get_prefix(SERVICES).entries, machine, staying),
            seconds,
            done=not_,
            every=LOOK_SECONDS,
            pause=hint.wait,
        )
    if present:
        shown = ", ".join(sorted(map(printable, present)))
        raise DeadlineExceeded(
            f"{machine} drains, but its agent has not yet deregistered {shown}; see inv cluster.logs agent"
        )
    return _deleted_at(store, leaving, listing.revision)


def _deleted_at(store: Etcd, gone: Collection[str], since: int) -> int:
    """Return the revision at which the last of these keys went, all of which did after `since`."""
    pending = set(gone)
    with store.watch(SERVICES, since + 1) as changes:
        for change in changes:
            pending -= {event.entry.key for event in change.events if event.kind is EventKind.DELETE}
            if not pending:
                return change.revision
    return since


def _own_instances(entries: Iterable[Entry], machine: str, staying: Collection[str]) -> frozenset[str]:
    leased = [entry.key for entry in entries if entry.lease and service_of(entry.key) not in staying]
    prefixes = {key: instance_key(service_of(key), "") for key in leased}
    hosts = {key: key.removeprefix(prefix) for key, prefix in prefixes.items() if key.startswith(prefix)}
    return frozenset(key for key, instance in hosts.items() if registered_by(instance) == machine)
