"""What etcd remembers of the changes of a cluster: what goes on, what has ended, and who did what when.

    /cluster/rollout             the one in progress, or stopped (argosy.rollout_record)
    /cluster/rollouts/ID         those that ended; the newest 50
    /cluster/updates/NAME        the update of a scheduled service in progress, or stopped (argosy.update_record)
    /cluster/update-history/NAME/ID   those that ended; the newest 10 of each service
    /cluster/release             {"version", "image"}: what the last finished rollout has brought everywhere
    /cluster/history/STAMP-ID    {"at", "who", "host", "task", "what", "outcome"}; the newest 500

Whoever writes holds the cluster's lock, and each write depends on it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from argosy.errors import Refused
from argosy.etcd import Delete, Entry, Listing, Put
from argosy.operations.cluster_lock import ClusterLock
from argosy.rollout_record import Release, Rollout, State, parse_rollout, stamp
from argosy.scheduled_state import UPDATES
from argosy.update_record import Update, parse_update

ROLLOUT = "/cluster/rollout"
ROLLOUTS = "/cluster/rollouts/"
RELEASE = "/cluster/release"
UPDATE_HISTORY = "/cluster/update-history/"
HISTORY = "/cluster/history/"
KEPT_ROLLOUTS = 50
KEPT_UPDATES = 10
KEPT_HISTORY = 500
MAX_DEEDS = 100
"""Writes in one transaction; etcd takes 128 (https://etcd.io/docs/v3.4/op-guide/configuration/, max-txn-ops)."""


class Store(Protocol):
    """What of `argosy.etcd.Etcd` is read here."""

    def get(self, key: str) -> Entry | None: ...
    def get_prefix(self, prefix: str) -> Listing: ...


class Record(Protocol):
    """A change that goes on step by step, as it is recorded."""

    @property
    def id(self) -> str: ...
    def text(self) -> str: ...


R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Place(Generic[R]):
    """Where the records of one kind of change stand: the one in progress under `key`; those that ended under `ended`,
    the newest `kept`."""

    key: str
    ended: str
    kept: int
    parse: Callable[[str], R]

    def present(self, store: Store) -> R | None:
        """Return the one that is in progress or stopped. Raises Refused for a record that can't be read."""
        entry = store.get(self.key)
        return self._parsed(entry) if entry else None

    def past(self, store: Store) -> list[R]:
        """Return those that ended, the newest first."""
        return [self._parsed(entry) for entry in reversed(store.get_prefix(self.ended).entries)]

    def _parsed(self, entry: Entry) -> R:
        try:
            return self.parse(entry.value)
        except ValueError as error:
            raise Refused(f"{entry.key} in etcd is {error}; delete it there if nobody is at it") from None


OF_ROLLOUTS = Place(ROLLOUT, ROLLOUTS, KEPT_ROLLOUTS, parse_rollout)


def of_updates(name: str) -> Place[Update]:
    """Return where the records of a scheduled service's updates stand."""
    return Place(UPDATES + name, f"{UPDATE_HISTORY}{name}/", KEPT_UPDATES, parse_update)


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
    return OF_ROLLOUTS.present(store)


def read_rollouts(store: Store) -> list[Rollout]:
    """Return the rollouts that ended, the newest first."""
    return OF_ROLLOUTS.past(store)


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


class Trail:
    """The audit trail, written under the lock."""

    def __init__(self, store: Store, lock: ClusterLock) -> None:
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
        return [Delete(entry.key) for entry in entries[: max(0, len(entries) - kept)][:MAX_DEEDS]]


class Records(Trail, Generic[R]):
    """The record of one kind of change, written under the lock: before and after each step."""

    def __init__(self, store: Store, lock: ClusterLock, place: Place[R]) -> None:
        super().__init__(store, lock)
        self._place = place

    def read(self) -> R | None:
        return self._place.present(self._store)

    def write(self, record: R, deeds: Sequence[Put | Delete] = ()) -> int:
        """Put the record, and do `deeds` with it, in one transaction; return its revision. Raises LockLost,
        EtcdError."""
        return self._lock.write([Put(self._place.key, record.text()), *deeds])

    def close(self, record: R, deeds: Sequence[Put | Delete] = ()) -> None:
        """Move the record of a change that ended to the others, in one transaction with `deeds`, and drop the oldest of
        those."""
        moved: list[Put | Delete] = [Put(self._place.ended + record.id, record.text()), Delete(self._place.key)]
        self._lock.write([*moved, *deeds, *self._surplus(self._place.ended, self._place.kept - 1)])


class Journal(Records[Rollout]):
    """The rollout's record."""

    def __init__(self, store: Store, lock: ClusterLock) -> None:
        super().__init__(store, lock, OF_ROLLOUTS)

    def close(self, record: Rollout, deeds: Sequence[Put | Delete] = ()) -> None:
        """With a finished one of the whole cluster its release becomes the wanted one."""
        wanted = record.whole and record.state is State.DONE
        super().close(record, [*deeds, *([Put(RELEASE, release_text(record.release))] if wanted else [])])


def _history(entry: Entry) -> HistoryEntry:
    try:
        found = json.loads(entry.value)
        return HistoryEntry(*(str(found.get(name, "")) for name in ("at", "who", "host", "task", "what", "outcome")))
    except (ValueError, AttributeError):
        return HistoryEntry("", "", "", "", entry.value, "not written by us")
