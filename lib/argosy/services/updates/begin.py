"""Begin an update, resume one, or turn it back, by what is asked for and what the journal says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from argosy.cluster.change import Resumed, State
from argosy.cluster.history import new_id
from argosy.errors import ConfigError, Refused, TakenBack
from argosy.etcd.values import Reader
from argosy.services.record import PREFIX, Generation, ScheduledRecord
from argosy.services.updates.driver import UpdateDriver
from argosy.services.updates.events import NothingToDo, Planned
from argosy.services.updates.interfaces import Operator
from argosy.services.updates.journal import of_updates
from argosy.services.updates.plan import begin_update, change, changes, next_generation, parse_share, shown
from argosy.services.updates.record import Options, Update
from argosy.services.updates.transitions import TurnedBack, advance, is_untouched, may_turn


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """What is asked for. `target`: finds out what the service must be, given what is wanted of it now (the number of
    the generation does not count); `named`: the command line says it, else an update that has not ended is resumed,
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
    """`update`: the record to begin or to resume, not written yet; None when there is nothing to do."""

    record: ScheduledRecord
    update: Update | None = None
    resumed: bool = False


def decide(request: UpdateRequest, store: Reader, by: str, now: datetime) -> Decision:
    """Return what `update` would do. Changes nothing. Raises Refused, ConfigError, and what `request.target` does."""
    record = read_record(store, request.name)
    present = of_updates(request.name).present(store)
    if present is not None:
        return Decision(record, _resumed(request, record, present, by, now), resumed=True)
    target = _target(request, record)
    if target is None:
        raise Refused(f"no update of {request.name} is in progress")
    if not changes(record.current, target) and not request.renew:
        return Decision(record)
    used = [update.new.number for update in of_updates(request.name).past(store)]
    used += [record.previous.number] if record.previous else []
    new = replace(target, number=next_generation(record.generation, used))
    return Decision(record, begin_update(new_id(now), record, new, _options(request, new, record), by=by, now=now))


def update(request: UpdateRequest, operator: Operator) -> Update | None:
    """Bring the service to what is asked for, and return the record of it; None when it is that already.

    Idempotent, and resumable by anybody. Raises what `decide` does, TakenBack when the old generation serves on, and
    what `Driver.run` raises.
    """
    while True:
        now = operator.work.clock.now()
        decision = decide(request, operator.work.store, operator.by, now)
        if decision.update is None:
            current = decision.record.current
            operator.events(
                NothingToDo(at=now, service=request.name, generation=current.number, version=shown(current))
            )
            return None
        operator.events(Planned(at=now, service=request.name, update=decision.update, resumed=decision.resumed))
        if is_untouched(decision.update):
            operator.ready(decision.update)
        done = UpdateDriver(operator, decision.update).run()
        if done.state is State.ROLLED_BACK and not (request.rollback and decision.resumed):
            raise TakenBack(
                f"{done.name} is as before, on generation {done.old.number}: generation {done.new.number} "
                f"({change(done)}) did not come into service: {done.reason}"
            )
        if not (request.rollback and decision.resumed and done.state is State.DONE and not done.options.rollback):
            return done
        # There was no way back any more; now a rollback can begin.


def read_record(store: Reader, name: str) -> ScheduledRecord:
    """Return what is wanted of a scheduled service. Raises Refused when there is none of that name."""
    entry = store.get(PREFIX + name)
    if entry is None:
        raise Refused(
            f"no scheduled service {name} in this cluster: inv service.submit {name}, or see inv service.list"
        )
    try:
        return ScheduledRecord.parse(entry.value)
    except ValueError as error:
        raise Refused(f"{entry.key} in etcd is {error}") from None


def _resumed(request: UpdateRequest, record: ScheduledRecord, present: Update, by: str, now: datetime) -> Update:
    """Return an update that has not ended as it is resumed. Raises Refused when something else is asked for."""
    if request.rollback and not present.options.rollback and may_turn(present):
        return advance(present, TurnedBack(by, f"taken back by {by}"), now)
    if request.named and not request.rollback and request.target is not None:
        differs = changes(present.new, request.target(record))
        if differs:
            raise Refused(
                f"the update of {present.name} to generation {present.new.number} has not ended ({present.state}), and "
                f"is another one ({differs}): inv service.update {present.name} resumes it, inv service.rollback "
                f"{present.name} takes it back"
            )
    return advance(present, Resumed(by), now)


def _target(request: UpdateRequest, record: ScheduledRecord) -> Generation | None:
    if not request.rollback:
        return request.target(record) if request.target else None
    if record.previous is None:
        raise Refused(f"nothing is known of {record.name} before generation {record.generation}: there is no way back")
    return record.previous


def _options(request: UpdateRequest, new: Generation, record: ScheduledRecord) -> Options:
    policy = new.definition.update
    canary = policy.canary if request.canary is None else request.canary
    soak = policy.soak_seconds if request.soak_seconds is None else request.soak_seconds
    stop_first = policy.order == "stop-first"
    share = parse_share(canary)
    routed = new.definition.discovery is not None and record.definition.discovery is not None
    if share and (stop_first or not routed) and request.canary is not None:
        why = (
            "stop-first leaves no old instance that could take the rest"
            if stop_first
            else "it has no share of requests"
        )
        raise ConfigError(f"{request.name}: {why}", "canary")
    if soak < 0:
        raise ConfigError("it can't be less than nothing", "soak")
    if soak and not share and request.soak_seconds is not None:
        raise ConfigError("it is for how long a canary gets its share: give --canary, too", "soak")
    usable = share if routed and not stop_first else 0.0
    return Options(stop_first, usable, soak if usable else 0.0, request.rollback)
