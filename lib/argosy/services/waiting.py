"""Wait until scheduled services are as they must be: look, tell which checks do not pass, and look again."""

from __future__ import annotations

from collections.abc import Callable

from argosy.cluster.events import Checked
from argosy.errors import ArgosyError, DeadlineExceeded, Unhealthy
from argosy.services.serving import ROUTERS_FOLLOW, Gates, Watch, failing
from argosy.services.state import ServicesState
from argosy.services.work import ServicesCluster
from argosy.text import printable

POLL_SECONDS = 0.2
QUIET_SECONDS = 1.0
"""What agents and routers do in that time is not worth a line."""
LOG_LINES = 10
SHOWN_LINES = 5


class Waiter:
    """Waits for one service, under the cluster's lock. `tell`: told each check whose result is another than before."""

    def __init__(self, work: ServicesCluster, name: str, tell: Callable[[Checked], None] | None = None) -> None:
        self._work = work
        self._name = name
        self._tell_check = tell or (lambda event: work.report(event.subject, event.text))
        self._told: Gates = {}

    def wait(self, look: Callable[[], Gates], seconds: float, quiet_seconds: float = 0) -> str:
        """Wait until all checks pass, or `seconds` are over; return what does not pass by then.

        Tells each change, once it takes longer than `quiet_seconds`. Raises LockLost, and what `look` does.
        """
        clock, lock = self._work.clock, self._work.holding
        began = clock.elapsed()
        while True:
            lock.check()
            gates = look()
            waited = clock.elapsed() - began
            if waited >= quiet_seconds:
                self._tell(gates)
            reason = failing(gates)
            if not reason:
                return ""
            if waited >= seconds:
                return f"{reason}, after {seconds:g} s"
            lock.pause(POLL_SECONDS)

    def require(
        self,
        look: Callable[[], Gates],
        seconds: float,
        quiet_seconds: float = 0,
        error: type[Unhealthy | DeadlineExceeded] = Unhealthy,
    ) -> None:
        """Wait until all checks pass. Raises `error` when time is over."""
        if reason := self.wait(look, seconds, quiet_seconds):
            raise error(reason)

    def wait_until_serving(
        self,
        watch: Watch,
        replicas: int | None,
        seconds: float,
        weight: int | None = None,
        also: Callable[[ServicesState, Gates], Gates] = lambda _state, _gates: {},
        behind: type[Unhealthy | DeadlineExceeded] = Unhealthy,
    ) -> None:
        """Wait until the instances of a generation serve. `also`: further checks, given those that there are.

        Raises Unhealthy, with the last lines that an instance wrote, when it fails again and again, or time is over;
        `behind` when all that is missing then are routers that have not followed.
        """
        gates: Gates = {}

        def look() -> Gates:
            nonlocal gates
            state = self._work.look(self._name)
            gates = watch.look(state, replicas, self._work.clock.elapsed(), weight)
            gates |= also(state, gates)
            if hopeless := watch.hopeless(state, gates):
                self._tell(gates)
                raise Unhealthy(hopeless + last_lines(self._work, watch))
            return gates

        if reason := self.wait(look, seconds):
            if {check for (_, check), missing in gates.items() if missing} == {ROUTERS_FOLLOW}:
                raise behind(reason)
            raise Unhealthy(reason + last_lines(self._work, watch))

    def _tell(self, gates: Gates) -> None:
        for (machine, check), reason in gates.items():
            if self._told.get((machine, check)) != reason:
                now = self._work.clock.now()
                self._tell_check(Checked(at=now, service=self._name, machine=machine, check=check, reason=reason))
        self._told |= gates


def last_lines(work: ServicesCluster, watch: Watch) -> str:
    """Return what the instance that is least well wrote last, to be put behind a message."""
    running = work.look(watch.name).of(watch.name).generations.get(watch.generation.number)
    instances = [*running.failures(), *reversed(running.instances)] if running else []
    if not instances:
        return ""
    instance = instances[0]
    try:
        found = sorted(work.swarm.logs(instance.task.service_id, tail=LOG_LINES), key=lambda line: line.time)
    except ArgosyError as error:
        # As when a machine is gone; it must not hide what is wrong.
        return f"; what {instance.short} wrote can't be read: {error}"
    lines = [line.text.strip() for line in found if line.task_id == instance.task.id and line.text.strip()]
    return printable(f"; the last lines of {instance.short}: {' | '.join(lines[-SHOWN_LINES:])}") if lines else ""
