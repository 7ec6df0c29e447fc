"""Move the instances of scheduled services off a machine that is taken out of service, and let it take some again.

    moving = Moving(settings, hosts, store, lock, report, clock)
    moving.move_off(host)     # others serve elsewhere, and no router sends anything to those here any more
    ...                       # the machine itself is taken out of service
    moving.clear(host)        # Swarm ends what is here
    moving.take_back(host)    # the machine takes instances again

Each may be cut off at any moment and done again: see `argosy.swarm_drain`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from argosy.config import Settings
from argosy.console import Report
from argosy.discovery_report import applied_revisions
from argosy.errors import DeadlineExceeded, OutOfSequence, Unhealthy
from argosy.etcd import Delete, Etcd
from argosy.host import Host, Hosts
from argosy.operations.clock import Clock
from argosy.operations.cluster_lock import ClusterLock
from argosy.operations.discovery.draining import default_deadline_seconds
from argosy.operations.discovery.routers import wait_until_applied
from argosy.operations.service.applying import withdraw
from argosy.operations.service.imaging import registry_auth
from argosy.operations.service.updating.routers import RemoteRouters
from argosy.operations.service.work import Work
from argosy.operations.swarm.managing import info_of, managing
from argosy.scheduled_record import ServiceImage
from argosy.scheduled_state import Fleet, Running, machine_of
from argosy.schema import ROUTERS, drain_key
from argosy.swarm_drain import (
    Move,
    Progress,
    closed_nodes,
    left_behind,
    moving,
    plan_moves,
    progress,
    registered_on,
    settling,
    spec_moving,
    surplus,
)
from argosy.swarm_model import ACTIVE, DRAIN, PAUSE, READY, RUNNING

POLL_SECONDS = 0.25
HOMELESS_SECONDS = 5.0
"""How long Swarm may take to place an instance before we believe that there is no place."""
SHUTDOWN_SECONDS = 30.0
"""How long Swarm may take to decide what it ends on a drained machine; and what ends may take beyond its grace."""
FAILURES = 3
TRIES = 10
"""Of a change of a service that others change, too."""
NANOSECONDS = 1e9


class Moving:
    """Does nothing where there is no Swarm. `report`: told what is waited for and what could not be."""

    def __init__(
        self, settings: Settings, hosts: Hosts, store: Etcd, lock: ClusterLock | None, report: Report, clock: Clock
    ) -> None:
        """`lock`: None where nothing is changed."""
        self._settings = settings
        self._hosts = hosts
        self._store = store
        self._held = lock
        self._report = report
        self._clock = clock

    def move_off(self, host: Host) -> None:
        """Let others serve elsewhere for the instances on the machine, which takes no more of them. Idempotent.

        Then all routers let go of those here, and what is open to them ends, or its time (rollout.drain_seconds) is
        over. Where Swarm finds no place, that is told, and not waited for. Raises Unhealthy when new instances fail or
        do not serve in time, and what reaching the Swarm does.
        """
        node = self._node_of(host)
        if not node:
            return
        with self._work() as work:
            if work.swarm.node(node).availability == ACTIVE:
                work.swarm.update_node(node, availability=PAUSE)
            moves = plan_moves(work.look(), host.name)
            for move in moves:
                self._report(host.name, str(move))
                self._change(work, move.name, move.generation, {host.name: move.count})
            if moves:
                self._wait_until_moved(work, host.name, moves)
            for name, ids in registered_on(work.look(), host.name).items():
                withdraw(work, name, ids)

    def clear(self, host: Host) -> None:
        """Let Swarm end what is on the machine, which serves nobody any more, and give each service its own number of
        instances back. Idempotent."""
        node = self._node_of(host)
        if not node:
            return
        with self._work() as work:
            work.swarm.update_node(node, availability=DRAIN)
            # Before that it might end others than those here, to get down to the number.
            self._wait_for(
                f"{host.name}: Swarm has not begun to end the instances there",
                lambda: all(it.over or it.desired not in (RUNNING, READY) for it in work.swarm.tasks(node_id=node)),
                SHUTDOWN_SECONDS,
            )
            self._give_back(work, host.name)
            grace = max((_grace_seconds(it) for it in _every(work.look())), default=0.0)
            self._wait_for(
                f"{host.name}: the instances of scheduled services there have not ended",
                lambda: all(it.over for it in work.swarm.tasks(node_id=node)),
                grace + SHUTDOWN_SECONDS,
            )
            self._restore(work, host.name)

    def take_back(self, host: Host) -> None:
        """Let the machine take instances again. Idempotent; what was moved off it stays where it is."""
        node = self._node_of(host)
        if not node:
            return
        with self._work() as work:
            work.swarm.update_node(node, availability=ACTIVE)
            self._give_back(work, host.name)
            self._restore(work, host.name)

    def unsettled(self, states: Mapping[str, str]) -> list[str]:
        """Return what `settle` would do, a line each. Changes nothing."""
        with self._work() as work:
            return settling(work.look(), states)

    def settle(self, states: Mapping[str, str]) -> list[str]:
        """Put right what a drain left behind that was killed and not gone on with, and return what was done.

        `states`: of the machines, by name.
        """
        with self._work() as work:
            fleet = work.look()
            for line in settling(fleet, states):
                self._report("swarm", line)
            for node in closed_nodes(fleet, states):
                work.swarm.update_node(node, availability=ACTIVE)
                self._restore(work, machine_of(node))
            for name, number, machines in left_behind(fleet, states):
                self._change(work, name, number, dict.fromkeys(machines, 0))
            return settling(fleet, states)

    # Waiting

    def _wait_until_moved(self, work: Work, machine: str, moves: Sequence[Move]) -> None:
        began, homeless_since, given_up, told = self._clock.elapsed(), dict[Move, float](), set[Move](), ""
        failed_before = _failures(work.look())
        deadline = began + max((_deadline_seconds(work.look(), move) for move in moves), default=0.0)
        while True:
            fleet = work.look()
            found = {move: progress(fleet, move, machine) for move in moves}
            now = self._clock.elapsed()
            for move, it in found.items():
                if it.done or not it.homeless:
                    homeless_since.pop(move, None)
                elif now - homeless_since.setdefault(move, now) >= HOMELESS_SECONDS and move not in given_up:
                    given_up.add(move)
                    self._tell_homeless(machine, it)
            open_ = [it for it in found.values() if not it.done and it.move not in given_up]
            if not open_:
                break
            waits = "; ".join(f"{it.move.name}: {it.serving} of {it.move.needed} serve elsewhere" for it in open_)
            self._raise_if_failing(fleet, failed_before, open_, machine)
            if now >= deadline:
                raise Unhealthy(f"{machine}: {waits}, and no more in the time that they have (update.deadline_seconds)")
            if waits != told:
                self._report(machine, waits)
                told = waits
            self._lock.pause(POLL_SECONDS)
        revision = max((it.revision for it in found.values()), default=0)
        if revision:
            wait_until_applied(self._store, revision, default_deadline_seconds(self._settings))

    def _tell_homeless(self, machine: str, it: Progress) -> None:
        reason = " ".join(it.homeless.split())
        self._report(machine, f"Swarm finds no place for {it.move.name} elsewhere ({reason}): going on without it")
        if not it.serving:
            self._report(machine, f"no instance of {it.move.name} is left while {machine} is away")

    @staticmethod
    def _raise_if_failing(fleet: Fleet, before: Mapping[str, int], open_: Sequence[Progress], machine: str) -> None:
        now = _failures(fleet)
        failing = [it.move.name for it in open_ if now[it.move.name] - before.get(it.move.name, 0) >= FAILURES]
        if failing:
            raise Unhealthy(
                f"{machine}: new instances of {', '.join(failing)} fail elsewhere: see inv service.show {failing[0]}"
            )

    def _wait_for(self, what: str, done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(f"{what} after {seconds:g} s; the same again waits for it")
            self._lock.pause(POLL_SECONDS)

    # Services

    def _give_back(self, work: Work, machine: str) -> None:
        for name, seen in work.look().services.items():
            for number, running in seen.generations.items():
                if machine in moving(running.service):
                    self._change(work, name, number, {machine: 0})

    def _restore(self, work: Work, machine: str) -> None:
        """Remove the marks that its instances, of which some may run still, get no requests."""
        seen = work.look().services.items()
        marks = [
            Delete(drain_key(name, it)) for name, each in seen for it in each.withdrawn if it.startswith(f"{machine}:")
        ]
        if marks:
            self._lock.write(marks)

    def _change(self, work: Work, name: str, number: int, counts: Mapping[str, int]) -> None:
        """Let so many instances be added for each machine, on what the service is now. What Swarm will stop for that
        gets no requests any more by then."""
        for machine, count in counts.items():
            self._change_one(work, name, number, machine, count)

    def _change_one(self, work: Work, name: str, number: int, machine: str, count: int) -> None:
        for attempt in range(1, TRIES + 1):
            self._lock.check()
            seen = work.look().of(name)
            running = seen.generations.get(number)
            spec = spec_moving(seen, running, machine, count) if running else None
            if running is None or spec is None:
                return
            going = [it.id for it in surplus(running, spec, machine)]
            if going:
                withdraw(work, name, going)
            try:
                work.swarm.update_service(running.service, spec, self._auth(running))
            except OutOfSequence:
                if attempt == TRIES:
                    raise
                continue
            if going:
                self._forget_withdrawn(work, name, running, going)
            return

    def _forget_withdrawn(self, work: Work, name: str, running: Running, going: Sequence[str]) -> None:
        """Remove the marks of instances that have ended; should one not end, it serves again."""
        tasks = {it.id: it.task.id for it in running.instances}
        ending = {tasks[it] for it in going}
        self._wait_for(
            f"{name}: {', '.join(going)} have not ended",
            lambda: all(it.over for it in work.swarm.tasks(running.service.id) if it.id in ending),
            _grace_seconds(running) + SHUTDOWN_SECONDS,
        )
        self._lock.write([Delete(drain_key(name, it)) for it in going])

    def _auth(self, running: Running) -> str:
        image = running.service.spec["TaskTemplate"]["ContainerSpec"]["Image"]
        return registry_auth(self._settings, ServiceImage(image))

    # The way

    @property
    def _lock(self) -> ClusterLock:
        if self._held is None:
            raise AssertionError("a change without the cluster's lock")
        return self._held

    def _node_of(self, host: Host) -> str:
        """Return the machine's id in Swarm; empty where it is in none."""
        return info_of(host).node_id if self._settings.swarm.enabled else ""

    @contextmanager
    def _work(self) -> Iterator[Work]:
        with managing(self._settings, self._hosts) as swarm:
            yield Work(
                self._settings, self._store, swarm, self._report, self._hosts, self._routers, self._held, self._clock
            )

    def _routers(self, name: str) -> RemoteRouters:
        def live() -> list[str]:
            return list(applied_revisions(self._store.get_prefix(ROUTERS).entries))

        return RemoteRouters(self._settings, self._hosts, name, live, self._report)


def _every(fleet: Fleet) -> list[Running]:
    return [running for seen in fleet.services.values() for running in seen.generations.values()]


def _grace_seconds(running: Running) -> float:
    """Return how long its instances may take to end."""
    grace: int = running.service.spec["TaskTemplate"]["ContainerSpec"].get("StopGracePeriod", 0)
    return grace / NANOSECONDS


def _deadline_seconds(fleet: Fleet, move: Move) -> float:
    record = fleet.of(move.name).record
    return record.definition.update.deadline_seconds if record else 0.0


def _failures(fleet: Fleet) -> dict[str, int]:
    """Return how many tries of each service have failed, of those that Swarm remembers."""
    return {
        name: sum(len(running.failures()) for running in seen.generations.values())
        for name, seen in fleet.services.items()
    }
