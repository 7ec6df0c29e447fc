"""The cluster's etcd, as a thin client: failover, bounded time, our own errors.

    with etcd.connect(settings, machines) as store:
        store.put("/settings/database/host", "10.0.0.5")
        for entry in store.get_prefix("/machines/").entries: ...

Keys and values are text. Every failure is an EtcdError that names the members which did not answer.

The client (gRPC, 30 MB) and the way to it are imported when they are first asked for: who only needs the values pays
nothing, and the agent on a machine needs no way but its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from argosy.etcd.values import Change as Change
from argosy.etcd.values import Compare as Compare
from argosy.etcd.values import Delete as Delete
from argosy.etcd.values import EndpointStatus as EndpointStatus
from argosy.etcd.values import Entry as Entry
from argosy.etcd.values import Event as Event
from argosy.etcd.values import Listing as Listing
from argosy.etcd.values import Put as Put
from argosy.etcd.values import TransactionResult as TransactionResult
from argosy.etcd.values import absent as absent
from argosy.etcd.values import created_at as created_at
from argosy.etcd.values import not_put_since as not_put_since
from argosy.etcd.values import unchanged as unchanged

if TYPE_CHECKING:
    from argosy.etcd.client import Etcd as Etcd
    from argosy.etcd.connection import connect as connect

_LAZY = {"Etcd": "argosy.etcd.client", "connect": "argosy.etcd.connection"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = globals()[name] = getattr(import_module(_LAZY[name]), name)
        return value
    raise AttributeError(f"module 'argosy.etcd' has no attribute {name!r}")
