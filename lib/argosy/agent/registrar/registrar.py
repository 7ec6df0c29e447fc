"""Registers the instances that run on this machine in etcd, each as long as it is healthy.

One thread decides and writes. It hears of Docker (`Follower`), of checks (`Checker`), of etcd (the mirror, the lease),
of the router (`Forwards`) and of requests, each by a word in its queue; everything that waits there is taken in at once
and followed by one transaction. So what is to go goes with the next one, however much else there is to do.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from argosy.agent.lease import Lease
from argosy.agent.log import Trouble, log
from argosy.agent.mirror import Batch, Mirror
from argosy.agent.registrar.checker import Checker
from argosy.agent.registrar.checks import Checks
from argosy.agent.registrar.deregistered import read_left, write_left
from argosy.agent.registrar.follower import Follower
from argosy.agent.registrar.forwards import Forwards
from argosy.agent.registrar.instances import Instances
from argosy.agent.registrar.messages import EngineLost, Happened, Inspected, Listed
from argosy.agent.registrar.registered import Holdings, MirroredKeys, seen
from argosy.agent.registrar.roster import Member, Roster
from argosy.agent.registrar.verdicts import Probe, Verdict
from argosy.engine.running import MachineContainers
from argosy.errors import EtcdError
from argosy.etcd.client import Etcd
from argosy.etcd.values import Compare
from argosy.schema import Problem, service_key, service_of
from argosy.schema.instances import Wanted, Write, guards, plan, plan_generations
from argosy.schema.labels import SERVICE

_log = log("registrar")

TICK_SECONDS = 5.0
RETRY_SECONDS = 0.5
"""Between two writes that etcd refuses."""


@dataclass(frozen=True, slots=True)
class _Judged:
    run: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class _Leased:
    lease: int


@dataclass(slots=True, eq=False)
class Leave:
    """A request that a container be taken out. `done` is set when it is: `known` says whether it is an instance at all,
    `revision` when it went (0: it wasn't registered since the agent knows it)."""

    container: str
    done: threading.Event = field(default_factory=threading.Event)
    known: bool = False
    revision: int = 0


class _Wake:
    """Nothing but a reason to look again."""


class _End:
    """The last word."""


class Registrar:
    """What its thread finds may be read by others: `problems`, `states`, `failure`."""

    def __init__(
        self,
        machine: str,
        address: str,
        *,
        store: Etcd,
        mirror: Mirror,
        lease: Lease,
        containers: MachineContainers,
        forwards: Forwards,
        state: Path,
        check_seconds: float = 2.0,
        tick_seconds: float = TICK_SECONDS,
    ) -> None:
        """`machine`, `address`: our own; `state`: the folder of what is remembered over a restart; `check_seconds`:
        between two checks of an instance whose labels don't say it; `tick_seconds`: what others did to our keys is put
        right by then."""
        self._store = store
        self._mirror = mirror
        self._lease_holder = lease
        self._tick_seconds = tick_seconds
        self._left_path = state / "left.json"
        self._queue: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._roster = Roster(address, check_seconds, read_left(self._left_path))
        self._left = dict(self._roster.left)
        self._holdings = Holdings(machine)
        self._forwards = forwards
        self._instances = Instances(machine, address, self._roster, self._holdings, forwards)
        self._checks = Checks(containers)
        self._checker = Checker(self._checks.check, lambda run, verdict: self._queue.put(_Judged(run, verdict)))
        self._follower = Follower(containers, SERVICE, self._queue.put)
        self._checked: dict[str, Probe] = {}
        self._leaves: list[Leave] = []
        self._lease = 0
        self._listed = self._ready = False
        self._retry_at = 0.0
        self._subscribers: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name="registrar", daemon=True)
        self.problems: tuple[Problem, ...] = ()
        """What is wrong with this machine's containers and its Docker."""
        self.states: list[dict[str, str]] = []
        """The containers that are instances, for people."""
        self.failure = ""
        """Why the registrar has ended, empty while it works."""
        self.engine_trouble = Trouble(_log, "Docker answers again")
        self.etcd_trouble = Trouble(_log, "etcd takes registrations again")

    def start(self) -> None:
        self._mirror.subscribe(self._see)
        self._lease_holder.subscribe(lambda lease: self._queue.put(_Leased(lease)))
        self._forwards.subscribe(lambda: self._queue.put(_Wake()))
        self._thread.start()
        self._follower.start()

    def stop(self) -> None:
        """Leave everything in etcd as it is: the next agent continues with it."""
        self._follower.stop()
        self._queue.put(_End())
        self._thread.join()
        self._checker.stop()

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call `callback`, which must be quick, whenever `problems` has changed."""
        self._subscribers.append(callback)

    def ask_to_leave(self, container: str) -> Leave:
        """Take a container (by name or id) out of etcd until it is started anew; any thread may."""
        leave = Leave(container)
        self._queue.put(leave)
        return leave

    # Hearing

    def _see(self, batch: Batch) -> None:
        """Called by the mirror, whose entries stand still meanwhile."""
        found = seen(self._holdings.machine, batch.revision, batch.changed, self._mirror.entries, batch.full)
        if found is not None:
            self._queue.put(found)

    def _run(self) -> None:
        try:
            while self._hear():
                self._follow_up()
        except BaseException as error:
            self.failure = f"the registrar has ended: {type(error).__name__}: {error}"
            raise

    def _hear(self) -> bool:
        """Wait for a word and take in all that are there; return whether to continue."""
        left = self._retry_at - time.monotonic() if self._retry_at else self._tick_seconds
        try:
            words = [self._queue.get(timeout=max(0.0, left))]
        except queue.Empty:
            return True
        while not self._queue.empty():
            words.append(self._queue.get())
        for word in words:
            self._take(word)
        return not any(isinstance(word, _End) for word in words)

    def _take(self, word: object) -> None:
        match word:
            case Happened():
                self._roster.happened(word)
            case Inspected():
                self._take_inspected(word)
            case Listed():
                self._roster.listed(word)
                self._listed = True
                self.engine_trouble.clear()
            case EngineLost(reason):
                self._roster.lost()
                self.engine_trouble.set(f"{reason}; what is registered stays so as long as it takes connections")
            case _Judged(run, verdict):
                self._roster.judged(run, verdict)
            case MirroredKeys():
                self._holdings.take(word)
                self._retry_at = 0.0
            case _Leased(lease):
                if self._lease:
                    self._instances.lease_lost()
                self._lease = lease
                self._retry_at = 0.0
            case Leave():
                self._leaves.append(word)

    def _take_inspected(self, word: Inspected) -> None:
        before = self._roster.members.get(word.id)
        self._roster.inspected(word)
        after = self._roster.members.get(word.id)
        if before and after and before.container.name != after.container.name:
            self._forwards.rename(before.container.name, after.container.name)

    # Doing

    def _follow_up(self) -> None:
        if self._listed and self._holdings.known and not self._ready:
            self._instances.adopt()
            self._ready = True
        leaving = self._begin_leaves()
        self._keep_checking()
        self._instances.ensure_forwards()
        if self._write() and self._ready:
            self._instances.release_forwards()
            for leave, member in leaving:
                self._leaves.remove(leave)
                leave.revision = member.left_revision
                leave.done.set()
        if self._left != self._roster.left:
            self._left = dict(self._roster.left)
            write_left(self._left_path, self._left)
        self._tell()

    def _begin_leaves(self) -> list[tuple[Leave, Member]]:
        """Mark the containers that are asked to leave, and answer at once for those that are none of ours."""
        found = []
        for leave in list(self._leaves) if self._ready else ():
            member = self._roster.find(leave.container)
            if member is None:
                self._leaves.remove(leave)
                leave.done.set()
            else:
                leave.known = True
                self._roster.leave(member)
                found.append((leave, member))
        return found

    def _keep_checking(self) -> None:
        """Let exactly those be checked that may serve if they pass."""
        members = [member for member in self._roster.members.values() if self._ready and self._roster.is_up(member)]
        probes = {member.run: self._roster.probe(member) for member in members}
        for run in [run for run in self._checked if probes.get(run) is None]:
            del self._checked[run]
            self._checker.forget(run)
            self._checks.forget(run.partition("/")[0])
        for member in members:
            probe = probes[member.run]
            if probe is not None and self._checked.get(member.run) != probe:
                self._checked[member.run] = probe
                self._checker.watch(member.run, probe, member.verdict)

    def _write(self) -> bool:
        """Bring etcd's keys to what they must be; return whether they are.

        Not before Docker was listed: nobody knows then what is gone. A machine that drains has nothing in any case, but
        for the services that stay there.
        What depends on the weight of a generation that the mirror is late with is left until it tells.
        """
        drained = self._holdings.known and not self._holdings.active
        if self._retry_at > time.monotonic() or not (self._ready or drained):
            return False
        wanted = self._instances.wanted()
        late: set[str] = set()
        try:
            present = self._holdings.present if self._ready else self._holdings.leaving()
            situation = present, list(wanted.values()), self._lease, self._schemes(wanted)
            for writes in plan(*situation):
                self._do(writes, [])
            for writes in plan_generations(*situation):
                if not self._do(writes, guards(writes, wanted.values())):
                    late |= {service_of(write.key) for write in writes}
        except EtcdError as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self.etcd_trouble.set(f"registrations can't be written, and are tried again: {error}")
            return False
        self._retry_at = 0.0
        self.etcd_trouble.clear()
        self._instances.settled(wanted, leased=bool(self._lease), late=late)
        return True

    def _do(self, writes: Sequence[Write], conditions: Sequence[Compare]) -> bool:
        """Write, and return whether the conditions held."""
        done = self._store.transact(conditions, writes)
        if done.succeeded:
            for line in self._instances.wrote(writes, done.revision):
                _log.info("%s", line)
        return done.succeeded

    def _schemes(self, wanted: dict[str, Wanted]) -> set[str]:
        """Return the services that have a scheme in etcd."""
        keys = {service_key(want.registration.service, "scheme"): want.registration.service for want in wanted.values()}
        _, missing = self._mirror.current(keys)
        return {name for key, name in keys.items() if key not in missing or self._holdings.has_written(key)}

    def _tell(self) -> None:
        """Let others know what is wrong, and the journal once."""
        told = self._instances.problems(time.monotonic())
        for problem in told:
            if problem not in self.problems:
                _log.warning("%s", problem)
        if self.engine_trouble.reason:
            told.append(Problem("", "docker", self.engine_trouble.reason))
        before, self.problems = self.problems, tuple(told)
        self.states = self._instances.states()
        if self.problems != before:
            for callback in self._subscribers:
                callback()
