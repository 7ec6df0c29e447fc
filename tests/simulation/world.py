"""What simulated clusters have in common: etcd in memory, operators who hold the cluster's lock, and their clocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar, cast

from fake_etcd import Client, FakeEtcd, Reader
from scheduler import Event, Process, Scheduler

from argosy.cluster import lock as cluster_lock
from argosy.cluster.driver import LockHolder
from argosy.cluster.events import Event as Told
from argosy.cluster.history import HistoryEntry, read_history
from argosy.cluster.lock import ClusterLock, Who, held, parse_holder
from argosy.errors import ArgosyError, Interrupted
from argosy.etcd import Etcd

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
TTL_SECONDS = 30

Operator = TypeVar("Operator", bound=LockHolder)


class Violation(BaseException):
    """A promise that was not kept. Nobody who handles errors catches it."""


class SimulatedClock:
    """A process's clock, which may be wrong by `skew_seconds`."""

    def __init__(self, scheduler: Scheduler, process: Process, skew_seconds: float = 0) -> None:
        self._scheduler = scheduler
        self._process = process
        self._skew_seconds = skew_seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self._scheduler.now + self._skew_seconds)

    def elapsed(self) -> float:
        return self._scheduler.now

    def event(self) -> Event:
        return self._scheduler.event()

    def spawn(self, name: str, work: Callable[[], None]) -> None:
        self._scheduler.spawn(self._process, name, work)


@dataclass
class Result:
    """How an operator's command ended: `error` None for well."""

    error: ArgosyError | None = None
    ended: bool = False


class World(ABC, Generic[Operator]):
    """`locks`: the id of each operator's lock; `broken`: the ids of locks that were taken away."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.etcd = FakeEtcd(scheduler)
        self.locks: dict[str, str] = {}
        self.broken: set[str] = set()

    machines: Mapping[str, Any]

    @abstractmethod
    def power(self, name: str, up: bool) -> None:
        """Cut a machine's power, or bring it back."""

    @abstractmethod
    def operator(self, process: Process, client: Client, lock: ClusterLock, clock: SimulatedClock) -> Operator:
        """Return somebody who holds the lock, with fakes of all that they work with."""

    def operate(
        self, name: str, command: Callable[[Operator], object], client: Client, skew_seconds: float = 0
    ) -> tuple[Process, Result]:
        """Let an operator begin the command, in a process of its own."""
        process, result = Process(name), Result()
        clock = SimulatedClock(self.scheduler, process, skew_seconds)

        def main() -> None:
            try:
                store, who = cast(Etcd, client), Who(name, "host")
                with held(store, "a task", ttl_seconds=TTL_SECONDS, clock=clock, who=who) as lock:
                    self.locks[name] = lock.holder.id
                    command(self.operator(process, client, lock, clock))
            except ArgosyError as error:
                result.error = error
            except KeyboardInterrupt:
                result.error = Interrupted("Ctrl-C")
            result.ended = True
            # A process that ends takes its threads with it.
            self.scheduler.kill(process)

        self.scheduler.spawn(process, "main", main)
        return process, result

    def holder(self) -> str:
        """Return the id of the lock that is held, or an empty string."""
        entry = self.etcd.get(cluster_lock.KEY)
        return parse_holder(entry.value).id if entry else ""

    def check_lock(self, who: str, key: str) -> None:
        """See that an operator who writes holds the lock."""
        if key != cluster_lock.KEY and self.locks.get(who, "") != self.holder():
            raise Violation(f"{who} writes {key} without the lock")

    def break_lock(self, client: Client) -> None:
        self.broken.add(self.holder())
        try:
            cluster_lock.break_(cast(Etcd, client))
        except ArgosyError:
            return


class Simulation(Generic[Operator]):
    """One cluster, and operators one after the other. `events`: all that was told; `watching`: is told it, too;
    `changes`: what of an operator is another than in the world."""

    def __init__(self, world: World[Operator]) -> None:
        self.scheduler = world.scheduler
        self.client = Reader(world.etcd, world.scheduler, "reader")
        self.events: list[Told] = []
        self.watching: Callable[[Told], None] = lambda _: None
        self._world = world
        self._number = 0

    def changes(self) -> dict[str, Any]:
        return {}

    def begin(self, command: Callable[[Operator], object]) -> Result:
        """Let an operator begin; `run` lets them work."""
        self._number += 1
        name = f"operator-{self._number}"

        def tell(event: Told) -> None:
            self.events.append(event)
            self.watching(event)

        def work(operator: Operator) -> None:
            command(replace(operator, events=tell, **self.changes()))

        self.process, result = self._world.operate(name, work, Client(self._world.etcd, self.scheduler, name))
        return result

    def run(self, command: Callable[[Operator], object]) -> Result:
        result = self.begin(command)
        self.scheduler.run()
        return result

    def lines(self) -> list[str]:
        return [f"{event.subject}: {event.text}" for event in self.events]

    def history(self) -> list[HistoryEntry]:
        """Return the audit trail, the newest last."""
        return list(reversed(read_history(self.client)))
