"""Take a machine out of service and out of etcd's keys, each write under the cluster's lock."""

from __future__ import annotations

import threading

from argosy.discovery_changes import Target, plan_machine_drain
from argosy.errors import DeadlineExceeded, StalePlan
from argosy.etcd import Delete, Etcd, Put, unchanged
from argosy.machine_goodbye import keys_of
from argosy.model import MachineState
from argosy.operations import balancers
from argosy.operations.cluster_lock import ClusterLock
from argosy.operations.discovery.draining import default_deadline_seconds
from argosy.operations.discovery.routers import wait_until_applied
from argosy.operations.membership.observing import Work
from argosy.schema import MACHINES, ROUTERS, SERVICES, MachineRecord, machine_key, parse_machine

ATTEMPTS = 10
"""Of a change of a record that others write, too: now and then, not all the time."""
DEEDS = 100
"""Writes in one transaction; etcd takes 128."""


def drain(work: Work, name: str) -> None:
    """Mark the machine as draining and wait until every live router, and a balancer that asks, has taken it in.

    A machine without a record never took requests. Raises DeadlineExceeded when a router does not follow: the machine
    stays marked. With force that is only said.
    """
    revision = set_state(work.store, work.holding, name, drain=True)
    if not revision:
        return
    try:
        applied = wait_until_applied(work.store, revision, default_deadline_seconds(work.settings))
    except DeadlineExceeded as late:
        if not work.force:
            raise
        work.report(name, f"not waited for any longer, by force: {late}")
        return
    for line in applied.lines():
        work.report(name, f"draining: {line}")
    balancers.wait_until_out(work.settings, name, applied.routers, work.seen.records, threading.Event().wait)


def set_state(store: Etcd, lock: ClusterLock, name: str, *, drain: bool) -> int:
    """Make the machine's record say draining, or active, and return the revision since when it does.

    0 when nobody sends it anything: it has no record, or one that nobody can read, or is down. Raises StalePlan when
    others write the record all the time, LockLost, EtcdError.
    """
    key = machine_key(name)
    for _ in range(ATTEMPTS):
        entry = store.get(key)
        record = parse_machine(entry) if entry else None
        if entry is None or not isinstance(record, MachineRecord) or record.state == MachineState.DOWN:
            return 0
        change = plan_machine_drain(Target(name), key, [entry], drain)
        if change.nothing:
            return entry.mod_revision
        done = lock.transact([unchanged(entry)], [Put(key, value) for key, value in change.put.items()])
        if done.succeeded:
            return done.revision
    raise StalePlan(f"others write {key} all the time; try again")


def keys(store: Etcd, name: str) -> list[str]:
    """Return all keys of the machine: its record, its router's, its instances'."""
    return [key for prefix in (MACHINES, ROUTERS, SERVICES) for key in keys_of(name, store.get_prefix(prefix).entries)]


def forget(store: Etcd, lock: ClusterLock, name: str) -> None:
    """Delete all keys of the machine. Idempotent. Raises LockLost, EtcdError."""
    found = keys(store, name)
    for start in range(0, len(found), DEEDS):
        lock.write([Delete(key) for key in found[start : start + DEEDS]])
