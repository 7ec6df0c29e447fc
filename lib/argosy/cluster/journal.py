"""What etcd remembers of the changes of a cluster: what is in progress, what has ended, and who did what when.

    /cluster/rollout             the one in progress, or stopped (argosy.rollouts.record)
    /cluster/rollouts/ID         those that ended; the newest 50
    /cluster/updates/NAME        that of a scheduled service, in progress or stopped (argosy.services.updates.record)
    /cluster/update-history/NAME/ID   those that ended; the newest 10 of each service
    /cluster/release             {"version", "image"}: what the last finished rollout has brought everywhere
    /cluster/history/STAMP-ID    {"at", "who", "host", "task", "what", "outcome"}; the newest 500

Whoever writes holds the cluster's lock, and each write depends on it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from argosy.cluster.change import ChangeRecord
from argosy.cluster.history import Trail
from argosy.cluster.lock import ClusterLock
from argosy.errors import Refused
from argosy.etcd import Delete, Entry, Put
from argosy.etcd.values import Reader

ROLLOUT = "/cluster/rollout"


R = TypeVar("R", bound=ChangeRecord)


@dataclass(frozen=True, slots=True)
class Place(Generic[R]):
    """Where the records of one kind of change stand: the one in progress under `key`; those that ended under `ended`,
    the newest `kept`."""

    key: str
    ended: str
    kept: int
    parse: Callable[[str], R]

    def present(self, store: Reader) -> R | None:
        """Return the one that is in progress or stopped. Raises Refused for a record that can't be read."""
        entry = store.get(self.key)
        return self._parsed(entry) if entry else None

    def past(self, store: Reader) -> list[R]:
        """Return those that ended, the newest first."""
        return [self._parsed(entry) for entry in reversed(store.get_prefix(self.ended).entries)]

    def _parsed(self, entry: Entry) -> R:
        try:
            return self.parse(entry.value)
        except ValueError as error:
            raise Refused(f"{entry.key} in etcd is {error}; delete it there if nobody works on it") from None


def rollout_left(store: Reader) -> str:
    """Return which rollout has not ended, in words; an empty string when none was left. For whoever only has to tell of
    it: all else in the record is for argosy.rollouts. Raises Refused for a record that can't be read."""
    entry = store.get(ROLLOUT)
    if entry is None:
        return ""
    try:
        found = json.loads(entry.value)
        return f"rollout {found['id']} has not ended ({found['state']})"
    except (ValueError, TypeError, KeyError):
        raise Refused(f"{ROLLOUT} in etcd is no record of a rollout; delete it there if nobody works on it") from None


class Records(Trail, Generic[R]):
    """The record of one kind of change, written under the lock: before and after each step."""

    def __init__(self, store: Reader, lock: ClusterLock, place: Place[R]) -> None:
        super().__init__(store, lock)
        self._place = place

    def read(self) -> R | None:
        return self._place.present(self._store)

    def write(self, record: R, writes: Sequence[Put | Delete] = ()) -> int:
        """Put the record, and do `writes` with it, in one transaction; return its revision. Raises LockLost,
        EtcdError."""
        return self._lock.write([Put(self._place.key, record.text()), *writes])

    def close(self, record: R, writes: Sequence[Put | Delete] = ()) -> None:
        """Move the record of a change that ended to the others, in one transaction with `writes`, and drop the oldest
        of those."""
        moved: list[Put | Delete] = [Put(self._place.ended + record.id, record.text()), Delete(self._place.key)]
        self._lock.write([*moved, *writes, *self._surplus(self._place.ended, self._place.kept - 1)])
