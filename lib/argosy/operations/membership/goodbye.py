"""What of a machine stands in etcd: found, and forgotten under the cluster's lock."""

from __future__ import annotations

from argosy.etcd import Delete, Etcd
from argosy.machine_goodbye import keys_of
from argosy.operations.cluster_lock import ClusterLock
from argosy.schema import MACHINES, ROUTERS, SERVICES

DEEDS = 100
"""Writes in one transaction; etcd takes 128."""


def keys(store: Etcd, name: str) -> list[str]:
    """Return all keys of the machine: its record, its router's, its instances'."""
    return [key for prefix in (MACHINES, ROUTERS, SERVICES) for key in keys_of(name, store.get_prefix(prefix).entries)]


def forget(store: Etcd, lock: ClusterLock, name: str) -> None:
    """Delete all keys of the machine. Idempotent. Raises LockLost, EtcdError."""
    found = keys(store, name)
    for start in range(0, len(found), DEEDS):
        lock.write([Delete(key) for key in found[start : start + DEEDS]])
