"""What is done at each step of an update. Each may be cut off at any moment, and be done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from argosy.agent.labels import ATTRIBUTES
from argosy.errors import DeadlineExceeded, OutOfSequence, Unhealthy
from argosy.etcd import Delete, Put
from argosy.events import Said
from argosy.operations.service.updating.looking import NOTHING, POLL_SECONDS, QUIET_SECONDS, Looking, shown
from argosy.operations.service.updating.seams import Operator
from argosy.scheduled_record import Generation
from argosy.schema import generation_key, service_key, weight_key
from argosy.service_update import is_routed
from argosy.update_plan import share_weights
from argosy.update_record import Step, Update

RECENT_SECONDS = 5.0
"""So long the routers' word on instances that were all well counts."""
SOAK_POLL_SECONDS = 2.0
PATIENCE_SECONDS = 30.0
"""So long an instance that was well once may be ill: its machine may be gone, and another be found for it."""
TRIES = 10
"""Of a change of a service that others, Swarm among them, are faster than."""
MAX_DEEDS = 100
BEFORE_OPENING = (Step.STARTING, Step.SHARING, Step.SOAKING)


class Steps:
    """The work of one update, by one operator. `do` raises ArgosyError for what goes wrong."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._lock = operator.lock
        self._engine = operator.engine
        self._name = operator.name
        self._clock = operator.clock
        self._looks = Looking(operator)
        self._reached_at = float("-inf")

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

    def watch(self, update: Update, recent_seconds: float = 0) -> None:
        """See that the new instances are well, or are so again soon. Raises Unhealthy.

        `recent_seconds`: how old the routers' word may be, which takes a moment to ask for.
        """
        asked = self._clock.elapsed() - self._reached_at <= recent_seconds
        self._wait_until_well(update, update.new, update.replicas, None, PATIENCE_SECONDS, not asked)

    def soak(self, update: Update, until: datetime) -> None:
        """Watch the new instances until then. Raises Unhealthy as soon as one has failed."""
        before = self._looks.failures(update.new)
        while (left := (until - self._clock.now()).total_seconds()) > 0:
            self._lock.check()
            self.watch(update)
            fresh = self._looks.failures(update.new).keys() - before.keys()
            if fresh:
                ended = self._looks.failures(update.new)[min(fresh)]
                raise Unhealthy(
                    f"{ended.machine}: {ended.short} has failed: {ended.trouble}{self._looks.lines(update.new)}"
                )
            self._lock.pause(min(left, SOAK_POLL_SECONDS))

    # Steps

    def _start(self, update: Update, generation: Generation, replicas: int | None) -> None:
        if is_routed(generation):
            self._lock.write([Put(self._key(generation), str(NOTHING))])
        self._begin(generation, replicas)
        weight = NOTHING if is_routed(generation) else None
        seconds = generation.definition.update.deadline_seconds
        self._wait_until_well(update, generation, replicas, weight, seconds, True)

    def _wait_until_well(
        self,
        update: Update,
        generation: Generation,
        replicas: int | None,
        weight: int | None,
        seconds: float,
        ask: bool,
    ) -> None:
        """Wait until all instances of a generation are well; by the routers' word, too, if we are to `ask` for it."""
        reached = ask and self._checks_hold(update)
        self._looks.wait(lambda: self._looks.unready(generation, replicas, weight, reached), seconds, generation)
        if ask and generation == update.new:
            self._reached_at = self._clock.elapsed()

    def _begin(self, generation: Generation, replicas: int | None) -> None:
        """Let Swarm run a generation. Swarm itself touches a service that was just made, so it is looked at again."""
        for attempt in range(1, TRIES + 1):
            begin = self._engine.prepare(generation, replicas)
            self._lock.check()
            try:
                begin()
            except OutOfSequence:
                if attempt == TRIES:
                    raise
                self._lock.pause(POLL_SECONDS)
            else:
                return

    def _share(self, update: Update) -> None:
        found = self._looks.known()
        new, old = self._looks.instances_of(found, update.new), self._looks.instances_of(found, update.old)
        if not new:
            raise Unhealthy("no new instance is registered any more")
        if not old:
            self._say("no old instance is registered, so there is nothing to share: the new ones get all requests")
            self._open(update, update.new)
            return
        present = self._operator.routing(update.old).weight
        mine, its = share_weights(update.options.share, len(new), len(old), present)
        weights = {update.new.number: mine} | ({update.old.number: its} if its != present else {})
        share = len(new) * mine / (len(new) * mine + len(old) * its)
        self._say(
            f"{len(new)} new instances of weight {mine}, {len(old)} old ones of {its}: {share:.1%} of the requests"
        )
        if self._attributes_change(update):
            self._say("routes and checks change with it: until it gets all requests, those of the old generation hold")
        self._lock.write([Put(generation_key(self._name, number), str(it)) for number, it in weights.items()])
        for generation in (update.old, update.new):
            if generation.number in weights:
                self._looks.wait_for_weight(generation, weights[generation.number])

    def _open(self, update: Update, generation: Generation) -> None:
        """Give a generation its full weight, and the service the keys that this generation has for it."""
        routing = self._operator.routing(generation)
        self._lock.write([Put(self._key(generation), str(routing.weight)), *self._attributes(routing.attributes)])
        self._looks.wait_for_weight(generation, routing.weight)
        if self._attributes_change(update):
            self._looks.wait(
                lambda: self._looks.reached(generation), self._looks.applied_seconds, quiet_seconds=QUIET_SECONDS
            )

    def _hand_over(self, update: Update) -> None:
        """Let the old generation get no more requests, if the new one can take them: it may be long since it could."""
        if not update.options.stop_first:
            self.watch(update, RECENT_SECONDS)
        self._close(update.old)

    def _leave(self, update: Update) -> None:
        """Let the connections to the old generation end. From here there is no way back: so a last look at the new."""
        self._empty(update.old)
        if not update.options.stop_first:
            self.watch(update, RECENT_SECONDS)

    def _withdraw(self, update: Update) -> None:
        """Let the new generation get no more requests, if somebody else is there to take them, or it gets none."""
        serving = self._looks.instances_of(self._looks.known(), update.new)
        if serving and not update.options.stop_first and is_routed(update.old):
            self._looks.wait(
                lambda: self._looks.served(update.old), self._looks.applied_seconds, quiet_seconds=QUIET_SECONDS
            )
        self._close(update.new)

    def _close(self, generation: Generation) -> None:
        """Let a generation get no more requests."""
        found = self._looks.known()
        own = [
            it
            for it in self._looks.instances_of(found, generation)
            if it in found.weights and not found.weights[it].lease
        ]
        for instance in own:
            self._say(f"the weight that somebody gave {instance} goes: it is to get no more requests")
        deeds: list[Put | Delete] = [Delete(weight_key(self._name, it)) for it in own[:MAX_DEEDS]]
        self._lock.write([Put(self._key(generation), str(NOTHING)), *deeds])
        self._looks.wait_for_weight(generation, NOTHING)

    def _empty(self, generation: Generation) -> None:
        seconds = self._operator.limits.drain_seconds
        found = self._looks.known()
        servers = found.servers(self._looks.instances_of(found, generation))
        left = self._operator.routers.wait_until_idle(servers, seconds) if servers else {}
        for machine, count in left.items():
            self._say(f"{count} connections to {shown(generation)} are still open after {seconds:g} s", machine)

    def _remove(self, update: Update, generation: Generation) -> None:
        """Remove a generation's service, and any other but the one that stays, and wait until nothing of it is left."""
        for number in self._engine.generations():
            if number != update.wanted.number:
                self._lock.check()
                self._engine.remove(number)
        seconds = generation.definition.stop.grace_seconds + self._operator.limits.stop_seconds
        self._looks.wait(
            lambda: self._looks.left(generation), seconds + self._looks.applied_seconds, error=DeadlineExceeded
        )

    def _attributes_change(self, update: Update) -> bool:
        return self._operator.routing(update.new).attributes != self._operator.routing(update.old).attributes

    def _checks_hold(self, update: Update) -> bool:
        """Whether routers can tell how the new instances are: not by a check of the old ones, as long as the service's
        own keys are theirs."""
        return update.step not in BEFORE_OPENING or not self._attributes_change(update)

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

    def _say(self, message: str, machine: str = "") -> None:
        self._operator.events(Said(at=self._clock.now(), service=self._name, machine=machine, message=message))
