"""etcd in memory: revisions, transactions, leases by the simulation's time; and a client that can be cut off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from scheduler import Scheduler

from argosy.errors import EtcdError
from argosy.etcd import Compare, Delete, Entry, Listing, Put, TransactionResult

CALL_SECONDS = 0.005
TIMEOUT_SECONDS = 5.0


@dataclass
class _Lease:
    ttl_seconds: float
    ends: float


class FakeEtcd:
    """`on_write`: called with who wrote, the entry before, and the entry after, of each key that a write changes;
    `before`: called before anything is read or written."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._entries: dict[str, Entry] = {}
        self._leases: dict[int, _Lease] = {}
        self._revision = 1
        self.down_until = 0.0
        self.on_write: Callable[[str, Entry | None, Entry | None], None] = lambda *_: None
        self.before: Callable[[], None] = lambda: None

    def get(self, key: str) -> Entry | None:
        self.before()
        self._expire()
        return self._entries.get(key)

    def get_prefix(self, prefix: str) -> Listing:
        self.before()
        self._expire()
        found = (entry for key, entry in sorted(self._entries.items()) if key.startswith(prefix))
        return Listing(self._revision, tuple(found))

    def transact(self, who: str, conditions: Sequence[Compare], writes: Sequence[Put | Delete]) -> TransactionResult:
        self.before()
        self._expire()
        succeeded = all(self._holds(condition) for condition in conditions)
        deeds = writes if succeeded else ()
        assert len(deeds) <= 128
        assert len({deed.key for deed in deeds}) == len(deeds), "etcd refuses two writes of one key in a transaction"
        if deeds:
            self._revision += 1
        for deed in deeds:
            self._do(who, deed)
        return TransactionResult(succeeded, self._revision)

    def grant(self, ttl_seconds: int) -> int:
        lease = max(self._leases, default=0) + 1
        self._leases[lease] = _Lease(ttl_seconds, self._scheduler.now + ttl_seconds)
        return lease

    def keep_alive(self, lease: int) -> int:
        self._expire()
        found = self._leases.get(lease)
        if found is None or not found.ends:
            return 0
        found.ends = self._scheduler.now + found.ttl_seconds
        return int(found.ttl_seconds)

    def revoke(self, lease: int) -> None:
        found = self._leases.get(lease)
        if found is not None:
            found.ends = 0.0
            self._drop(lease)

    def _expire(self) -> None:
        if self._scheduler.now < self.down_until:
            return
        for lease, found in self._leases.items():
            if found.ends and found.ends <= self._scheduler.now:
                found.ends = 0.0
                self._drop(lease)

    def _drop(self, lease: int) -> None:
        keys = [key for key, entry in self._entries.items() if entry.lease == lease]
        self._revision += bool(keys)
        for key in keys:
            del self._entries[key]

    def _holds(self, compare: Compare) -> bool:
        assert not compare.prefix
        assert not compare.below
        entry = self._entries.get(compare.key)
        return (getattr(entry, compare.target.value) if entry else 0) == compare.value

    def _do(self, who: str, deed: Put | Delete) -> None:
        before = self._entries.get(deed.key)
        if isinstance(deed, Delete):
            assert not deed.prefix
            if before is not None:
                del self._entries[deed.key]
                self.on_write(who, before, None)
            return
        if deed.lease and not self._leases[deed.lease].ends:
            raise EtcdError("etcd refused: requested lease not found")
        if before is None:
            after = Entry(deed.key, deed.value, self._revision, self._revision, deed.lease)
        else:
            after = replace(before, value=deed.value, mod_revision=self._revision, lease=deed.lease)
        self._entries[deed.key] = after
        self.on_write(who, before, after)


class Client:
    """One process's client of it, as `argosy.etcd.Etcd` is: while it is cut off, calls end with EtcdError in time.

    `answers_lost`: how often in 1,000 a transaction's answer is lost, done or not.
    """

    def __init__(self, etcd: FakeEtcd, scheduler: Scheduler, who: str) -> None:
        self._etcd = etcd
        self._scheduler = scheduler
        self._who = who
        self.cut_off: tuple[float, float] = (0.0, 0.0)
        self.answers_lost = 0

    def get(self, key: str) -> Entry | None:
        self._reach()
        return self._etcd.get(key)

    def get_prefix(self, prefix: str) -> Listing:
        self._reach()
        return self._etcd.get_prefix(prefix)

    def transact(self, conditions: Sequence[Compare], writes: Sequence[Put | Delete]) -> TransactionResult:
        self._reach()
        lost = self._scheduler.random.randrange(1000) < self.answers_lost
        if lost and self._scheduler.random.random() < 0.5:
            raise EtcdError("etcd did not confirm a change: it may be done or not")
        done = self._etcd.transact(self._who, conditions, writes)
        self._scheduler.step(CALL_SECONDS)
        if lost:
            raise EtcdError("etcd did not confirm a change: it may be done or not")
        return done

    def grant(self, ttl_seconds: int) -> int:
        self._reach()
        return self._etcd.grant(ttl_seconds)

    def keep_alive(self, lease: int) -> int:
        self._reach()
        return self._etcd.keep_alive(lease)

    def revoke(self, lease: int) -> None:
        self._reach()
        self._etcd.revoke(lease)

    def _reach(self) -> None:
        """Let somebody else run first: what we decided on may be old when etcd gets it."""
        self._scheduler.step(CALL_SECONDS)
        begin, end = self.cut_off
        if begin <= self._scheduler.now < end or self._scheduler.now < self._etcd.down_until:
            self._scheduler.sleep(TIMEOUT_SECONDS)
            raise EtcdError("etcd does not answer")


class Reader(Client):
    """Reads without being anybody, and without anybody's turn."""

    def _reach(self) -> None:
        pass
