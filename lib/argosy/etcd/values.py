"""Pure. What goes into etcd and comes out of it: frozen, text for bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

MAX_WRITES = 100
"""Writes in one transaction; etcd takes 128 (https://etcd.io/docs/v3.4/op-guide/configuration/, max-txn-ops)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value. `create_revision`, `mod_revision`: the cluster's revisions of its first and last put;
    `lease`: 0 without one."""

    key: str
    value: str
    create_revision: int
    mod_revision: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """Entries sorted by key, and the cluster's revision at which this was all of them: watch from `revision + 1`."""

    revision: int
    entries: tuple[Entry, ...]


class Target(StrEnum):
    CREATE_REVISION = "create_revision"
    MOD_REVISION = "mod_revision"


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition of a transaction: `target` of `key` equals `value`; an absent key's revisions are 0.

    `below`: it is less than `value` instead. `prefix`: so of every key that begins with `key` (none is fine, too).
    """

    key: str
    target: Target
    value: int
    below: bool = False
    prefix: bool = False


def absent(key: str) -> Compare:
    """Return the condition that `key` does not exist."""
    return Compare(key, Target.CREATE_REVISION, 0)


def created_at(key: str, revision: int) -> Compare:
    """Return the condition that `key` is still the one that was created at `revision`: a lock's holder is the same."""
    return Compare(key, Target.CREATE_REVISION, revision)


def unchanged(entry: Entry) -> Compare:
    """Return the condition that nobody has put `entry` since it was read."""
    return Compare(entry.key, Target.MOD_REVISION, entry.mod_revision)


def not_put_since(prefix: str, revision: int) -> Compare:
    """Return the condition that no key under `prefix` was put after `revision`; of deletions it knows nothing."""
    return Compare(prefix, Target.MOD_REVISION, revision + 1, below=True, prefix=True)


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: str
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """`prefix`: all keys that begin with `key`."""

    key: str
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """`succeeded`: all conditions held, so all was written, else nothing."""

    succeeded: bool
    revision: int


class EventKind(StrEnum):
    PUT = "put"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Event:
    """One key's change. Of a deleted key only `key` and `mod_revision` are known."""

    kind: EventKind
    entry: Entry


@dataclass(frozen=True, slots=True)
class Change:
    """Everything that happened at one revision: what one transaction wrote comes whole."""

    revision: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """One member as it tells of itself. `reason`: why it is not healthy; ids are hexadecimal, as etcdctl prints them.

    Healthy means that it answers a linearizable read, for which it needs the quorum; a learner can't answer one and is
    healthy when it answers at all.
    """

    name: str
    address: str
    reachable: bool = False
    healthy: bool = False
    reason: str = ""
    member_id: str = ""
    leader_id: str = ""
    version: str = ""
    learner: bool = False
    revision: int = 0


class Reader(Protocol):
    """What of `argosy.etcd.Etcd` whoever only reads needs."""

    def get(self, key: str) -> Entry | None: ...
    def get_prefix(self, prefix: str) -> Listing: ...
