"""Begin a rollout, resume one, roll it back, or give it up, by what is asked for and what the journal says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from argosy.cluster.change import Finished, Resumed, State
from argosy.cluster.history import new_id
from argosy.cluster.release import RELEASE, Release, read_release
from argosy.errors import Refused
from argosy.etcd import Put
from argosy.etcd.values import Reader
from argosy.rollouts import events as told
from argosy.rollouts.driver import RolloutDriver
from argosy.rollouts.interfaces import Operator, Preflight
from argosy.rollouts.journal import OF_ROLLOUTS
from argosy.rollouts.plan import begin_rollout
from argosy.rollouts.record import Options, Rollout, RolloutStep
from argosy.rollouts.transitions import Aborted, Dropped, Ended, Event, TurnedBack, advance
from argosy.rollouts.workers import WorkerPool


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """`machine`: only this one; all when empty. `release`: None for that of the rollout in progress, else the newest.

    `options.rollback` puts a stopped rollout's machines back; with a new one, it does so should a machine fail.
    """

    machine: str = ""
    release: Release | None = None
    options: Options = field(default_factory=Options)


@dataclass(frozen=True, slots=True)
class Decision:
    """The record to begin or to resume, not written yet."""

    rollout: Rollout
    resumed: bool


def decide(
    request: UpgradeRequest,
    present: Rollout | None,
    preflight: Preflight,
    newest: Callable[[], Release],
    by: str,
    now: datetime,
) -> Decision:
    """Return what `upgrade` would do, after a preflight of all machines concerned. Changes nothing.

    `present`: the rollout in the journal. Raises Refused when that is another one, and what the preflight raises.
    """
    if present is None:
        return Decision(_new(request, preflight, newest, by, now), resumed=False)
    _refuse_another(request, present)
    turns = request.options.rollback and not present.options.rollback
    events: list[Event] = [TurnedBack(by) if turns else Resumed(by)]
    gone = tuple(name for name in present.machines if name not in preflight.names())
    if gone:
        events.append(Dropped(gone))
    rollout = present
    for event in events:
        rollout = advance(rollout, event, now)
    left = rollout.unfinished
    if left:
        preflight.inspect(left, None if rollout.back else rollout.release)
    return Decision(rollout, resumed=True)


def upgrade(request: UpgradeRequest, operator: Operator) -> Rollout:
    """Bring the release that is asked for to the machines, and return the record. Idempotent, and resumable by anybody.

    Raises what `decide` does, and Refused while no window is open, with nothing changed; what `Driver.run` raises for
    what fails on the way.
    """
    now = operator.work.clock.now()
    present = OF_ROLLOUTS.present(operator.work.store)
    decision = decide(request, present, operator.machines, operator.newest, operator.by, now)
    rollout = decision.rollout
    if not decision.resumed and not rollout.machines:
        return _already(rollout, operator)
    if not rollout.back and rollout.unfinished and (closed := operator.closed(now)):
        raise Refused(f"{closed}: nothing was changed")
    operator.events(told.Planned(at=now, rollout=rollout, resumed=decision.resumed))
    done = RolloutDriver(operator, rollout).run()
    if done.state is State.DONE:
        clean_up(operator, done)
    return done


def abort(operator: Operator) -> Rollout:
    """Give up the rollout in progress: machines that are still as they were go back into service, others are named.

    Raises Refused when there is none.
    """
    driver = RolloutDriver(operator, unfinished(operator.work.store))
    drained, checked = driver.record.drained_only, driver.record.at(RolloutStep.UNDRAINING)
    for name in [*drained, *checked]:
        operator.machines.undrain(name)
    driver.take(*(Ended(name) for name in checked))
    for name, progress in driver.record.machines.items():
        if (
            progress.touched
            and progress.step not in (RolloutStep.DONE, RolloutStep.ROLLED_BACK)
            and name not in drained
        ):
            message = f"it is half-way, perhaps out of service: inv cluster.upgrade-machine {name} mends that"
            operator.report(name, message)
    driver.finish(Aborted(f"given up by {operator.by}", tuple(drained)))
    return driver.record


def unfinished(store: Reader) -> Rollout:
    """Return the rollout in progress or stopped. Raises Refused when there is none."""
    rollout = OF_ROLLOUTS.present(store)
    if rollout is None:
        raise Refused("there is no rollout that could be given up")
    return rollout


def clean_up(operator: Operator, rollout: Rollout) -> None:
    """Remove the images that neither the new release nor the machine's old one needs, everywhere at once.

    A machine where that fails is told, and is no reason to fail: the rollout is done.
    """
    workers = WorkerPool(operator.work.clock, operator.max_parallel)

    def cleaning(name: str) -> Callable[[], None]:
        return lambda: operator.machines.clean_up(name, (rollout.release, rollout.machines[name].origin))

    for ended in workers.each(rollout.machines, cleaning):
        for name, outcome in ended:
            if outcome.error is not None:
                operator.report(name, f"old images could not be removed: {outcome.error}")


def _new(
    request: UpgradeRequest, preflight: Preflight, newest: Callable[[], Release], by: str, now: datetime
) -> Rollout:
    everybody = preflight.names()
    names: Sequence[str] = [request.machine] if request.machine else everybody
    if request.machine and request.machine not in everybody:
        raise Refused(f"{request.machine}: no such machine; known: {', '.join(everybody)}")
    release = request.release or newest()
    seen = preflight.inspect(names, release)
    total, whole = len(everybody), not request.machine
    return begin_rollout(new_id(now), release, seen, request.options, by=by, now=now, total=total, whole=whole)


def _refuse_another(request: UpgradeRequest, present: Rollout) -> None:
    """Raise Refused when the journal's rollout does something else."""
    same = not request.machine if present.whole else request.machine in present.machines
    if same and request.release in (None, present.release):
        return
    scope = "all machines" if present.whole else ", ".join(present.machines)
    raise Refused(
        f"rollout {present.id} of {scope} to release {present.release} has not ended ({present.state}"
        f"{f': {present.reason}' if present.reason else ''}): resume it with its own command, or give it up (--abort)"
    )


def _already(rollout: Rollout, operator: Operator) -> Rollout:
    """The release is everywhere: only make sure that it is the wanted one."""
    if rollout.whole and read_release(operator.work.store) != rollout.release:
        operator.work.holding.write([Put(RELEASE, rollout.release.text())])
    now = operator.work.clock.now()
    operator.events(told.NothingToDo(at=now, release=str(rollout.release)))
    return advance(rollout, Finished(), now)
