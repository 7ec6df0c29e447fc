"""Move the instances of scheduled services off a machine that is taken out of service, and let it take some again.

    evacuation = Evacuation(cluster)
    evacuation.evacuate(host)   # others serve elsewhere, and no router sends anything to those here any more
    ...                         # the machine itself is taken out of service
    evacuation.finish(host)     # Swarm ends what is here
    evacuation.readmit(host)    # the machine takes instances again
    evacuation.give_back(host)  # once it serves: where volumes kept the machine from being emptied

Each may be cut off at any moment and done again: see `argosy.services.evacuation.plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from argosy.cluster.opening import OpenCluster
from argosy.engine.swarm_model import ACTIVE, DRAIN, PAUSE, Task
from argosy.errors import DeadlineExceeded, Unhealthy
from argosy.etcd import Delete
from argosy.schema import drain_key
from argosy.services.applying import STOP_SECONDS, Executor, settle_homes
from argosy.services.evacuation import plan
from argosy.services.evacuation.plan import Move, Moves
from argosy.services.serving import Failures, Gates
from argosy.services.state import Running, ServicesState, machine_of
from argosy.services.waiting import QUIET_SECONDS, Waiter
from argosy.services.work import ServicesCluster, working
from argosy.ssh.host import Host
from argosy.swarm.managing import info_of

HOMELESS_SECONDS = 5.0
"""How long Swarm may take to place an instance before we believe that there is no place."""
PLACING_SECONDS = 3.0
"""How long Swarm may take to place an instance that has a place now, and to stop one that is too many."""
RESTART_SECONDS = 3.0
"""Longer than Swarm waits before it starts an instance anew, unless restart.delay_seconds says otherwise."""
SILENT = float("inf")


class Evacuation:
    """Does nothing where there is no Swarm. `report`: told what is waited for and what could not be."""

    def __init__(self, cluster: OpenCluster) -> None:
        self._cluster = cluster

    def evacuate(self, host: Host, *, for_good: bool = False) -> list[str]:
        """Let others serve elsewhere for the instances on the machine, which takes no more of them. Idempotent.

        What has its volumes there stays and serves on, unless the machine goes `for_good`; the names of these services
        are returned. Then all routers let go of the others here, and what is open to them ends, or its time
        (rollout.drain_seconds) is over. Where Swarm finds no place, that is told, and not waited for. Raises Unhealthy
        when new instances fail or do not serve in time, and what reaching the Swarm does.
        """
        node = self._node_of(host)
        if not node:
            return []
        with working(self._cluster) as work:
            if work.swarm.node(node).availability == ACTIVE:
                work.swarm.update_node(node, availability=PAUSE)
            if not for_good:
                settle_homes(work)
            stay = [] if for_good else plan.staying(work.look(), host.name)
            if stay:
                work.report(host.name, f"{', '.join(stay)} stays there, with its volumes")
            moves = plan.plan_moves(work.look(), host.name, stay)
            for move in moves:
                self._cluster.report(host.name, str(move))
                change_moves(work, move.name, move.generation, partial(plan.with_move, host.name, move.count))
            if moves:
                _wait_until_moved(work, host.name, moves)
            for name, ids in plan.registered_on(work.look(), host.name, stay).items():
                Executor(work, name).withdraw(ids)
            return stay

    def finish(self, host: Host, *, for_good: bool = False) -> None:
        """Let Swarm end what is on the machine, which serves nobody any more, and give each service its own number of
        instances back. Idempotent. Where something stays all runs on, since Swarm can't end a part of it."""
        node = self._node_of(host)
        if not node:
            return
        with working(self._cluster) as work:
            if not for_good and plan.staying(work.look(), host.name):
                return

            def wait(what: str, done: Callable[[Task], bool], seconds: float) -> None:
                _wait_for_tasks(work, (host.name, what), lambda: work.swarm.tasks(node_id=node), done, seconds)

            work.swarm.update_node(node, availability=DRAIN)
            # Before that it might end others than those here, to get down to the number.
            wait("told to end", lambda task: task.over or not task.wanted, STOP_SECONDS)
            _give_back(work, host.name)
            grace = max((running.service.grace_seconds for _, running in work.look().running()), default=0.0)
            wait("ended", lambda task: task.over, grace + STOP_SECONDS)
            _restore(work, host.name)
            even_out(work)

    def readmit(self, host: Host) -> None:
        """Let the machine take instances again. Idempotent; what was moved off it stays where it is.

        Where something stayed, the others there serve again soon: until then none is ended (see `give_back`).
        """
        node = self._node_of(host)
        if not node:
            return
        with working(self._cluster) as work:
            work.swarm.update_node(node, availability=ACTIVE)
            if plan.staying(work.look(), host.name):
                _restore(work, host.name)
            else:
                _end_moves(work, host.name)

    def give_back(self, host: Host) -> None:
        """Give each service its own number of instances back, once the machine serves. Idempotent."""
        if self._node_of(host):
            with working(self._cluster) as work:
                if _give_back(work, host.name):
                    even_out(work, changed=True)

    def unsettled(self, states: Mapping[str, str]) -> list[str]:
        """Return what `settle` would do, a line each. Changes nothing."""
        with working(self._cluster) as work:
            return plan.settling(work.look(), states)

    def settle(self, states: Mapping[str, str]) -> list[str]:
        """Put right what a drain left behind that was killed and not resumed, and return what was done.

        `states`: of the machines, by name.
        """
        with working(self._cluster) as work:
            state = work.look()
            for line in plan.settling(state, states):
                self._cluster.report("swarm", line)
            for node in plan.closed_nodes(state, states):
                work.swarm.update_node(node, availability=ACTIVE)
                _restore(work, machine_of(node))
            behind = plan.left_behind(state, states)
            for name, number, machines in behind:
                change_moves(work, name, number, partial(plan.without, machines))
            even_out(work, bool(behind))
            settle_homes(work)
            return plan.settling(state, states)

    def _node_of(self, host: Host) -> str:
        """Return the machine's id in Swarm; empty where it is in none."""
        return info_of(host).node_id if self._cluster.settings.swarm.enabled else ""


def _wait_until_moved(work: ServicesCluster, machine: str, moves: Sequence[Move]) -> None:
    """Wait until as many as needed serve elsewhere, but for those for which Swarm finds no place. Raises Unhealthy."""
    failures = {move: Failures() for move in moves}
    homeless_since: dict[Move, float] = {}
    given_up: set[Move] = set()

    def serving(state: ServicesState, move: Move) -> str:
        """Return why a move is not done; empty when it is, or is not waited for."""
        found, now = plan.progress(state, move, machine), work.clock.elapsed()
        if running := state.of(move.name).generations.get(move.generation):
            failures[move].look(running)
        if found.serving >= move.needed or move in given_up:
            return ""
        if not found.homeless:
            homeless_since.pop(move, None)
        elif now - homeless_since.setdefault(move, now) >= HOMELESS_SECONDS:
            given_up.add(move)
            reason = f"Swarm finds no place for {move.name} elsewhere ({found.homeless}): continuing without it"
            work.report(machine, reason)
            if not found.serving:
                work.report(machine, f"no instance of {move.name} is left while {machine} is away")
            return ""
        if failures[move].often():
            raise Unhealthy(f"{machine}: new instances of {move.name} fail elsewhere: see inv service.show {move.name}")
        return f"{found.serving} of {move.needed} serve elsewhere"

    def look() -> Gates:
        state = work.look()
        return {(machine, f"{move.name}-{move.generation}"): serving(state, move) for move in moves}

    records = [record for move in moves if (record := work.look().of(move.name).record)]
    seconds = max((record.definition.update.deadline_seconds for record in records), default=0.0)
    if reason := Waiter(work, "swarm").wait(look, seconds):
        raise Unhealthy(f"{reason}, and no more in the time that they have (update.deadline_seconds)")


def _give_back(work: ServicesCluster, machine: str) -> bool:
    """Let nothing be moved off the machine any more, and return whether something was."""
    moved = [each for each in work.look().running() if machine in plan.moving(each[1].service)]
    for service, running in moved:
        change_moves(work, service.name, running.number, partial(plan.without, (machine,)))
    return bool(moved)


def _end_moves(work: ServicesCluster, machine: str) -> None:
    changed = _give_back(work, machine)
    _restore(work, machine)
    even_out(work, changed)


def _restore(work: ServicesCluster, machine: str) -> None:
    """Remove the marks that its instances, of which some may run still, get no requests."""
    services = work.look().services.values()
    marks = [
        Delete(drain_key(service.name, id))
        for service in services
        for id in service.withdrawn
        if id.startswith(f"{machine}:")
    ]
    if marks:
        work.holding.write(marks)


# Give services of Swarm another number of instances; what Swarm will stop for that is out of every router by then


def change_moves(work: ServicesCluster, name: str, number: int, change: Callable[[Moves], Moves]) -> None:
    """Let what `change` makes of a generation's moves be under way, and no others."""
    executor = Executor(work, name)

    def attempt() -> None:
        service = work.look().of(name)
        running = service.generations.get(number)
        spec = plan.spec_with(service, running, change(plan.moving(running.service))) if running else None
        if running and spec:
            replicas = spec["Mode"]["Replicated"]["Replicas"]
            _stop_some(work, name, running, replicas, lambda: executor.update(running.service, spec))

    executor.change(attempt)


def even_out(work: ServicesCluster, changed: bool = False) -> None:
    """Let Swarm have as many instances as it must have, where it has lost count of them in all these changes.

    `changed`: a moment ago, so that it is only to be seen when Swarm starts what it waits to restart.
    """
    if changed:
        work.holding.pause(RESTART_SECONDS)
    before = plan.miscounted(work.look())

    def look() -> Gates:
        return {("", name): f"generation {number} is miscounted" for name, number in plan.miscounted(work.look())}

    Waiter(work, "swarm").wait(look, PLACING_SECONDS, SILENT)
    for key, running in plan.miscounted(work.look()).items():
        if key in before:
            _put_right(work, key[0], before[key], running)


def _put_right(work: ServicesCluster, name: str, before: Running, now: Running) -> None:
    service, executor = now.service, Executor(work, name)
    replicas = service.replicas or 0
    if plan.surplus(before) and plan.surplus(now):
        work.report(name, f"Swarm runs {plan.surplus(now)} more than it must: told again")
        _stop_some(work, name, now, replicas, lambda: executor.touch(service))
    if still := len(plan.unplaced(before) & plan.unplaced(now)):
        work.report(name, f"{still} found no place before: started anew")
        # One less, which is one that does not run, and one more again, is another one.
        executor.scale(now.number, replicas - still)
        executor.scale(now.number, replicas)


def _stop_some(work: ServicesCluster, name: str, running: Running, replicas: int, change: Callable[[], None]) -> None:
    """Make a change by which Swarm stops all but `replicas` instances. They get no requests then, until they have
    ended."""
    stopping = [instance for instance in running.instances_to_stop(replicas) if instance.registered]
    if not stopping:
        change()
        return
    ids, tasks = [instance.id for instance in stopping], {instance.task.id for instance in stopping}
    Executor(work, name).withdraw(ids)
    change()
    left, seconds = partial(work.swarm.tasks, running.service.id), running.service.grace_seconds + STOP_SECONDS
    _wait_for_tasks(work, (name, "ended"), left, lambda task: task.over or task.id not in tasks, seconds)
    work.holding.write([Delete(drain_key(name, id)) for id in ids])


def _wait_for_tasks(
    work: ServicesCluster,
    check: tuple[str, str],
    tasks: Callable[[], Iterable[Task]],
    done: Callable[[Task], bool],
    seconds: float,
) -> None:
    """Wait until all tasks are `done`. Raises DeadlineExceeded."""

    def look() -> Gates:
        left = sum(not done(task) for task in tasks())
        return {check: f"{left} instances are not yet" if left else ""}

    Waiter(work, "swarm").require(look, seconds, QUIET_SECONDS, DeadlineExceeded)
