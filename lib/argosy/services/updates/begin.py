"""Begin an update, go on with one, or turn it back: whichever the wish and the journal come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from argosy.errors import ConfigError, Refused, TakenBack
from argosy.operations.journal import Store, new_id, of_updates
from argosy.operations.service.updating.driver import Driver
from argosy.operations.service.updating.seams import Operator
from argosy.scheduled_record import PREFIX, Generation, ScheduledRecord, parse_record
from argosy.service_update import Resumed, TurnedBack, advance, may_turn
from argosy.update_events import NothingToDo, Planned
from argosy.update_plan import begin_update, change, changes, next_generation, parse_share, shown
from argosy.update_record import Options, State, Update


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. `target`: finds out what the service shall be, given what is wanted of it now (the number of
    the generation does not count); `named`: the command line says it, else an update that has not ended goes on,
    whatever it is. `renew`: also when nothing differs. `rollback`: back to what it was before. `canary` and
    `soak_seconds`: None as the definition says."""

    name: str
    target: Callable[[ScheduledRecord], Generation] | None = None
    named: bool = False
    renew: bool = False
    rollback: bool = False
    canary: str | None = None
    soak_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """`update`: the record to begin or to go on with, not written yet; None when there is nothing to do."""

    record: ScheduledRecord
    update: Update | None = None
    resumed: bool = False


def decide(wish: Wish, store: Store, by: str, now: datetime) -> Decision:
    """Return what `update` would do. Changes nothing. Raises Refused, ConfigError, and what `wish.target` does."""
    record = read_record(store, wish.name)
    present = of_updates(wish.name).present(store)
    if present is not None:
        return Decision(record, _gone_on(wish, record, present, by, now), resumed=True)
    target = _target(wish, record)
    if target is None:
        raise Refused(f"no update of {wish.name} is in progress")
    if not changes(record.current, target) and not wish.renew:
        return Decision(record)
    used = [it.new.number for it in of_updates(wish.name).past(store)]
    used += [record.previous.number] if record.previous else []
    new = replace(target, number=next_generation(record.generation, used))
    return Decision(record, begin_update(new_id(now), record, new, _options(wish, new, record), by=by, now=now))


def update(wish: Wish, operator: Operator) -> Update | None:
    """Bring the service to what is wished, and return the record of it; None when it is that already.

    Idempotent, and resumable by anybody. Raises what `decide` does, TakenBack when the old generation serves on, and
    what `Driver.run` raises.
    """
    while True:
        now = operator.clock.now()
        decision = decide(wish, operator.store, operator.by, now)
        if decision.update is None:
            current = decision.record.current
            operator.events(NothingToDo(at=now, service=wish.name, generation=current.number, version=shown(current)))
            return None
        operator.events(Planned(at=now, service=wish.name, update=decision.update, resumed=decision.resumed))
        done = Driver(operator, decision.update).run()
        if done.state is State.ROLLED_BACK and not (wish.rollback and decision.resumed):
            raise TakenBack(
                f"{done.name} is as before, on generation {done.old.number}: generation {done.new.number} "
                f"({change(done)}) did not come into service: {done.reason}"
            )
        if not (wish.rollback and decision.resumed and done.state is State.DONE and not done.options.rollback):
            return done
        # There was no way back any more; now it can be begun.


def read_record(store: Store, name: str) -> ScheduledRecord:
    """Return what is wanted of a scheduled service. Raises Refused when there is none of that name."""
    entry = store.get(PREFIX + name)
    if entry is None:
        raise Refused(
            f"no scheduled service {name} in this cluster: inv service.submit {name}, or see inv service.list"
        )
    try:
        return parse_record(entry.value)
    except ValueError as error:
        raise Refused(f"{entry.key} in etcd is {error}") from None


def _gone_on(wish: Wish, record: ScheduledRecord, present: Update, by: str, now: datetime) -> Update:
    """Return an update that has not ended as it goes on. Raises Refused when it is another than the one wished."""
    if wish.rollback and not present.options.rollback and may_turn(present):
        return advance(present, TurnedBack(by, f"taken back by {by}"), now)
    if wish.named and not wish.rollback and wish.target is not None:
        differs = changes(present.new, wish.target(record))
        if differs:
            raise Refused(
                f"the update of {present.name} to generation {present.new.number} has not ended ({present.state}), and "
                f"is another one ({differs}): inv service.update {present.name} goes on with it, inv service.rollback "
                f"{present.name} takes it back"
            )
    return advance(present, Resumed(by), now)


def _target(wish: Wish, record: ScheduledRecord) -> Generation | None:
    if not wish.rollback:
        return wish.target(record) if wish.target else None
    if record.previous is None:
        raise Refused(f"nothing is known of {record.name} before generation {record.generation}: there is no way back")
    return record.previous


def _options(wish: Wish, new: Generation, record: ScheduledRecord) -> Options:
    policy = new.definition.update
    canary = policy.canary if wish.canary is None else wish.canary
    soak = policy.soak_seconds if wish.soak_seconds is None else wish.soak_seconds
    stop_first = policy.order == "stop-first"
    share = parse_share(canary)
    routed = new.definition.discovery is not None and record.definition.discovery is not None
    if share and (stop_first or not routed) and wish.canary is not None:
        why = (
            "stop-first leaves no old instance that could take the rest"
            if stop_first
            else "it has no share of requests"
        )
        raise ConfigError(f"{wish.name}: {why}", "canary")
    if soak < 0:
        raise ConfigError("it can't be less than nothing", "soak")
    if soak and not share and wish.soak_seconds is not None:
        raise ConfigError("it is for how long a canary gets its share: give --canary, too", "soak")
    usable = share if routed and not stop_first else 0.0
    return Options(stop_first, usable, soak if usable else 0.0, wish.rollback)
