"""Bring changed secrets, renewed certificates and another CA to a running cluster, machine by machine.

driver      goes from machine to machine and from phase to phase, as argosy.rotation decides
machines    the machines, through ssh and etcd
here        this host: its CA, its certificates, the registry that it runs; the record of what has begun
service     what the task does: the lock, the record, the phases
"""

from __future__ import annotations

from argosy.operations.rotation.here import read_record
from argosy.operations.rotation.service import plan, rotate

__all__ = ["plan", "read_record", "rotate"]
