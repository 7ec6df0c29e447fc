"""What etcd remembers of the changes of a cluster: the rollout that goes on, those that ended, and who did what when.

    /cluster/rollout             the one in progress, or stopped (argosy.rollout_record)
    /cluster/rollouts/ID         those that ended; the newest 50
    /cluster/release             {"version", "image"}: what the last finished rollout has brought everywhere
    /cluster/history/STAMP-ID    {"at", "who", "host", "task", "what", "outcome"}; the newest 500

Whoever writes holds the cluster's lock, and each write depends on it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Protocol

from argosy.errors import Refused
from argosy.etcd import Delete, Entry, Listing, Put
from argosy.operations.cluster_lock import ClusterLock
from argosy.rollout_record import Release, Rollout, State, parse_rollout, stamp

ROLLOUT = "/cluster/rollout"
ROLLOUTS = "/cluster/rollouts/"
RELEASE = "/cluster/release"
HISTORY = "/cluster/history/"
KEPT_ROLLOUTS = 50
KEPT_HISTORY = 500
MAX_DEEDS = 100
"""Writes in one transaction; etcd takes 128 (https://etcd.io/docs/v3.4/op-guide/configuration/, max-txn-ops)."""


class Store(Protocol):
    """What of `argosy.etcd.Etcd` is read here."""

    def get(self, key: str) -> Entry | None: ...
    def get_prefix(self, prefix: str) -> Listing: ...


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One change of the cluster. `at`: when it ended; `outcome`: `done`, or why not."""

    at: str
    who: str
    host: str
    task: str
    what: str
    outcome: str


def new_id(now: datetime) -> str:
    """Return an id that sorts by time: 20260131T120000.120Z-1f3a."""
    return f"{stamp(now).replace('-', '').replace(':', '')}-{secrets.token_hex(2)}"


def read_rollout(store: Store) -> Rollout | None:
    """Return the rollout that is in progress or stopped. Raises Refused for a record that can't be read."""
    entry = store.get(ROLLOUT)
    return _parsed(entry) if entry else None


def read_rollouts(store: Store) -> list[Rollout]:
    """Return the rollouts that ended, the newest first."""
    return [_parsed(entry) for entry in reversed(store.get_prefix(ROLLOUTS).entries)]


def read_release(store: Store) -> Release | None:
    """Return the release that is wanted everywhere; None before the first rollout."""
    entry = store.get(RELEASE)
    if entry is None:
        return None
    found = json.loads(entry.value)
    return Release(str(found["version"]), str(found["image"]))


def release_text(release: Release) -> str:
    """Return the value of the wanted release's key."""
    return json.dumps({"version": release.version, "image": release.image})


def read_history(store: Store) -> list[HistoryEntry]:
    """Return the audit trail, the newest first; what can't be read is shown as it is."""
    return [_history(entry) for entry in reversed(store.get_prefix(HISTORY).entries)]


class Journal:
    """The rollout's record, written under the lock: before and after each step."""

    def __init__(self, store: Store, lock: ClusterLock) -> None:
        self._store = store
        self._lock = lock

    def read(self) -> Rollout | None:
        return read_rollout(self._store)

    def write(self, rollout: Rollout) -> None:
        """Put the record. Raises LockLost, EtcdError."""
        self._lock.write([Put(ROLLOUT, rollout.text())])

    def close(self, rollout: Rollout) -> None:
        """Move the record of a rollout that ended to the others, in one transaction, and drop the oldest of those.

        With a finished one of the whole cluster its release becomes the wanted one.
        """
        deeds: list[Put | Delete] = [Put(ROLLOUTS + rollout.id, rollout.text()), Delete(ROLLOUT)]
        if rollout.whole and rollout.state is State.DONE:
            deeds.append(Put(RELEASE, release_text(rollout.release)))
        self._lock.write([*deeds, *self._surplus(ROLLOUTS, KEPT_ROLLOUTS - 1)])

    def note(self, now: datetime, what: str, outcome: str) -> None:
        """Add a line to the audit trail and drop the oldest. Raises LockLost, EtcdError."""
        holder = self._lock.holder
        line = HistoryEntry(stamp(now), holder.holder, holder.host, holder.task, what, outcome)
        put = Put(HISTORY + new_id(now), json.dumps(asdict(line)))
        self._lock.write([put, *self._surplus(HISTORY, KEPT_HISTORY - 1)])

    def _surplus(self, prefix: str, kept: int) -> Sequence[Delete]:
        """Return what drops all but the newest `kept`; at most as many as fit into a transaction."""
        entries = self._store.get_prefix(prefix).entries
        return [Delete(entry.key) for entry in entries[: max(0, len(entries) - kept)][:MAX_DEEDS]]


def _parsed(entry: Entry) -> Rollout:
    try:
        return parse_rollout(entry.value)
    except ValueError as error:
        raise Refused(f"{entry.key} in etcd is {error}; delete it there if nobody's rollout is in it") from None


def _history(entry: Entry) -> HistoryEntry:
    try:
        found = json.loads(entry.value)
        return HistoryEntry(*(str(found.get(name, "")) for name in ("at", "who", "host", "task", "what", "outcome")))
    except (ValueError, AttributeError):
        return HistoryEntry("", "", "", "", entry.value, "not written by us")
