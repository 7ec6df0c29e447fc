"""A cluster in memory, its operators, and what must be true of it at every moment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from fake_etcd import Client, FakeEtcd
from scheduler import Event, Process, Scheduler

from argosy.errors import ArgosyError, HostsFailed, HostUnreachable, Interrupted, LockLost, Unhealthy
from argosy.etcd import Entry, Put
from argosy.events import Event as Told
from argosy.model import MachineState
from argosy.operations import cluster_lock
from argosy.operations.cluster_lock import ClusterLock, Who, held, parse_holder
from argosy.operations.draining import set_state, states, take_out
from argosy.operations.journal import ROLLOUT, ROLLOUTS
from argosy.operations.rollout.seams import Operator, Preflight
from argosy.rollout_plan import Found
from argosy.rollout_record import Release, Rollout, State, Step, parse_rollout
from argosy.schema import MACHINES, machine_key

OLD, NEW = Release("0.1.2", "old"), Release("0.1.3", "new")
HALF = Release("", "half")
START = datetime(2026, 1, 31, 12, tzinfo=UTC)
TTL_SECONDS = 30
STALL_SECONDS = 26
"""So long a process may stand still between a look and a deed, and hold the lock still."""


class Violation(BaseException):
    """A promise that was not kept. Nobody who handles errors catches it."""


@dataclass
class FakeMachine:
    """`runs`: the release, HALF in the middle of an install; `good`: the last one that passed its checks, which the
    installer records. `installing`: what comes, and when it will be there. `since`: when its power went or came."""

    name: str
    member: bool
    up: bool = True
    since: float = 0
    runs: Release = OLD
    good: Release = OLD
    installing: tuple[Release, float] | None = None


@dataclass
class World:
    """`bad`: the machines on which the new release never becomes healthy. `touched`: those that were installed on;
    `finished`: the records of rollouts that ended; `leftovers`: what is out of service since an earlier one;
    `broken`: the ids of locks that were taken away."""

    scheduler: Scheduler
    size: int
    running_etcd: int
    bad: frozenset[str] = frozenset()
    touched: set[str] = field(default_factory=set)
    finished: list[Rollout] = field(default_factory=list)
    leftovers: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        names = [f"air-{number:02}" for number in range(1, self.size + 1)]
        self.machines = {
            name: FakeMachine(name, member=number < self.running_etcd) for number, name in enumerate(names)
        }
        self.etcd = FakeEtcd(self.scheduler)
        self.locks: dict[str, str] = {}
        for name in names:
            record = json.dumps({"address": "10.0.0.1", "release": OLD.version, "state": "active"})
            self.etcd.transact("world", [], [Put(machine_key(name), record)], [])
        self.etcd.on_write = self.written

    @property
    def members(self) -> list[str]:
        return [it.name for it in self.machines.values() if it.member]

    @property
    def away(self) -> int:
        return max(1, (len(self.members) - 1) // 2)

    def state(self, name: str) -> str:
        entry = self.etcd.get(machine_key(name))
        assert entry is not None
        return str(json.loads(entry.value)["state"])

    def draining(self) -> list[str]:
        return [name for name in self.machines if self.state(name) == MachineState.DRAINING]

    def settle(self, name: str) -> FakeMachine:
        """Return the machine, with an install that has come to its end meanwhile."""
        machine = self.machines[name]
        if machine.installing and machine.up and machine.installing[1] <= self.scheduler.now:
            machine.runs, machine.installing = machine.installing[0], None
            if not self.is_bad(name):
                machine.good = machine.runs
        return machine

    def is_bad(self, name: str) -> bool:
        return self.machines[name].runs == NEW and name in self.bad

    def power(self, name: str, up: bool) -> None:
        """Cut a machine's power, or bring it back; an install that was cut off begins anew at boot."""
        machine = self.settle(name)
        machine.up, machine.since = up, self.scheduler.now
        if machine.installing:
            machine.installing = (machine.installing[0], self.scheduler.now + 20)

    # Promises

    def holder(self) -> str:
        entry = self.etcd.get(cluster_lock.KEY)
        return parse_holder(entry.value).id if entry else ""

    def written(self, who: str, before: Entry | None, after: Entry | None) -> None:
        key = (after or before).key  # type: ignore[union-attr]
        if key != cluster_lock.KEY and self.locks.get(who, "") != self.holder():
            raise Violation(f"{who} writes {key} without the lock")
        if key.startswith(MACHINES) and before is not None and after is not None:
            self.check_service(key.removeprefix(MACHINES), str(json.loads(before.value)["state"]))
        if key == ROLLOUT and before is not None and after is None:
            self.leftovers = set(self.draining())
        if key.startswith(ROLLOUTS) and after is not None:
            self.finished.append(parse_rollout(after.value))
            self.check_end(self.finished[-1])

    def check_service(self, name: str, before: str) -> None:
        """See to what a machine's new state means for the others. `before`: its old one."""
        out = self.draining()
        if before == MachineState.ACTIVE and name in out:
            gone = [
                it.name for it in self.machines.values() if not it.up and it.since < self.scheduler.now - TTL_SECONDS
            ]
            if gone and gone != [name]:
                raise Violation(f"{name} is drained while {gone} have been gone for long")
        self.leftovers &= set(out)
        fresh = [it for it in out if it not in self.leftovers]
        entry = self.etcd.get(ROLLOUT)
        if entry is None or name not in fresh:
            return
        order = parse_rollout(entry.value).order
        if not any(set(fresh) <= set(batch) for batch in order):
            raise Violation(f"of two batches at once: {fresh}, the order is {order}")
        if sum(self.machines[it].member for it in fresh) > self.away:
            raise Violation(f"more members of etcd than may be away: {fresh}")
        if self.size > 1 and len(out) == self.size:
            raise Violation("nobody is left in service")

    def check_end(self, rollout: Rollout) -> None:
        """See that the machines are what a record says that is put aside."""
        for name, it in rollout.machines.items():
            machine = self.settle(name)
            in_service = self.state(name) == MachineState.ACTIVE
            if rollout.state is State.ABORTED:
                fine = in_service or it.installed or not it.touched or name in self.leftovers
            elif rollout.back and it.step is Step.PENDING:
                fine = (in_service and machine.runs == it.origin) or name in self.leftovers
            else:
                fine = in_service and machine.runs == rollout.target(name)
            if not fine:
                raise Violation(
                    f"{rollout.state}, but {name} ({it.step}) runs {machine.runs}, in service: {in_service}"
                )

    def check_install(self, name: str, lock: ClusterLock) -> None:
        """Do what the machine itself does: ask etcd whether who commands it holds the lock."""
        if self.holder() != lock.id:
            raise LockLost("the machine found that somebody else holds the lock")
        others = [it for it in self.machines if it != name and self.state(it) == MachineState.ACTIVE]
        if others and self.state(name) != MachineState.DRAINING:
            raise Violation(f"{name} is installed while it is in service")
        self.touched.add(name)


class FakeMachines:
    """The seam `Machines` for one operator."""

    def __init__(self, world: World, store: Client, lock: ClusterLock) -> None:
        self._world = world
        self._scheduler = world.scheduler
        self._store = store
        self._lock = lock
        self._cancelled = world.scheduler.event()

    def names(self) -> Sequence[str]:
        return list(self._world.machines)

    def preflight(self, names: Sequence[str], release: Release | None) -> Preflight:
        del release
        self._scheduler.step(0.1)
        down = {name: HostUnreachable(name, "no route") for name in self.names() if not self._world.machines[name].up}
        if down:
            raise HostsFailed("The preflight", down, len(names))
        found = states(self._store)
        seen = tuple(self._seen(self._world.settle(name), found[name]) for name in names)
        return Preflight(seen, tuple(self._world.members), self._world.away)

    def _seen(self, machine: FakeMachine, state: str) -> Found:
        if machine.runs != machine.good:
            return Found(machine.name, machine.good, "its last install did not succeed")
        return Found(machine.name, machine.good, "" if state == MachineState.ACTIVE else f"it is {state}")

    def troubles(self) -> Mapping[str, str]:
        found = {name: f"it is {state}" for name, state in states(self._store).items() if state != MachineState.ACTIVE}
        return found | {name: "its router is gone" for name, it in self._world.machines.items() if not it.up}

    def prepare(self, name: str, release: Release) -> None:
        del release
        self._work(name, 5)

    def drain(self, name: str) -> None:
        take_out(self._store, self._lock, name, lambda _: self._work(name, 10))

    def install(self, name: str, release: Release) -> None:
        self._check_lock()
        machine = self._reached(name)
        if machine.runs != release and (machine.installing is None or machine.installing[0] != release):
            self._world.check_install(name, self._lock)
            machine.runs, machine.installing = HALF, (release, self._scheduler.now + self._seconds(60))
        while machine.installing:
            self._work(name, 3)
            self._world.settle(name)

    def check(self, name: str, release: Release) -> None:
        self._work(name, 2)
        machine = self._world.settle(name)
        if machine.runs != release:
            raise Unhealthy(f"{name}: it runs {machine.runs.image}")
        if self._world.is_bad(name):
            raise Unhealthy(f"{name}: web does not pass its check")

    def undrain(self, name: str) -> None:
        set_state(self._store, self._lock, name, MachineState.ACTIVE)

    def clean_up(self, name: str, keep: Sequence[Release]) -> None:
        del keep
        self._work(name, 1)

    def cancel(self) -> None:
        self._cancelled.set()

    def _seconds(self, most: float) -> float:
        return self._scheduler.random.random() * most

    def _check_lock(self) -> None:
        """Whoever passes the check holds the lock, unless somebody has just broken it."""
        self._lock.check()
        if self._world.holder() != self._lock.id and self._lock.id not in self._world.broken:
            raise Violation("somebody thinks that they hold the lock, and do not")

    def _work(self, name: str, most_seconds: float) -> None:
        """Be busy on the machine for up to so long."""
        self._check_lock()
        self._reached(name)
        if self._cancelled.wait(self._seconds(most_seconds)):
            raise HostUnreachable(name, "cancelled")
        self._reached(name)

    def _reached(self, name: str) -> FakeMachine:
        self._scheduler.step(0.01)
        machine = self._world.settle(name)
        if not machine.up:
            raise HostUnreachable(name, "no route")
        return machine


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


def operate(
    world: World, name: str, command: Callable[[Operator], object], client: Client, skew_seconds: float = 0
) -> tuple[Process, Result]:
    """Let an operator begin the command, in a process of its own."""
    process, result = Process(name), Result()
    clock = SimulatedClock(world.scheduler, process, skew_seconds)

    def main() -> None:
        try:
            with held(client, "a task", ttl_seconds=TTL_SECONDS, clock=clock, who=Who(name, "host")) as lock:
                world.locks[name] = lock.id
                machines = FakeMachines(world, client, lock)
                command(Operator(client, lock, machines, _ignore, clock, lambda: NEW, lambda _: "", max_parallel=3))
        except ArgosyError as error:
            result.error = error
        except KeyboardInterrupt:
            result.error = Interrupted("Ctrl-C")
        result.ended = True
        # A process that ends takes its threads with it.
        world.scheduler.kill(process)

    world.scheduler.spawn(process, "main", main)
    return process, result


def _ignore(_: Told) -> None:
    """Nobody looks."""


def break_lock(world: World, client: Client) -> None:
    world.broken.add(world.holder())
    try:
        cluster_lock.break_(client)
    except ArgosyError:
        return
