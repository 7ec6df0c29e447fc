"""A cluster in memory whose machines are upgraded, and what must be true of it at every moment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from fake_etcd import Client
from scheduler import Process, Scheduler
from world import TTL_SECONDS, SimulatedClock, Violation, World

from argosy.cluster.change import State
from argosy.cluster.journal import ROLLOUT
from argosy.cluster.lock import ClusterLock
from argosy.cluster.opening import OpenCluster
from argosy.cluster.release import Release
from argosy.config.loading import load
from argosy.draining.machine import set_state, states, take_out
from argosy.errors import HostsFailed, HostUnreachable, LockLost, Unhealthy
from argosy.etcd import Entry, Etcd, Put
from argosy.model import MachineState
from argosy.rollouts.interfaces import Operator
from argosy.rollouts.journal import ROLLOUTS
from argosy.rollouts.plan import Findings, Found
from argosy.rollouts.record import Rollout, RolloutStep, parse_rollout
from argosy.schema import MACHINES, machine_key

SETTINGS = load({"clusters": {"test": {}}})
OLD, NEW = Release("0.1.2", "old"), Release("0.1.3", "new")
HALF = Release("", "half")
STALL_SECONDS = 26
"""So long a process may stand still between a look and a write, and hold the lock still."""


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


class RolloutWorld(World[Operator]):
    """`bad`: the machines on which the new release never becomes healthy. `touched`: those that were installed on;
    `finished`: the records of rollouts that ended; `leftovers`: what is out of service since an earlier one."""

    def __init__(self, scheduler: Scheduler, size: int, running_etcd: int, bad: frozenset[str] = frozenset()) -> None:
        super().__init__(scheduler)
        self.size = size
        self.bad = bad
        self.touched: set[str] = set()
        self.finished: list[Rollout] = []
        self.leftovers: set[str] = set()
        names = [f"air-{number:02}" for number in range(1, size + 1)]
        self.machines: dict[str, FakeMachine] = {
            name: FakeMachine(name, member=number < running_etcd) for number, name in enumerate(names)
        }
        for name in names:
            record = json.dumps({"address": "10.0.0.1", "release": OLD.version, "state": "active"})
            self.etcd.transact("world", [], [Put(machine_key(name), record)])
        self.etcd.on_write = self.written

    def operator(self, process: Process, client: Client, lock: ClusterLock, clock: SimulatedClock) -> Operator:
        del process
        return Operator(
            work=OpenCluster(SETTINGS, store=cast(Etcd, client), lock=lock, clock=clock),
            machines=FakeMachines(self, client, lock),
            events=lambda _: None,
            newest=lambda: NEW,
            closed=lambda _: "",
            max_parallel=3,
        )

    @property
    def members(self) -> list[str]:
        return [machine.name for machine in self.machines.values() if machine.member]

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

    def written(self, who: str, before: Entry | None, after: Entry | None) -> None:
        key = (after or before).key  # type: ignore[union-attr]
        self.check_lock(who, key)
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
                machine.name
                for machine in self.machines.values()
                if not machine.up and machine.since < self.scheduler.now - TTL_SECONDS
            ]
            if gone and gone != [name]:
                raise Violation(f"{name} is drained while {gone} have been gone for long")
        self.leftovers &= set(out)
        fresh = [name for name in out if name not in self.leftovers]
        entry = self.etcd.get(ROLLOUT)
        if entry is None or name not in fresh:
            return
        order = parse_rollout(entry.value).order
        if not any(set(fresh) <= set(batch) for batch in order):
            raise Violation(f"of two batches at once: {fresh}, the order is {order}")
        if sum(self.machines[name].member for name in fresh) > self.away:
            raise Violation(f"more members of etcd than may be away: {fresh}")
        if self.size > 1 and len(out) == self.size:
            raise Violation("nobody is left in service")

    def check_end(self, rollout: Rollout) -> None:
        """See that the machines are what a record says that is put aside."""
        for name, progress in rollout.machines.items():
            machine = self.settle(name)
            in_service = self.state(name) == MachineState.ACTIVE
            if rollout.state is State.ABORTED:
                fine = in_service or progress.installed or not progress.touched or name in self.leftovers
            elif rollout.back and progress.step is RolloutStep.PENDING:
                fine = (in_service and machine.runs == progress.origin) or name in self.leftovers
            else:
                fine = in_service and machine.runs == rollout.target(name)
            if not fine:
                raise Violation(
                    f"{rollout.state}, but {name} ({progress.step}) runs {machine.runs}, in service: {in_service}"
                )

    def check_install(self, name: str, lock: ClusterLock) -> None:
        """Do what the machine itself does: ask etcd whether who commands it holds the lock."""
        if self.holder() != lock.holder.id:
            raise LockLost("the machine found that somebody else holds the lock")
        others = [
            machine for machine in self.machines if machine != name and self.state(machine) == MachineState.ACTIVE
        ]
        if others and self.state(name) != MachineState.DRAINING:
            raise Violation(f"{name} is installed while it is in service")
        self.touched.add(name)


class FakeMachines:
    """The interface `Machines` for one operator."""

    def __init__(self, world: RolloutWorld, store: Client, lock: ClusterLock) -> None:
        self._world = world
        self._scheduler = world.scheduler
        self._store = store
        self._lock = lock
        self._cancelled = world.scheduler.event()

    def names(self) -> Sequence[str]:
        return list(self._world.machines)

    def inspect(self, names: Sequence[str], release: Release | None) -> Findings:
        del release
        self._scheduler.step(0.1)
        down = {name: HostUnreachable(name, "no route") for name in self.names() if not self._world.machines[name].up}
        if down:
            raise HostsFailed("The preflight", down, len(names))
        found = states(self._store)
        seen = tuple(self._seen(self._world.settle(name), found[name]) for name in names)
        return Findings(seen, tuple(self._world.members), self._world.away)

    def _seen(self, machine: FakeMachine, state: str) -> Found:
        if machine.runs != machine.good:
            return Found(machine.name, machine.good, "its last install did not succeed")
        return Found(machine.name, machine.good, "" if state == MachineState.ACTIVE else f"it is {state}")

    def troubles(self) -> Mapping[str, str]:
        found = {name: f"it is {state}" for name, state in states(self._store).items() if state != MachineState.ACTIVE}
        return found | {name: "its router is gone" for name, machine in self._world.machines.items() if not machine.up}

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
        if self._world.holder() != self._lock.holder.id and self._lock.holder.id not in self._world.broken:
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
