"""What is done at each step of an update. Each may be cut off at any moment, and be done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from argosy import update_gates
from argosy.agent.labels import ATTRIBUTES
from argosy.errors import DeadlineExceeded, Unhealthy
from argosy.etcd import Delete, Put
from argosy.operations.service.updating.seams import Operator
from argosy.rollout_events import Checked, Said
from argosy.scheduled_record import Generation
from argosy.schema import generation_key, service_key, weight_key
from argosy.service_update import is_routed
from argosy.update_gates import Gates, Instance, Known
from argosy.update_plan import share_weights
from argosy.update_record import Step, Update

POLL_SECONDS = 0.2
SOAK_POLL_SECONDS = 2.0
PATIENCE_SECONDS = 30.0
"""So long an instance that was well once may be ill: its machine may be gone, and another be found for it."""
ATTEMPTS = 3
"""An instance that has failed so often does not become well by itself."""
LAST_LINES = 5
MAX_DEEDS = 100
NOTHING = 0


class Steps:
    """The work of one update, by one operator. `do` raises ArgosyError for what goes wrong."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._lock = operator.lock
        self._engine = operator.engine
        self._name = operator.name
        self._clock = operator.clock
        self._told: dict[tuple[str, str], str] = {}
        self._failed: dict[str, dict[str, Instance]] = {}

    def do(self, update: Update, step: Step) -> None:
        """Do all that belongs to `step`; some of it, or all, may be done already."""
        old, new = update.old, update.new
        work: dict[Step, Callable[[], None]] = {
            Step.STARTING: lambda: self._start(update, new, update.replicas),
            Step.SHARING: lambda: self._share(update),
            Step.SOAKING: lambda: self.watch(update),
            Step.OPENING: lambda: self._open(update, new),
            Step.CLOSING: lambda: self._hand_over(update),
            Step.EMPTYING: lambda: self._leave(update),
            Step.REMOVING: lambda: self._remove(update, old),
            Step.RESTARTING: lambda: self._start(update, old, update.before),
            Step.REOPENING: lambda: self._open(update, old),
            Step.WITHDRAWING: lambda: self._withdraw(update),
            Step.LEAVING: lambda: self._empty(new),
            Step.DISCARDING: lambda: self._remove(update, new),
        }
        self._lock.check()
        work[step]()

    def watch(self, update: Update) -> None:
        """See that the new instances are well, or are so again soon. Raises Unhealthy."""
        self._wait(lambda: self._unready(update.new, update.replicas, None), PATIENCE_SECONDS, update.new)

    def soak(self, update: Update, until: datetime) -> None:
        """Watch the new instances until then. Raises Unhealthy as soon as one has failed."""
        before = self._failures(update.new)
        while (left := (until - self._clock.now()).total_seconds()) > 0:
            self._lock.check()
            self.watch(update)
            fresh = self._failures(update.new).keys() - before.keys()
            if fresh:
                ended = self._failures(update.new)[min(fresh)]
                raise Unhealthy(f"{ended.machine}: {ended.short} has failed: {ended.trouble}{self._lines(update.new)}")
            self._lock.pause(min(left, SOAK_POLL_SECONDS))

    # Steps

    def _start(self, update: Update, generation: Generation, replicas: int | None) -> None:
        if is_routed(generation):
            self._lock.write([Put(self._key(generation), str(NOTHING))])
        begin = self._engine.prepare(generation, replicas)
        self._lock.check()
        begin()
        weight = NOTHING if is_routed(generation) else None
        self._wait(
            lambda: self._unready(generation, replicas, weight, reached=not self._attributes_change(update)),
            generation.definition.update.deadline_seconds,
            generation,
        )

    def _share(self, update: Update) -> None:
        found = self._known()
        new, old = self._instances(found, update.new), self._instances(found, update.old)
        if not new or not old:
            raise Unhealthy(f"{len(new)} new and {len(old)} old instances are registered: there is nothing to share")
        present = self._operator.routing(update.old).weight
        mine, its = share_weights(update.options.share, len(new), len(old), present)
        weights = {update.new.number: mine} | ({update.old.number: its} if its != present else {})
        share = len(new) * mine / (len(new) * mine + len(old) * its)
        self._say(
            f"{len(new)} new instances of weight {mine}, {len(old)} old ones of {its}: {share:.1%} of the requests"
        )
        self._lock.write([Put(generation_key(self._name, number), str(it)) for number, it in weights.items()])
        for generation in (update.old, update.new):
            if generation.number in weights:
                self._wait_for_weight(generation, weights[generation.number])

    def _open(self, update: Update, generation: Generation) -> None:
        """Give a generation its full weight, and the service the keys that this generation has for it."""
        routing = self._operator.routing(generation)
        self._lock.write([Put(self._key(generation), str(routing.weight)), *self._attributes(routing.attributes)])
        self._wait_for_weight(generation, routing.weight)
        if self._attributes_change(update):
            self._wait(lambda: self._reached(generation), self._applied_seconds, generation)

    def _hand_over(self, update: Update) -> None:
        """Let the old generation get no more requests, if the new one can take them: it may be long since it could."""
        if not update.options.stop_first:
            self.watch(update)
        self._close(update.old)

    def _leave(self, update: Update) -> None:
        """Let the connections to the old generation end. From here there is no way back: so a last look at the new."""
        self._empty(update.old)
        if not update.options.stop_first:
            self.watch(update)

    def _withdraw(self, update: Update) -> None:
        """Let the new generation get no more requests, if somebody else is there to take them."""
        if not update.options.stop_first and is_routed(update.old):
            self._wait(lambda: self._served(update.old), self._applied_seconds, update.old)
        self._close(update.new)

    def _close(self, generation: Generation) -> None:
        """Let a generation get no more requests."""
        found = self._known()
        own = [it for it in self._instances(found, generation) if it in found.weights and not found.weights[it].lease]
        for instance in own:
            self._say(f"the weight that somebody gave {instance} goes: it is to get no more requests")
        deeds: list[Put | Delete] = [Delete(weight_key(self._name, it)) for it in own[:MAX_DEEDS]]
        self._lock.write([Put(self._key(generation), str(NOTHING)), *deeds])
        self._wait_for_weight(generation, NOTHING)

    def _empty(self, generation: Generation) -> None:
        seconds = self._operator.limits.drain_seconds
        found = self._known()
        servers = found.servers(self._instances(found, generation))
        left = self._operator.routers.wait_until_idle(servers, seconds) if servers else {}
        for machine, count in left.items():
            self._say(f"{count} connections to {self._shown(generation)} are still open after {seconds:g} s", machine)

    def _remove(self, update: Update, generation: Generation) -> None:
        """Remove a generation's service, and any other but the one that stays, and wait until nothing of it is left."""
        for number in self._engine.generations():
            if number != update.wanted.number:
                self._lock.check()
                self._engine.remove(number)
        seconds = generation.definition.stop.grace_seconds + self._operator.limits.stop_seconds
        self._wait(lambda: self._left(generation), seconds + self._applied_seconds, generation, DeadlineExceeded)

    # Looking

    @property
    def _applied_seconds(self) -> float:
        return self._operator.limits.applied_seconds

    def _known(self) -> Known:
        store = self._operator.store
        return update_gates.known(
            self._name, (it for prefix in update_gates.prefixes(self._name) for it in store.get_prefix(prefix).entries)
        )

    def _instances(self, found: Known, generation: Generation) -> list[str]:
        return found.of(self._operator.containers(generation.number))

    def _unready(self, generation: Generation, replicas: int | None, weight: int | None, reached: bool = True) -> Gates:
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
        found = self._known()
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

    def _reached(self, generation: Generation) -> Gates:
        found = self._known()
        return self._unreached(found, self._instances(found, generation))

    def _served(self, generation: Generation) -> Gates:
        """Return the check that some instance of a generation gets requests by every live router."""
        found = self._known()
        serving = [
            it
            for it in self._instances(found, generation)
            if not update_gates.applied_reason(it, found) and update_gates.weight_reason(it, found, NOTHING)
        ]
        reason = (
            "" if serving else f"no instance of {self._shown(generation)} is registered that could take the requests"
        )
        return {("", "instances"): reason}

    def _left(self, generation: Generation) -> Gates:
        """Return what is left of a generation that is being removed."""
        registered = self._instances(self._known(), generation)
        running = [it for it in self._engine.instances(generation.number) if not it.over]
        return {
            ("", "registered"): f"{', '.join(registered)} has not been deregistered yet" if registered else "",
            ("", "instances"): f"{len(running)} of {self._shown(generation)} have not ended yet" if running else "",
        }

    def _attributes_change(self, update: Update) -> bool:
        """Whether routers can't tell how the new instances are before the service's own keys are theirs."""
        return self._operator.routing(update.new).attributes != self._operator.routing(update.old).attributes

    # Waiting

    def _wait_for_weight(self, generation: Generation, weight: int) -> None:
        """Wait until all registered instances of a generation have the weight, and every live router has applied it."""

        def look() -> Gates:
            found = self._known()
            instances = self._instances(found, generation)
            return update_gates.weighed_gates(instances, generation.number, found, weight)

        self._wait(look, self._applied_seconds, generation)

    def _wait(
        self,
        look: Callable[[], Gates],
        seconds: float,
        generation: Generation,
        error: type[Unhealthy | DeadlineExceeded] = Unhealthy,
    ) -> None:
        """Wait until all that `look` returns passes; tell each change of it."""
        deadline = self._clock.elapsed() + seconds
        while True:
            self._lock.check()
            gates = look()
            self._tell(gates)
            reason = update_gates.failing(gates)
            if not reason:
                return
            often = max((len(self._failed.get(check, ())) for (_, check), reason in gates.items() if reason), default=0)
            if often >= ATTEMPTS or self._clock.elapsed() >= deadline:
                tried = f" (it has failed {often} times)" if often >= ATTEMPTS else f", after {seconds:g} s"
                raise error(f"{reason}{tried}{self._lines(generation)}")
            self._lock.pause(POLL_SECONDS)

    def _tell(self, gates: Gates) -> None:
        for (machine, check), reason in gates.items():
            if self._told.get((machine, check)) != reason:
                self._operator.events(Checked(at=self._clock.now(), machine=machine, check=check, reason=reason))
        self._told |= gates

    def _failures(self, generation: Generation) -> Mapping[str, Instance]:
        return {it.task: it for it in self._engine.instances(generation.number) if it.failed}

    def _lines(self, generation: Generation) -> str:
        """Return the last words of the instance that is the least well, to be put behind a message."""
        instances = self._engine.instances(generation.number)
        ill = [it for it in instances if it.failed] or [it for it in instances if not it.over]
        lines = self._engine.last_lines(generation.number, ill[-1]) if ill else ()
        shown = " | ".join(line.strip() for line in lines[-LAST_LINES:] if line.strip())
        return f"; the last lines of {ill[-1].short}: {shown}" if shown else ""

    # Words and keys

    def _key(self, generation: Generation) -> str:
        return generation_key(self._name, generation.number)

    def _attributes(self, values: Mapping[str, str] | None) -> list[Put | Delete]:
        if values is None:
            return []
        return [
            Put(service_key(self._name, it), values[it]) if it in values else Delete(service_key(self._name, it))
            for it in ATTRIBUTES
        ]

    def _shown(self, generation: Generation) -> str:
        return f"generation {generation.number}"

    def _say(self, message: str, machine: str = "") -> None:
        self._operator.events(Said(at=self._clock.now(), machine=machine, message=message))
