"""The cluster's etcd, as a thin client: failover, bounded time, our own errors.

    with etcd.connect(settings, machines) as store:
        store.put_if_absent("/settings/database/host", "10.0.0.5")
        for entry in store.get_prefix("/machines/").entries: ...

Keys and values are text. Every failure is an EtcdError that names the members which did not answer.

The client (gRPC, 30 MB) and the way to it are imported when they are first asked for: who only needs the values pays
nothing, and the agent on a machine needs no way but its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from argosy.etcd.values import (
    Change,
    Compare,
    Delete,
    EndpointStatus,
    Entry,
    Event,
    Listing,
    Put,
    TransactionResult,
    absent,
    created_at,
    holds,
    not_put_since,
    unchanged,
)

if TYPE_CHECKING:
    from argosy.etcd.client import Etcd
    from argosy.etcd.connection import connect

_LAZY = {"Etcd": "argosy.etcd.client", "connect": "argosy.etcd.connection"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = globals()[name] = getattr(import_module(_LAZY[name]), name)
        return value
    raise AttributeError(f"module 'argosy.etcd' has no attribute {name!r}")


__all__ = [
    "Change",
    "Compare",
    "Delete",
    "EndpointStatus",
    "Entry",
    "Etcd",
    "Event",
    "Listing",
    "Put",
    "TransactionResult",
    "absent",
    "connect",
    "created_at",
    "holds",
    "not_put_since",
    "unchanged",
]
