"""The agent's one lease: everything that a machine says of itself in etcd goes when its agent is dead."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from argosy.agent import remembered
from argosy.agent.log import Trouble, log
from argosy.errors import EtcdError
from argosy.etcd.client import Etcd

_log = log("lease")

RETRY_SECONDS = 0.5


class Lease:
    """A lease that outlives the process: an agent that is started again continues with it, so its keys never go.

    When etcd does not know it any more (the machine slept, etcd was made anew), or when `ttl_seconds` is another than
    before, there is a new one: those who subscribed put their keys again with it. It is never revoked; what is to go
    at once is deleted by its key. Use a store of its own, so that no other call makes a renewal wait.
    """

    def __init__(self, store: Etcd, ttl_seconds: int, path: Path) -> None:
        """`path`: where it is remembered, as JSON {"id": 7587848, "ttl_seconds": 10}, 0600; its folder must exist."""
        self._store = store
        self._ttl_seconds = ttl_seconds
        self._path = path
        self._subscribers: list[Callable[[int], None]] = []
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._remembered = _read(path, ttl_seconds)
        self._id = 0
        self._renewed = 0.0
        self.trouble = Trouble(_log, "renewed again", starting="the agent has no lease yet")

    def start(self) -> None:
        """Begin to keep it alive, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Leave it to run out in its own time; whoever starts within the TTL continues with it.

        Waits for a renewal that is under way: the store may be closed afterwards.
        """
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def subscribe(self, callback: Callable[[int], None]) -> None:
        """Call `callback(id)`, from the lease's thread, for each lease from now on; at once if there is one already.

        The first call after a start may tell the lease of before: what was put with it is still there. Be quick.
        """
        with self._turn:
            self._subscribers.append(callback)
            held = self._id
        if held:
            callback(held)

    def id(self) -> int:
        """Return the id to put keys with. Raises EtcdError as long as there is none.

        It may have run out since its last renewal: etcd then refuses the put, and subscribers hear of the next one.
        """
        if not self._id:
            raise EtcdError(self.trouble.reason or "the agent has no lease")
        return self._id

    @property
    def alive(self) -> bool:
        """Whether etcd must still have it: it was renewed within its TTL."""
        return bool(self._id) and time.monotonic() - self._renewed < self._ttl_seconds

    def renew(self) -> None:
        """Renew the lease, or take a new one. Raises EtcdError. The thread does this; tests may, too."""
        asked = time.monotonic()
        wanted = self._id or self._remembered
        if not wanted or not self._store.keep_alive(wanted):
            wanted = self._store.grant(self._ttl_seconds)
            self._remember(wanted)
            _log.info("took lease %x of %d s", wanted, self._ttl_seconds)
        self._renewed = asked
        self._hold(wanted)

    def _hold(self, lease: int) -> None:
        with self._turn:
            new = lease != self._id
            self._id = lease
            callbacks = list(self._subscribers) if new else []
        for callback in callbacks:
            callback(lease)

    def _remember(self, lease: int) -> None:
        content = {"id": lease, "ttl_seconds": self._ttl_seconds}
        remembered.write(self._path, content, _log, "takes a new lease")

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.renew()
            except EtcdError as error:
                self.trouble.set(f"the lease can't be renewed: {error}")
                self._stopping.wait(RETRY_SECONDS)
            else:
                self.trouble.clear()
                self._stopping.wait(self._ttl_seconds / 3)


def _read(path: Path, ttl_seconds: int) -> int:
    """Return the remembered lease, or 0: none, not readable, or one of another TTL."""

    def parse(found: Any) -> int:
        return int(found["id"]) if found["ttl_seconds"] == ttl_seconds else 0

    return remembered.read(path, parse, _log, "taking a new lease") or 0
