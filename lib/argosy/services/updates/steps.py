"""What is done at each step of an update. Each may be cut off at any moment, and be done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from argosy.errors import Unhealthy
from argosy.etcd import Delete, Put
from argosy.schema import generation_key, service_key
from argosy.schema.declared import ATTRIBUTES
from argosy.services.applying import Executor
from argosy.services.record import Generation
from argosy.services.serving import Gates, Watch, applied_reason, failing, weight_reason
from argosy.services.spec import Routing, routing_of
from argosy.services.state import Routes, ServicesState
from argosy.services.updates.interfaces import Operator
from argosy.services.updates.plan import share_weights
from argosy.services.updates.record import Update, UpdateStep
from argosy.services.updates.transitions import is_routed
from argosy.services.waiting import last_lines

RECENT_SECONDS = 5.0
"""So long the routers' word on instances that were all well counts."""
SOAK_POLL_SECONDS = 2.0
PATIENCE_SECONDS = 30.0
"""So long an instance that was well once may be ill: its machine may be gone, and another be found for it."""
NOTHING = 0
"""The weight of a generation that gets no requests."""
BEFORE_OPENING = (UpdateStep.STARTING, UpdateStep.SHARING, UpdateStep.SOAKING)


class Steps:
    """The work of one update, by one operator. `do` raises ArgosyError for what goes wrong."""

    def __init__(self, operator: Operator) -> None:
        self._name = operator.name
        self._work = operator.work
        self._say = partial(operator.report, operator.name)
        self._lock = operator.work.holding
        self._clock = operator.work.clock
        self._executor = Executor(self._work, self._name, operator.events, operator.report)
        self._waiter = self._executor.waiter
        self._watches: dict[int, Watch] = {}
        self._routers = self._work.routers(self._name)
        self._reached_at = float("-inf")

    def do(self, update: Update, step: UpdateStep) -> None:
        """Do all that belongs to `step`; some of it, or all, may be done already."""
        old, new = update.old, update.new
        work: dict[UpdateStep, Callable[[], None]] = {
            UpdateStep.STARTING: lambda: self._start(update, new, update.replicas),
            UpdateStep.SHARING: lambda: self._share(update),
            UpdateStep.SOAKING: lambda: self.watch(update),
            UpdateStep.OPENING: lambda: self._open(update, new),
            UpdateStep.CLOSING: lambda: self._hand_over(update),
            UpdateStep.EMPTYING: lambda: self._leave(update),
            UpdateStep.REMOVING: lambda: self._remove(update, old),
            UpdateStep.RESTARTING: lambda: self._restart(update),
            UpdateStep.REOPENING: lambda: self._open(update, old),
            UpdateStep.WITHDRAWING: lambda: self._withdraw(update),
            UpdateStep.LEAVING: lambda: self._empty(new),
            UpdateStep.DISCARDING: lambda: self._remove(update, new),
        }
        self._lock.check()
        work[step]()

    def watch(self, update: Update, recent_seconds: float = 0) -> None:
        """See that the new instances are well, or are so again soon. Raises Unhealthy.

        `recent_seconds`: how old the routers' word may be, which takes a moment to ask for.
        """
        asked = self._clock.elapsed() - self._reached_at <= recent_seconds
        self._wait_until_well(update, update.new, update.replicas, PATIENCE_SECONDS, ask=not asked)

    def soak(self, update: Update, until: datetime) -> None:
        """Watch the new instances until then. Raises Unhealthy as soon as one has failed."""
        watch = self._watches[update.new.number] = Watch(self._name, update.new)
        while (left := (until - self._clock.now()).total_seconds()) > 0:
            self._lock.check()
            self.watch(update)
            if failed := next(iter(watch.failures.last.values()), None):
                reason = f"{failed.machine}: {failed.short} has failed: {failed.trouble}"
                raise Unhealthy(reason + last_lines(self._work, watch))
            self._lock.pause(min(left, SOAK_POLL_SECONDS))

    # Steps

    def _start(self, update: Update, generation: Generation, replicas: int | None) -> None:
        if is_routed(generation):
            self._lock.write([Put(self._key(generation), str(NOTHING))])
        self._executor.start(generation, replicas)
        weight = NOTHING if is_routed(generation) else None
        seconds = generation.definition.update.deadline_seconds
        self._wait_until_well(update, generation, replicas, seconds, weight)

    def _restart(self, update: Update) -> None:
        """Start the old generation anew: whoever stood still may yet remove the service that is there."""
        self._executor.remove(update.old.number)
        self._start(update, update.old, update.before)

    def _wait_until_well(
        self,
        update: Update,
        generation: Generation,
        replicas: int | None,
        seconds: float,
        weight: int | None = None,
        ask: bool = True,
    ) -> None:
        """Wait until all instances of a generation are well; by the routers' word, too, if we are to `ask` for it."""
        asking = ask and is_routed(generation) and self._checks_hold(update)

        def also(state: ServicesState, gates: Gates) -> Gates:
            if not state.count(generation.definition, replicas) and replicas is None:
                return {("", "machines"): "no machine that is in service fits its constraints"}
            service = state.of(self._name)
            running = service.generations.get(generation.number)
            if not asking or failing(gates) or running is None:
                return {}
            return self._unreached(service.routes, [instance.id for instance in running.up])

        self._waiter.wait_until_serving(self._watch(generation), replicas, seconds, weight, also)
        if ask and generation == update.new:
            self._reached_at = self._clock.elapsed()

    def _share(self, update: Update) -> None:
        new, old = (len(self._executor.registered(generation.number)[1]) for generation in (update.new, update.old))
        if not new:
            raise Unhealthy("no new instance is registered any more")
        if not old:
            self._say("no old instance is registered, so there is nothing to share: the new ones get all requests")
            self._open(update, update.new)
            return
        present = self._routing(update.old).weight
        mine, its = share_weights(update.options.share, new, old, present)
        weights = {update.new.number: mine} | ({update.old.number: its} if its != present else {})
        share = new * mine / (new * mine + old * its)
        self._say(f"{new} new instances of weight {mine}, {old} old ones of {its}: {share:.1%} of the requests")
        if self._attributes_change(update):
            self._say("routes and checks change with it: until it gets all requests, those of the old generation hold")
        self._lock.write([Put(generation_key(self._name, number), str(weight)) for number, weight in weights.items()])
        for number, weight in sorted(weights.items()):
            self._wait_for_weight(number, weight)

    def _open(self, update: Update, generation: Generation) -> None:
        """Give a generation its full weight, and the service the keys that this generation has for it."""
        routing = self._routing(generation)
        self._lock.write([Put(self._key(generation), str(routing.weight)), *self._attributes(routing.attributes)])
        self._wait_for_weight(generation.number, routing.weight)
        if self._attributes_change(update):
            self._follow(lambda: self._reached(generation))

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
        if self._executor.registered(update.new.number)[1] and not update.options.stop_first and is_routed(update.old):
            self._follow(lambda: self._served(update.old))
        self._close(update.new)

    def _close(self, generation: Generation) -> None:
        """Let a generation get no more requests."""
        if reason := self._executor.close(generation.number):
            raise Unhealthy(reason)

    def _empty(self, generation: Generation) -> None:
        self._executor.empty(self._executor.registered(generation.number)[1], shown(generation))

    def _remove(self, update: Update, generation: Generation) -> None:
        """Remove a generation's service, and any other but the one that stays, and wait until nothing of it is left."""
        present = self._work.look(self._name).of(self._name).generations
        for number in sorted({*present, generation.number} - {update.wanted.number}):
            self._executor.remove(number)

    # Looks

    def _watch(self, generation: Generation) -> Watch:
        return self._watches.setdefault(generation.number, Watch(self._name, generation))

    def _unreached(self, routes: Routes, ids: list[str]) -> Gates:
        """Return the checks that the routers' own checks of these instances, as far as they are registered, pass."""
        servers = routes.servers(ids)
        unready = self._routers.unready(servers) if servers else {}
        return {(machine, "router"): reason for machine, reason in unready.items()} or {("", "routers"): ""}

    def _reached(self, generation: Generation) -> Gates:
        return self._unreached(*self._executor.registered(generation.number))

    def _served(self, generation: Generation) -> Gates:
        """Return the check that some instance of a generation gets requests by every live router."""
        routes, ids = self._executor.registered(generation.number)
        serving = [id for id in ids if not applied_reason(id, routes) and weight_reason(id, routes, NOTHING)]
        reason = "" if serving else f"no instance of {shown(generation)} is registered that could take the requests"
        return {("", "instances"): reason}

    def _wait_for_weight(self, number: int, weight: int) -> None:
        self._follow(lambda: self._executor.weighed(number, weight))

    def _follow(self, look: Callable[[], Gates]) -> None:
        if reason := self._executor.follow(look):
            raise Unhealthy(reason)

    def _attributes_change(self, update: Update) -> bool:
        return self._routing(update.new).attributes != self._routing(update.old).attributes

    def _checks_hold(self, update: Update) -> bool:
        """Whether routers can tell how the new instances are: not by a check of the old ones, as long as the service's
        own keys are theirs."""
        return update.step not in BEFORE_OPENING or not self._attributes_change(update)

    # Words and keys

    def _routing(self, generation: Generation) -> Routing:
        return routing_of(self._work.settings, self._name, generation)

    def _key(self, generation: Generation) -> str:
        return generation_key(self._name, generation.number)

    def _attributes(self, values: Mapping[str, str] | None) -> list[Put | Delete]:
        if values is None:
            return []
        return [
            Put(service_key(self._name, key), values[key]) if key in values else Delete(service_key(self._name, key))
            for key in ATTRIBUTES
        ]


def shown(generation: Generation) -> str:
    return f"generation {generation.number}"
