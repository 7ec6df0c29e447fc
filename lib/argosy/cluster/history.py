"""Who changed the cluster when, and how it ended: the audit trail, in etcd under /cluster/history/."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from argosy.cluster.lock import ClusterLock
from argosy.etcd import Delete, Entry, Put
from argosy.etcd.values import MAX_WRITES, Reader
from argosy.stamps import stamp
from argosy.text import json_object

HISTORY = "/cluster/history/"


KEPT_HISTORY = 500


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One change of the cluster. `at`: when it ended; `outcome`: `done`, or why not."""

    at: str
    who: str
    host: str
    task: str
    what: str
    outcome: str


def read_history(store: Reader) -> list[HistoryEntry]:
    """Return the audit trail, the newest first; what can't be read is shown as it is."""
    return [_history(entry) for entry in reversed(store.get_prefix(HISTORY).entries)]


class Trail:
    """The audit trail, written under the lock."""

    def __init__(self, store: Reader, lock: ClusterLock) -> None:
        self._store = store
        self._lock = lock

    def note(self, now: datetime, what: str, outcome: str) -> None:
        """Add a line to the audit trail and drop the oldest. Raises LockLost, EtcdError."""
        holder = self._lock.holder
        line = HistoryEntry(stamp(now), holder.holder, holder.host, holder.task, what, outcome)
        put = Put(HISTORY + new_id(now), json.dumps(asdict(line)))
        self._lock.write([put, *self._surplus(HISTORY, KEPT_HISTORY - 1)])

    def _surplus(self, prefix: str, kept: int) -> Sequence[Delete]:
        """Return what drops all but the newest `kept`; at most as many as fit into a transaction."""
        entries = self._store.get_prefix(prefix).entries
        return [Delete(entry.key) for entry in entries[: max(0, len(entries) - kept)][:MAX_WRITES]]


def _history(entry: Entry) -> HistoryEntry:
    found = json_object(entry.value)
    if found is None:
        return HistoryEntry("", "", "", "", entry.value, "not written by us")
    return HistoryEntry(*(str(found.get(name, "")) for name in ("at", "who", "host", "task", "what", "outcome")))


def new_id(now: datetime) -> str:
    """Return an id that sorts by time: 20260131T120000.120Z-1f3a."""
    return f"{stamp(now).replace('-', '').replace(':', '')}-{secrets.token_hex(2)}"
