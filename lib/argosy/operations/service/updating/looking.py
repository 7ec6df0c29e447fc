"""What an operator of an update sees of the instances, and waits for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from argosy import update_gates
from argosy.errors import DeadlineExceeded, Unhealthy
from argosy.events import Checked
from argosy.operations.service.updating.seams import Operator
from argosy.scheduled_record import Generation
from argosy.service_update import is_routed
from argosy.update_gates import Gates, Instance, Known

POLL_SECONDS = 0.2
QUIET_SECONDS = 1.0
"""What agents and routers do in that time is not worth a line."""
ATTEMPTS = 3
"""An instance that has failed so often does not become well by itself."""
LAST_LINES = 5
NOTHING = 0
"""The weight of a generation that gets no requests."""


class Looking:
    """Looks, and changes nothing."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._lock = operator.lock
        self._engine = operator.engine
        self._name = operator.name
        self._clock = operator.clock
        self._told: dict[tuple[str, str], str] = {}
        self._failed: dict[str, dict[str, Instance]] = {}

    @property
    def applied_seconds(self) -> float:
        """How long agents and routers may take to follow."""
        return self._operator.limits.applied_seconds

    def known(self) -> Known:
        store = self._operator.store
        return update_gates.known(
            self._name, (it for prefix in update_gates.prefixes(self._name) for it in store.get_prefix(prefix).entries)
        )

    def instances_of(self, found: Known, generation: Generation) -> list[str]:
        return found.of(self._operator.containers(generation.number))

    def unready(self, generation: Generation, replicas: int | None, weight: int | None, reached: bool = True) -> Gates:
        """Return the checks of a generation's instances. `weight`: that they are to have; None: whichever.

        `reached`: that the routers' own checks of them pass, too, which is asked once all others do.
        """
        instances = self._engine.instances(generation.number)
        wanted = self._engine.seats(generation) if generation.definition.everywhere else replicas
        if generation.definition.everywhere and not wanted:
            return {("", "machines"): "no machine that is in service fits its constraints"}
        for it in instances:
            if it.failed:
                self._failed.setdefault(it.short, {})[it.task] = it
        gates = update_gates.running_gates(wanted, instances)
        if not is_routed(generation):
            return gates
        found = self.known()
        running = [it for it in instances if it.runs]
        gates |= {
            key: reason
            for key, reason in update_gates.registered_gates(running, found, weight).items()
            if not gates.get(key)
        }
        if reached and not update_gates.failing(gates):
            gates |= self._unreached(found, [it.id for it in running])
        return gates

    def _unreached(self, found: Known, instances: list[str]) -> Gates:
        """Return the checks that the routers' own checks of these instances, as far as they are registered, pass."""
        servers = found.servers(instances)
        unready = self._operator.routers.unready(servers) if servers else {}
        return {(machine, "router"): reason for machine, reason in unready.items()} or {("", "routers"): ""}

    def reached(self, generation: Generation) -> Gates:
        found = self.known()
        return self._unreached(found, self.instances_of(found, generation))

    def served(self, generation: Generation) -> Gates:
        """Return the check that some instance of a generation gets requests by every live router."""
        found = self.known()
        serving = [
            it
            for it in self.instances_of(found, generation)
            if not update_gates.applied_reason(it, found) and update_gates.weight_reason(it, found, NOTHING)
        ]
        reason = "" if serving else f"no instance of {shown(generation)} is registered that could take the requests"
        return {("", "instances"): reason}

    def left(self, generation: Generation) -> Gates:
        """Return what is left of a generation that is being removed."""
        registered = self.instances_of(self.known(), generation)
        running = [it for it in self._engine.instances(generation.number) if not it.over]
        return {
            ("", "registered"): f"{', '.join(registered)} has not been deregistered yet" if registered else "",
            ("", "instances"): f"{len(running)} of {shown(generation)} have not ended yet" if running else "",
        }

    def weighed(self, generation: Generation, weight: int) -> Gates:
        """Return the checks that all instances of a generation have the weight, and every live router knows."""
        found = self.known()
        return update_gates.weighed_gates(self.instances_of(found, generation), generation.number, found, weight)

    # Waiting

    def wait_for_weight(self, generation: Generation, weight: int) -> None:
        """Wait until `weighed` passes. Raises Unhealthy."""
        self.wait(lambda: self.weighed(generation, weight), self.applied_seconds, quiet_seconds=QUIET_SECONDS)

    def wait(
        self,
        look: Callable[[], Gates],
        seconds: float,
        generation: Generation | None = None,
        error: type[Unhealthy | DeadlineExceeded] = Unhealthy,
        quiet_seconds: float = 0,
    ) -> None:
        """Wait until all that `look` returns passes; tell each change of it, if it takes longer than `quiet_seconds`.

        `generation`: whose instances may fail so often, or say so in their logs, that it is no use to wait.
        """
        began = self._clock.elapsed()
        while True:
            self._lock.check()
            gates = look()
            waited = self._clock.elapsed() - began
            reason = update_gates.failing(gates)
            if waited >= quiet_seconds:
                self._tell(gates)
            if not reason:
                return
            hopeless = self._hopeless(gates) if generation else None
            if hopeless and generation:
                often = f"{hopeless.short} has failed {ATTEMPTS} times: {hopeless.trouble}"
                raise error(f"{often}{self.lines(generation, hopeless)}")
            if waited >= seconds:
                raise error(f"{reason}, after {seconds:g} s{self.lines(generation) if generation else ''}")
            self._lock.pause(POLL_SECONDS)

    def _hopeless(self, gates: Gates) -> Instance | None:
        """Return an instance that does not pass and has failed too often by now."""
        for (_, check), reason in gates.items():
            failed = self._failed.get(check, {})
            if reason and len(failed) >= ATTEMPTS:
                return list(failed.values())[-1]
        return None

    def _tell(self, gates: Gates) -> None:
        for (machine, check), reason in gates.items():
            if self._told.get((machine, check)) != reason:
                self._operator.events(
                    Checked(at=self._clock.now(), service=self._name, machine=machine, check=check, reason=reason)
                )
        self._told |= gates

    def failures(self, generation: Generation) -> Mapping[str, Instance]:
        return {it.task: it for it in self._engine.instances(generation.number) if it.failed}

    def lines(self, generation: Generation, instance: Instance | None = None) -> str:
        """Return what an instance, the least well one, wrote last, to be put behind a message."""
        instances = self._engine.instances(generation.number)
        ill = [it for it in instances if it.failed] or [it for it in instances if not it.over]
        chosen = instance or (ill[-1] if ill else None)
        lines = self._engine.last_lines(generation.number, chosen) if chosen else ()
        shown = " | ".join(line.strip() for line in lines[-LAST_LINES:] if line.strip())
        return f"; the last lines of {chosen.short}: {shown}" if chosen and shown else ""


def shown(generation: Generation) -> str:
    return f"generation {generation.number}"
