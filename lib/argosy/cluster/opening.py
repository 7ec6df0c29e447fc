"""A cluster that is open: all that a task needs to look at it and to change it.

    with OpenCluster(settings, report) as cluster:
        cluster.store.get_prefix(MACHINES)
        with cluster.locked("cluster.add-machine"), cluster.noted("add air-04"):
            cluster.hosts["air-04"].run(...)
            cluster.holding.write([...])

Each part is opened when it is first used and closed when the context ends. `argosy.membership.observing` and
`argosy.services.work` add what theirs need: who joins and leaves, the Swarm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Self, TypeVar

from argosy import etcd
from argosy.clock import Clock, SystemClock
from argosy.cluster import machines as known_machines
from argosy.cluster import operators
from argosy.cluster.history import Trail
from argosy.cluster.lock import ClusterLock, held
from argosy.config.loading import Settings
from argosy.errors import ArgosyError, EtcdError, LockLost
from argosy.model import Machine
from argosy.report import Report, silent

if TYPE_CHECKING:
    from argosy.ssh.host import Hosts

T = TypeVar("T")


class OpenCluster:
    """`lock`: the cluster's, None while it is not held."""

    def __init__(
        self,
        settings: Settings,
        report: Report = silent,
        *,
        machines: Sequence[Machine] | None = None,
        hosts: Hosts | None = None,
        store: etcd.Etcd | None = None,
        clock: Clock | None = None,
        lock: ClusterLock | None = None,
    ) -> None:
        """`machines`: all of the cluster when left out. Whoever gives something open closes it."""
        self.settings = settings
        self._given = machines is not None
        self.report = report
        self.clock: Clock = clock or SystemClock()
        self.lock = lock
        self._stack = ExitStack()
        if machines is not None:
            self.machines = list(machines)
        if hosts is not None:
            self.hosts = hosts
        if store is not None:
            self.store = store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def machines(self) -> list[Machine]:
        return known_machines.select(self.settings, report=self.report)

    @cached_property
    def hosts(self) -> Hosts:
        """The connections to the machines; each is made when it is first used."""
        from argosy.ssh.host import Hosts

        return self.open(Hosts(self.settings, self.machines))

    @cached_property
    def store(self) -> etcd.Etcd:
        """The cluster's etcd. Raises ConfigError when this host has no certificate for it, and Refused when that is of
        an operator who is not one of this cluster's, or no more."""
        hosts = self.hosts if self.settings.ssh.entry_node else None
        store = self.open(etcd.connect(self.settings, self.machines, hosts))
        operators.refuse(self.settings, store, report=self.report)
        if not self._given:
            self._learn(store)
        return store

    @property
    def holding(self) -> ClusterLock:
        """The lock, for what only its holder may do."""
        if self.lock is None:
            raise AssertionError("a change without the cluster's lock")
        return self.lock

    def open(self, context: AbstractContextManager[T]) -> T:
        """Enter a context that ends with the cluster's."""
        return self._stack.enter_context(context)

    @contextmanager
    def locked(self, task: str) -> Iterator[ClusterLock]:
        """Hold the cluster's lock, or that of a `locked` around it. Raises LockHeld, naming who has it, EtcdError, and
        Refused when this operator has not the right to `task`."""
        if self.lock is not None:
            yield self.lock
            return
        operators.refuse(self.settings, self.store, task, self.report)
        ttl = self.settings.rollout.lock_ttl_seconds
        with held(self.store, task, ttl_seconds=ttl, report=self.report, clock=self.clock) as lock:
            self.lock = lock
            try:
                yield lock
                self._note_host_keys(lock)
            finally:
                self.lock = None

    def _learn(self, store: etcd.Etcd) -> None:
        """Take in machines that others have added. While etcd does not answer, those that are known must do."""
        try:
            found = known_machines.take(self.settings, known_machines.read(store), self.report)
        except EtcdError:
            return
        self.machines += found
        if "hosts" in self.__dict__:
            self.hosts.add(found)

    def _note_host_keys(self, lock: ClusterLock) -> None:
        """Let etcd know the host keys that this run's connections have proven right."""
        if "hosts" not in self.__dict__:
            return
        verified = [host.machine for host in self.hosts if host.is_connected]
        try:
            known_machines.note(self.settings, self.store, lock, verified)
        except (LockLost, EtcdError) as error:
            self.report("cluster", f"host keys could not be noted in etcd: {error}")

    @contextmanager
    def noted(self, what: str) -> Iterator[None]:
        """Note in the audit trail how `what` ended: `done`, or why not. Needs the lock."""
        outcome = "interrupted"
        try:
            yield
            outcome = "done"
        except ArgosyError as error:
            outcome = str(error)
            raise
        finally:
            try:
                Trail(self.store, self.holding).note(self.clock.now(), what, outcome)
            except (LockLost, EtcdError) as error:
                # What was done is done: that the trail does not know it is told, and must not hide how it ended.
                self.report("history", f"{what} ({outcome}) could not be noted: {error}")
