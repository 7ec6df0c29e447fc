"""One operator at a time changes a cluster: a lease in etcd, and a condition on every write.

    with held(store, "cluster.rolling-upgrade") as lock:
        lock.write([Put("/cluster/rollout", ...)])      # a transaction on the lock's create revision
        lock.check()                                    # before anything that is not a write to etcd

/cluster/lock = {"id", "holder", "host", "task", "started"}, put unless it is there, on a lease that a thread renews. A
holder that dies leaves a lease that runs out. One that is cut off from etcd stops before that: from its own clock it
knows that the lease may have run out. One that sleeps through all of that writes nothing either, for the key that it
created is gone. Source of the idea: https://etcd.io/docs/v3.4/learning/why/#using-etcd-for-distributed-coordination
"""

from __future__ import annotations

import getpass
import json
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from argosy.clock import Clock, SystemClock
from argosy.errors import EtcdError, LockHeld, LockLost
from argosy.etcd import Compare, Delete, Entry, Etcd, Put, TransactionResult, absent, created_at
from argosy.report import Report
from argosy.text import json_object

KEY = "/cluster/lock"
TTL_SECONDS = 30
RETRY_SECONDS = 0.5
ATTEMPTS = 5
"""Of taking a lock that goes away each time that we look who holds it."""


@dataclass(frozen=True, slots=True)
class Who:
    """An operator."""

    holder: str
    host: str

    @classmethod
    def here(cls) -> Who:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a uid without a name, as in a CI container
            user = "unknown"
        return cls(user, socket.gethostname())

    def __str__(self) -> str:
        return f"{self.holder}@{self.host}"


@dataclass(frozen=True, slots=True)
class Holder:
    """What stands in the key. `started`: as 2026-01-31T12:00:00Z. What somebody else wrote there may lack any."""

    id: str
    holder: str = "unknown"
    host: str = "unknown"
    task: str = "unknown"
    started: str = "unknown"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        return f"{self.holder} on {self.host} ({self.task}) since {self.started}"


def parse_holder(text: str) -> Holder:
    """Return what the key's value says, as far as it says anything."""
    known = json_object(text) or {}
    words = {name: str(known[name]) for name in ("holder", "host", "task", "started") if known.get(name)}
    return Holder(str(known.get("id", "")), **words)


class ClusterLock:
    """A lock that we hold, until `check` says otherwise. Once it is lost it stays lost.

    `revision`: the one that created the key. May be used by several threads.
    """

    def __init__(
        self, store: Etcd, holder: Holder, lease: int, revision: int, ttl_seconds: float, clock: Clock, sent: float
    ) -> None:
        """`sent`: when the lease was asked for, by the clock's `elapsed`."""
        self.holder = holder
        self.revision = revision
        self._store = store
        self._lease = lease
        self._clock = clock
        # The last third is for ending what runs: whoever comes next may begin when it is over.
        self._trusted_seconds = ttl_seconds * 2 / 3
        self._renew_seconds = ttl_seconds / 6
        self._until = sent + self._trusted_seconds
        self._reason = ""
        self._lost = clock.event()
        self._released = clock.event()
        self._callbacks: list[Callable[[], None]] = []
        self._last_failure = ""

    def check(self) -> None:
        """Raise LockLost unless we surely hold the lock now. Asks nobody."""
        if not self._lost.is_set() and self._clock.elapsed() >= self._until:
            self._lose(f"etcd did not renew it in time{self._last_failure}")
        if self._lost.is_set():
            raise LockLost(
                f"the cluster's lock is lost: {self._reason}; what was begun may be half-way: see inv cluster.lock, "
                "then run the same command again"
            )

    def transact(self, conditions: Sequence[Compare], writes: Sequence[Put | Delete]) -> TransactionResult:
        """Do what `Etcd.transact` does, if we hold the lock. Raises LockLost, and EtcdError as that does."""
        self.check()
        done = self._store.transact([created_at(KEY, self.revision), *conditions], writes)
        if not done.succeeded:
            self._look_at(self._store.get(KEY))
        return done

    def write(self, writes: Sequence[Put | Delete]) -> int:
        """Do all `writes` in one transaction, if we hold the lock, and return its revision.

        Tried again for as long as an outage may last: `writes` must be fit to be done twice. Raises LockLost and
        EtcdError.
        """
        deadline = self._clock.elapsed() + self._trusted_seconds
        while True:
            try:
                return self.transact((), writes).revision
            except EtcdError as error:
                self._last_failure = f" ({error})"
                if self._clock.elapsed() >= deadline:
                    raise
                self.pause()

    def pause(self, seconds: float = RETRY_SECONDS) -> None:
        """Wait for `seconds`, or until the lock is lost."""
        self._lost.wait(seconds)

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the lock is lost, from whichever thread finds out, even twice; at once if it is."""
        self._callbacks.append(callback)
        if self._lost.is_set():
            callback()

    def keep(self) -> None:
        """Renew the lease until it is lost or released: the work of the thread beside the holder's."""
        while not self._released.wait(self._renew_seconds):
            try:
                self.renew()
                self.check()
            except LockLost:
                return

    def renew(self) -> None:
        """Renew the lease once. Raises LockLost; that etcd does not answer is no news until time is over."""
        sent = self._clock.elapsed()
        try:
            alive = self._store.keep_alive(self._lease)
            entry = self._store.get(KEY) if alive else None
        except EtcdError as error:
            self._last_failure = f" ({error})"
            return
        if self._released.is_set():
            return
        self._look_at(entry)
        self._until = sent + self._trusted_seconds

    def release(self) -> None:
        """Give the lock back, if it is ours still. Raises EtcdError: then it runs out by itself."""
        self._released.set()
        self._store.revoke(self._lease)

    def _look_at(self, entry: Entry | None) -> None:
        if entry is None:
            self._lose("it ran out, or somebody broke it")
        elif entry.create_revision != self.revision:
            self._lose(f"it is now held by {parse_holder(entry.value)}")
        self.check()

    def _lose(self, reason: str) -> None:
        if self._lost.is_set():
            return
        self._reason = reason
        self._lost.set()
        for callback in self._callbacks:
            callback()


@contextmanager
def held(
    store: Etcd,
    task: str,
    *,
    ttl_seconds: int = TTL_SECONDS,
    report: Report | None = None,
    clock: Clock | None = None,
    who: Who | None = None,
) -> Iterator[ClusterLock]:
    """Hold the cluster's lock while `task` runs. Raises LockHeld, naming who has it, and EtcdError.

    `report`: told when the lock can't be given back and has to run out.
    """
    clock = clock or SystemClock()
    lock = take(store, task, ttl_seconds, clock, who or Who.here())
    clock.spawn("cluster-lock", lock.keep)
    try:
        yield lock
    finally:
        try:
            lock.release()
        except EtcdError as error:
            if report:
                report("lock", f"could not be given back, and runs out in {ttl_seconds} s: {error}")


def take(store: Etcd, task: str, ttl_seconds: int, clock: Clock, who: Who) -> ClusterLock:
    """Take the lock or raise LockHeld; nothing keeps it alive yet. See `held`."""
    started = clock.now().isoformat(timespec="seconds").replace("+00:00", "Z")
    holder = Holder(secrets.token_hex(8), who.holder, who.host, task, started)
    for _ in range(ATTEMPTS):
        sent = clock.elapsed()
        lease = store.grant(ttl_seconds)
        revision = _put(store, holder, lease)
        if revision:
            return ClusterLock(store, holder, lease, revision, ttl_seconds, clock, sent)
        entry = store.get(KEY)
        store.revoke(lease)
        if entry is not None:
            break
    else:
        raise LockHeld("others take the cluster's lock again and again; try later", "others")
    present = parse_holder(entry.value)
    raise LockHeld(
        f"the cluster is being changed by {present}: wait for it, or see inv cluster.lock and inv cluster.unlock",
        str(present),
    )


def _put(store: Etcd, holder: Holder, lease: int) -> int:
    """Put the key unless it is there; return the revision that created it, 0 when it is somebody else's."""
    try:
        done = store.transact([absent(KEY)], [Put(KEY, holder.to_json(), lease)])
    except EtcdError:
        # Perhaps it was done and only the answer is lost.
        entry = store.get(KEY)
        if entry is None or parse_holder(entry.value).id != holder.id:
            store.revoke(lease)
            raise
        return entry.create_revision
    return done.revision if done.succeeded else 0


def read(store: Etcd) -> Holder | None:
    """Return who holds the lock, None when nobody does."""
    entry = store.get(KEY)
    return parse_holder(entry.value) if entry else None


def break_(store: Etcd) -> Holder | None:
    """Take the lock away from its holder, who then changes nothing any more; return who that was. Idempotent."""
    entry = store.get(KEY)
    if entry is None:
        return None
    store.transact([created_at(KEY, entry.create_revision)], [Delete(KEY)])
    if entry.lease:
        store.revoke(entry.lease)
    return parse_holder(entry.value)
