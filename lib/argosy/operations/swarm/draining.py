"""Move the instances of scheduled services off a machine that is taken out of service, and let it take some again.

    moving = Moving(settings, hosts, store, lock, report, clock)
    moving.move_off(host)     # others serve elsewhere, and no router sends anything to those here any more
    ...                       # the machine itself is taken out of service
    moving.clear(host)        # Swarm ends what is here
    moving.take_back(host)    # the machine takes instances again

Each may be cut off at any moment and done again: see `argosy.swarm_drain`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from argosy.config import Settings
from argosy.console import Report
from argosy.discovery_report import applied_revisions
from argosy.errors import Unhealthy
from argosy.etcd import Delete, Etcd
from argosy.host import Host, Hosts
from argosy.operations.clock import Clock
from argosy.operations.cluster_lock import ClusterLock
from argosy.operations.discovery.draining import default_deadline_seconds
from argosy.operations.discovery.routers import wait_until_applied
from argosy.operations.service.applying import withdraw
from argosy.operations.service.updating.routers import RemoteRouters
from argosy.operations.service.work import Work
from argosy.operations.swarm.managing import info_of, managing
from argosy.operations.swarm.numbers import (
    POLL_SECONDS,
    SHUTDOWN_SECONDS,
    change_moves,
    even_out,
    wait_for,
)
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
    with_move,
    without,
)
from argosy.swarm_model import ACTIVE, DRAIN, PAUSE, READY, RUNNING

HOMELESS_SECONDS = 5.0
"""How long Swarm may take to place an instance before we believe that there is no place."""
FAILURES = 3
"""Failed tries of new instances after which they are not waited for any longer."""


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
                change_moves(work, move.name, move.generation, partial(with_move, host.name, move.count))
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
            wait_for(
                work,
                f"{host.name}: Swarm has not begun to end the instances there",
                lambda: all(it.over or it.desired not in (RUNNING, READY) for it in work.swarm.tasks(node_id=node)),
                SHUTDOWN_SECONDS,
            )
            self._give_back(work, host.name)
            grace = max((it.service.grace_seconds for it in _every(work.look())), default=0.0)
            wait_for(
                work,
                f"{host.name}: the instances of scheduled services there have not ended",
                lambda: all(it.over for it in work.swarm.tasks(node_id=node)),
                grace + SHUTDOWN_SECONDS,
            )
            self._restore(work, host.name)
            even_out(work)

    def take_back(self, host: Host) -> None:
        """Let the machine take instances again. Idempotent; what was moved off it stays where it is."""
        node = self._node_of(host)
        if not node:
            return
        with self._work() as work:
            work.swarm.update_node(node, availability=ACTIVE)
            changed = self._give_back(work, host.name)
            self._restore(work, host.name)
            even_out(work, changed)

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
            behind = left_behind(fleet, states)
            for name, number, machines in behind:
                change_moves(work, name, number, partial(without, machines))
            even_out(work, bool(behind))
            return settling(fleet, states)

    # Waiting

    def _wait_until_moved(self, work: Work, machine: str, moves: Sequence[Move]) -> None:
        fleet = work.look()
        began, homeless_since, given_up, told = self._clock.elapsed(), dict[Move, float](), set[Move](), ""
        deadline = began + max((_deadline_seconds(fleet, move) for move in moves), default=0.0)
        old, failed = _failures(fleet), dict[str, set[str]]()
        while True:
            fleet = work.look()
            for name, tasks in _failures(fleet).items():
                failed.setdefault(name, set()).update(tasks - old.get(name, set()))
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
            failing = [it.move.name for it in open_ if len(failed[it.move.name]) >= FAILURES]
            if failing:
                shown = ", ".join(failing)
                raise Unhealthy(
                    f"{machine}: new instances of {shown} fail elsewhere: see inv service.show {failing[0]}"
                )
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

    # Services

    def _give_back(self, work: Work, machine: str) -> bool:
        """Let nothing be moved off the machine any more, and return whether something was."""
        fleet = work.look()
        generations = [
            (name, running) for name, seen in fleet.services.items() for running in seen.generations.values()
        ]
        moved = [(name, it.number) for name, it in generations if machine in moving(it.service)]
        for name, number in moved:
            change_moves(work, name, number, partial(without, (machine,)))
        return bool(moved)

    def _restore(self, work: Work, machine: str) -> None:
        """Remove the marks that its instances, of which some may run still, get no requests."""
        seen = work.look().services.items()
        marks = [
            Delete(drain_key(name, it)) for name, each in seen for it in each.withdrawn if it.startswith(f"{machine}:")
        ]
        if marks:
            self._lock.write(marks)

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


def _deadline_seconds(fleet: Fleet, move: Move) -> float:
    record = fleet.of(move.name).record
    return record.definition.update.deadline_seconds if record else 0.0


def _failures(fleet: Fleet) -> dict[str, set[str]]:
    """Return the tries of each service that have failed, of those that Swarm remembers: the last few."""
    return {
        name: {it.task.id for running in seen.generations.values() for it in running.failures()}
        for name, seen in fleet.services.items()
    }
