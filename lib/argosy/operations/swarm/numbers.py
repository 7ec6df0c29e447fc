"""Give services of Swarm another number of instances, and see that Swarm keeps to it.

What Swarm will stop for that is out of every router by then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from argosy.errors import DeadlineExceeded, OutOfSequence
from argosy.etcd import Delete
from argosy.operations.service.applying import auth_for, withdraw
from argosy.operations.service.work import Work
from argosy.scheduled_state import Running
from argosy.scheduled_victims import victims
from argosy.schema import drain_key
from argosy.swarm_drain import Moves, moving, spec_with, surplus, uneven, waiting
from argosy.swarm_spec import with_replicas

POLL_SECONDS = 0.25
SHUTDOWN_SECONDS = 30.0
"""How long what ends may take beyond its grace."""
PLACING_SECONDS = 3.0
"""How long Swarm may take to place an instance that has a place now, and to stop one that is too many."""
RESTART_SECONDS = 3.0
"""Longer than Swarm waits before it starts an instance anew, unless restart.delay_seconds says otherwise."""
TRIES = 10
"""Of a change of a service that others change, too."""
NUDGED = "argosy.nudged"


def change_moves(work: Work, name: str, number: int, change: Callable[[Moves], Moves]) -> None:
    """Let what `change` makes of a generation's moves be under way, and no others."""
    for attempt in range(1, TRIES + 1):
        work.holding.check()
        seen = work.look().of(name)
        running = seen.generations.get(number)
        spec = spec_with(seen, running, change(moving(running.service))) if running else None
        if running is None or spec is None:
            return
        going = [it.id for it in surplus(running, spec)]
        if going:
            withdraw(work, name, going)
        try:
            work.swarm.update_service(running.service, spec, auth_for(work, running.service))
        except OutOfSequence:
            if attempt == TRIES:
                raise
            continue
        _forget_withdrawn(work, name, running, going)
        return


def even_out(work: Work, changed: bool = False) -> None:
    """Let Swarm have as many instances as it shall have, where it has lost count of them in all these changes.

    `changed`: a moment ago, so that it is only to be seen when Swarm starts what it waits to restart.
    """
    if changed:
        work.holding.pause(RESTART_SECONDS)
    fleet = work.look()
    before, more = waiting(fleet), uneven(fleet)
    deadline = time.monotonic() + PLACING_SECONDS
    while waiting(fleet) or uneven(fleet):
        if time.monotonic() >= deadline:
            break
        work.holding.pause(POLL_SECONDS)
        fleet = work.look()
    for key, count in uneven(fleet).items():
        if key in more:
            work.report(key[0], f"Swarm runs {count} more than it shall: told again")
            _nudge(work, *key)
    for key, tasks in waiting(fleet).items():
        if still := len(tasks & before.get(key, frozenset())):
            work.report(key[0], f"{still} found no place before: started anew")
            _start_anew(work, *key, still)


def _nudge(work: Work, name: str, number: int) -> None:
    """Let Swarm look at the service again, which a change of a label does; what it will stop then gets nothing."""
    running = work.look().of(name).generations[number]
    service = running.service
    going = [it.id for it in victims(running.wanted, service.replicas or 0) if it.registered]
    if going:
        withdraw(work, name, going)
    labels = {**service.labels, NUDGED: work.clock.now().isoformat(timespec="milliseconds")}
    work.swarm.update_service(service, {**service.spec, "Labels": labels}, auth_for(work, running.service))
    _forget_withdrawn(work, name, running, going)


def _start_anew(work: Work, name: str, number: int, count: int) -> None:
    """One less, which is one that does not run, and one more again, is another one."""
    running = work.look().of(name).generations[number]
    replicas = running.service.replicas or 0
    for wanted_now in (replicas - count, replicas):
        service = work.swarm.service(running.service.id)
        if service is not None:
            work.swarm.update_service(service, with_replicas(service.spec, wanted_now), auth_for(work, running.service))


def _forget_withdrawn(work: Work, name: str, running: Running, going: Sequence[str]) -> None:
    """Remove the marks of instances when they have ended."""
    if not going:
        return
    tasks = {it.id: it.task.id for it in running.instances}
    ending = {tasks[it] for it in going}
    wait_for(
        work,
        f"{name}: {', '.join(going)} have not ended",
        lambda: all(it.over for it in work.swarm.tasks(running.service.id) if it.id in ending),
        running.service.grace_seconds + SHUTDOWN_SECONDS,
    )
    work.holding.write([Delete(drain_key(name, it)) for it in going])


def wait_for(work: Work, what: str, done: Callable[[], bool], seconds: float) -> None:
    """Wait until it is so. `what`: said in DeadlineExceeded when it is not."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= deadline:
            raise DeadlineExceeded(f"{what} after {seconds:g} s; the same again waits for it")
        work.holding.pause(POLL_SECONDS)
