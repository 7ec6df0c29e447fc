"""One copy of etcd's keys in memory, always on its way to be what etcd holds. Everything in the agent reads it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from argosy.agent.log import Trouble, log
from argosy.errors import EtcdCompacted, EtcdError
from argosy.etcd.client import Etcd
from argosy.etcd.values import Change, Entry, EventKind, Listing

_log = log("mirror")

ROOT = "/"
IGNORED = ("/routers/", "/cluster/")
"""What every agent writes, or operators do among themselves: nobody here depends on it, and it changes often."""
RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Batch:
    """What is new. `revision`: everything up to it is in; `full`: listed anew, `changed` being what came out different
    (all of it, the first time). Deleted keys are in `changed`, too."""

    revision: int
    changed: frozenset[str]
    full: bool = False


class Mirror:
    """All keys but IGNORED, kept up to date by one watch in a thread of its own.

    The watch resumes at the revision after the last one by itself. When etcd was away for longer than its client
    waits, or has compacted what was missed, the keys are listed anew and compared. As long as etcd is away, everything
    stays as it was last: `connected` is False and `trouble` says why.
    """

    def __init__(self, store: Etcd, retry_seconds: float = RETRY_SECONDS) -> None:
        self._store = store
        self._retry_seconds = retry_seconds
        self._subscribers: list[Callable[[Batch], None]] = []
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self.entries: dict[str, Entry] = {}
        """By key. Written by the mirror's thread alone; each entry is immutable. Iterate over `snapshot`."""
        self.revision = 0
        """0 until the first listing."""
        self.connected = False
        self.listings = 0
        self.trouble = Trouble(_log, "etcd is back", starting="etcd has not answered yet")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take no more changes; a call that is under way ends by itself."""
        self._stopping.set()

    def subscribe(self, callback: Callable[[Batch], None]) -> None:
        """Call `callback` in the mirror's thread after each change, and at once with all there is, if anything is.

        It must be quick (note and wake somebody): while it runs, nothing moves. Nothing is ever told twice or left out.
        """
        with self._turn:
            self._subscribers.append(callback)
            if self.revision:
                callback(Batch(self.revision, frozenset(self.entries), full=True))

    def snapshot(self) -> tuple[int, dict[str, Entry]]:
        """Return the revision and a copy of all entries as they were at it."""
        with self._turn:
            return self.revision, dict(self.entries)

    def current(self, keys: Iterable[str]) -> tuple[list[Entry], list[str]]:
        """Return the entries of `keys` as they are now, and which of them are not there.

        Raises EtcdError before the first listing: nobody knows yet.
        """
        with self._turn:
            if not self.revision:
                raise EtcdError("etcd has not been listed yet")
            found = {key: self.entries.get(key) for key in keys}
        return [entry for entry in found.values() if entry is not None], [
            key for key, entry in found.items() if entry is None
        ]

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except EtcdCompacted as error:
                _log.info("listing anew: %s", error)
            except EtcdError as error:
                self._lost(str(error))
                self._stopping.wait(self._retry_seconds)

    def _follow(self) -> None:
        """List, then watch until that fails."""
        self._take_listing(self._store.get_prefix(ROOT))
        with self._store.watch(ROOT, self.revision + 1) as changes:
            for change in changes:
                if self._stopping.is_set():
                    return
                self._take_change(change)

    def _lost(self, reason: str) -> None:
        self.connected = False
        self.trouble.set(f"{reason}; everything stays as it is until etcd is back")

    def _take_listing(self, listing: Listing) -> None:
        wanted = {entry.key: entry for entry in listing.entries if not entry.key.startswith(IGNORED)}
        with self._turn:
            keys = {*wanted, *self.entries}
            changed = frozenset(key for key in keys if wanted.get(key) != self.entries.get(key))
            self.entries.clear()
            self.entries.update(wanted)
            self.revision = listing.revision
            self.listings += 1
            self.connected = True
            self._tell(Batch(self.revision, changed, full=True))
        self.trouble.clear()

    def _take_change(self, change: Change) -> None:
        events = [event for event in change.events if not event.entry.key.startswith(IGNORED)]
        with self._turn:
            for event in events:
                if event.kind is EventKind.PUT:
                    self.entries[event.entry.key] = event.entry
                else:
                    self.entries.pop(event.entry.key, None)
            self.revision = change.revision
            if events:
                self._tell(Batch(self.revision, frozenset(event.entry.key for event in events)))

    def _tell(self, batch: Batch) -> None:
        for callback in self._subscribers:
            callback(batch)
