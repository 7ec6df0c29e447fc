"""Begin a rollout, go on with one, turn it back, or give it up: whichever the wish and the journal come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from argosy import rollout_events as told
from argosy.errors import Refused
from argosy.etcd import Put
from argosy.events import Said
from argosy.operations import journal
from argosy.operations.journal import RELEASE, Journal, new_id, read_release, release_text
from argosy.operations.rollout.crew import Crew
from argosy.operations.rollout.driver import Driver
from argosy.operations.rollout.seams import Looks, Operator
from argosy.rollout import Aborted, Dropped, Ended, Event, Finished, Resumed, TurnedBack, advance
from argosy.rollout_plan import begin_rollout
from argosy.rollout_record import Options, Release, Rollout, State, Step


@dataclass(frozen=True, slots=True)
class Wish:
    """`machine`: only this one; all when empty. `release`: None for that of the rollout in progress, else the newest.

    `options.rollback` puts a stopped rollout's machines back; with a new one, it does so should a machine fail.
    """

    machine: str = ""
    release: Release | None = None
    options: Options = field(default_factory=Options)


@dataclass(frozen=True, slots=True)
class Decision:
    """The record to begin or to go on with, not written yet."""

    rollout: Rollout
    resumed: bool


def decide(
    wish: Wish, present: Rollout | None, looks: Looks, newest: Callable[[], Release], by: str, now: datetime
) -> Decision:
    """Return what `upgrade` would do, after a preflight of all machines concerned. Changes nothing.

    `present`: the rollout in the journal. Raises Refused when that is another one, and what the preflight raises.
    """
    if present is None:
        return Decision(_new(wish, looks, newest, by, now), resumed=False)
    _refuse_another(wish, present)
    turns = wish.options.rollback and not present.options.rollback
    events: list[Event] = [TurnedBack(by) if turns else Resumed(by)]
    gone = tuple(name for name in present.machines if name not in looks.names())
    if gone:
        events.append(Dropped(gone))
    rollout = present
    for event in events:
        rollout = advance(rollout, event, now)
    left = rollout.unfinished
    if left:
        looks.preflight(left, None if rollout.back else rollout.release)
    return Decision(rollout, resumed=True)


def upgrade(wish: Wish, operator: Operator) -> Rollout:
    """Bring the wished release to the machines, and return the record of it. Idempotent, and resumable by anybody.

    Raises what `decide` does, and Refused while no window is open, with nothing changed; what `Driver.run` raises for
    what goes wrong on the way.
    """
    record = Journal(operator.store, operator.lock)
    now = operator.clock.now()
    decision = decide(wish, record.read(), operator.machines, operator.newest, operator.name, now)
    rollout = decision.rollout
    if not decision.resumed and not rollout.machines:
        return _already(rollout, operator)
    if not rollout.back and rollout.unfinished and (closed := operator.closed(now)):
        raise Refused(f"{closed}: nothing was changed")
    record.write(rollout)
    operator.events(told.Planned(at=now, rollout=rollout, resumed=decision.resumed))
    done = Driver(operator, rollout).run()
    if done.state is State.DONE:
        clean_up(operator, done)
    return done


def abort(operator: Operator) -> Rollout:
    """Give up the rollout in progress: machines that are still as they were go back into service, others are named.

    Raises Refused when there is none.
    """
    record, clock, rollout = Journal(operator.store, operator.lock), operator.clock, unfinished(operator.store)
    drained, checked = rollout.drained_only, rollout.at(Step.UNDRAINING)
    for name in [*drained, *checked]:
        operator.machines.undrain(name)
    events: list[Event] = [Ended(name) for name in checked]
    for event in [*events, Aborted(f"given up by {operator.name}", tuple(drained))]:
        rollout = advance(rollout, event, clock.now())
    for name, it in rollout.machines.items():
        if it.touched and it.step not in (Step.DONE, Step.ROLLED_BACK) and name not in drained:
            message = f"it is half-way, perhaps out of service: inv cluster.upgrade-machine {name} mends that"
            operator.events(Said(at=clock.now(), machine=name, message=message))
    record.close(rollout)
    record.note(clock.now(), f"rollout {rollout.id} to release {rollout.release}", str(rollout.state))
    release, state = str(rollout.release), str(rollout.state)
    operator.events(told.Ended(at=clock.now(), state=state, release=release, seconds=0, reason=rollout.reason))
    return rollout


def unfinished(store: journal.Store) -> Rollout:
    """Return the rollout in progress or stopped. Raises Refused when there is none."""
    rollout = journal.read_rollout(store)
    if rollout is None:
        raise Refused("there is no rollout that could be given up")
    return rollout


def clean_up(operator: Operator, rollout: Rollout) -> None:
    """Remove the images that neither the new release nor the machine's old one needs, everywhere at once.

    A machine where that fails is told, and is no reason to fail: the rollout is done.
    """
    crew, waiting = Crew(operator.clock), list(rollout.machines)
    while waiting or crew.busy:
        while waiting and len(crew.busy) < operator.max_parallel:
            name = waiting.pop(0)
            crew.start(name, _cleaning(operator, rollout, name))
        crew.wait()
        for name, outcome in crew.finished():
            if outcome.error is not None:
                message = f"old images could not be removed: {outcome.error}"
                operator.events(Said(at=operator.clock.now(), machine=name, message=message))


def _cleaning(operator: Operator, rollout: Rollout, name: str) -> Callable[[], None]:
    keep = (rollout.release, rollout.machines[name].origin)
    return lambda: operator.machines.clean_up(name, keep)


def _new(wish: Wish, looks: Looks, newest: Callable[[], Release], by: str, now: datetime) -> Rollout:
    everybody = looks.names()
    names: Sequence[str] = [wish.machine] if wish.machine else everybody
    if wish.machine and wish.machine not in everybody:
        raise Refused(f"{wish.machine}: no such machine; known: {', '.join(everybody)}")
    release = wish.release or newest()
    seen = looks.preflight(names, release)
    return begin_rollout(
        new_id(now),
        release,
        seen.found,
        wish.options,
        by=by,
        now=now,
        total=len(everybody),
        members=seen.members,
        away=seen.away,
        whole=not wish.machine,
    )


def _refuse_another(wish: Wish, present: Rollout) -> None:
    """Raise Refused when the wish is not what the journal's rollout does."""
    same = not wish.machine if present.whole else wish.machine in present.machines
    if same and wish.release in (None, present.release):
        return
    scope = "all machines" if present.whole else ", ".join(present.machines)
    raise Refused(
        f"rollout {present.id} of {scope} to release {present.release} has not ended ({present.state}"
        f"{f': {present.reason}' if present.reason else ''}): go on with it by its own command, or give it up (--abort)"
    )


def _already(rollout: Rollout, operator: Operator) -> Rollout:
    """The release is everywhere: only make sure that it is the wanted one."""
    if rollout.whole and read_release(operator.store) != rollout.release:
        operator.lock.write([Put(RELEASE, release_text(rollout.release))])
    now = operator.clock.now()
    operator.events(told.NothingToDo(at=now, release=str(rollout.release)))
    return advance(rollout, Finished(), now)
