"""The cluster's etcd, as a thin client: failover, bounded time, our own errors.

    with etcd.connect(settings, machines) as store:
        store.put_if_absent("/settings/database/host", "10.0.0.5")
        for entry in store.get_prefix("/machines/").entries: ...

Keys and values are text. Every failure is an EtcdError that names the members which did not answer.
"""

from argosy.etcd.client import Etcd
from argosy.etcd.connection import connect
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
    unchanged,
)

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
    "unchanged",
]
