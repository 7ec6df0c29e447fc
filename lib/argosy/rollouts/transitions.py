"""Pure. How a rollout goes: what comes next, and what the record becomes.

    rollout = begin_rollout(...)                       # argosy.rollouts.plan
    while ...:
        match next_step(rollout, now, running, facts): # what to do now
            ...
        rollout = advance(rollout, event, now)         # what the record says when that has happened

A record that was read back, whoever wrote it and wherever they stopped, leads to the same end.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from argosy.cluster.change import Finish, Finished, Resumed, State, Stopped, seconds_between
from argosy.rollouts.record import UNDER_WAY, WORK, Progress, Rollout, RolloutStep

_DONE = RolloutStep.DONE
_QUIET = (RolloutStep.PREPARED, RolloutStep.DONE)
_AFTER = {
    RolloutStep.PREPARING: RolloutStep.PREPARED,
    RolloutStep.DRAINING: RolloutStep.INSTALLING,
    RolloutStep.INSTALLING: RolloutStep.CHECKING,
    RolloutStep.CHECKING: RolloutStep.UNDRAINING,
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true between two batches. `troubles`: why machines of the cluster are not well; the others are.
    `closed`: why no batch may begin now, such as a maintenance window that is over."""

    troubles: Mapping[str, str] = field(default_factory=dict)
    closed: str = ""


# What to do next


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin this work, each on its machine, all at the same time."""

    work: tuple[tuple[str, RolloutStep], ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Until something that runs has ended."""


@dataclass(frozen=True, slots=True)
class Soak:
    """Watch `machines`, which are done, until then."""

    until: datetime
    machines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    """Find out the Facts, and ask again: `machines` would be next."""

    machines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    reason: str


@dataclass(frozen=True, slots=True)
class TurnBack:
    """Put all machines back on their old releases."""

    reason: str


Action = Begin | Wait | Soak | Survey | Stop | TurnBack | Finish


# What has happened


@dataclass(frozen=True, slots=True)
class Began:
    work: tuple[tuple[str, RolloutStep], ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """The machine's present step has succeeded."""

    machine: str


@dataclass(frozen=True, slots=True)
class Failed:
    machine: str
    reason: str


@dataclass(frozen=True, slots=True)
class TurnedBack:
    """From here on, every machine that was touched gets its old release back."""

    by: str


@dataclass(frozen=True, slots=True)
class Aborted:
    """It is given up; the machines stay as they are. `undrained`: those that are in service again."""

    reason: str
    undrained: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """These machines are in the cluster no longer."""

    machines: tuple[str, ...]


Event = Began | Ended | Failed | Stopped | Resumed | TurnedBack | Aborted | Dropped | Finished


def next_step(rollout: Rollout, now: datetime, running: Collection[str] = (), facts: Facts | None = None) -> Action:
    """Return what to do now. `running`: the machines at which this process is at work; `facts`: what a Survey found."""
    failed, under_way, unprepared = _unfinished(rollout)
    if failed or under_way:
        waiting = [(name, rollout.machines[name].step) for name in under_way if name not in running]
        if waiting:
            return Begin(tuple(waiting))
        return Wait() if running else _after_failure(rollout, failed)
    if rollout.back:
        return _next_back(rollout, facts)
    if unprepared:
        waiting = [(name, RolloutStep.PREPARING) for name in unprepared if name not in running]
        return Begin(tuple(waiting)) if waiting else Wait()
    return _next_forward(rollout, now, facts)


def _unfinished(rollout: Rollout) -> tuple[list[str], list[str], list[str]]:
    """Return the machines that failed, that are out of service, and whose images are not there yet.

    Called at each event: with 1,000 machines every look at an enumeration counts.
    """
    unprepared = (RolloutStep.PENDING, RolloutStep.PREPARING)
    rest = [(name, machine.step) for name, machine in rollout.machines.items() if machine.step not in _QUIET]
    return (
        [name for name, step in rest if step is RolloutStep.FAILED],
        [name for name, step in rest if step in UNDER_WAY],
        [name for name, step in rest if step in unprepared],
    )


def _after_failure(rollout: Rollout, failed: Sequence[str]) -> Action:
    reason = "; ".join(f"{name}: {rollout.machines[name].reason}" for name in failed)
    if rollout.options.rollback and not rollout.back:
        return TurnBack(reason)
    return Stop(reason)


def _next_forward(rollout: Rollout, now: datetime, facts: Facts | None) -> Action:
    first = next((name for name, machine in rollout.machines.items() if machine.step is not _DONE), None)
    done: tuple[str, ...] = ()
    for batch in rollout.order:
        if first in batch:
            left = tuple(name for name in batch if rollout.machines[name].step is not _DONE)
            return _next_batch(rollout, left, done, now, facts)
        done = batch
    return Finish()


def _next_batch(
    rollout: Rollout, batch: tuple[str, ...], before: tuple[str, ...], now: datetime, facts: Facts | None
) -> Action:
    if before and rollout.options.soak_seconds:
        last = max(rollout.machines[name].since for name in before)
        until = last + timedelta(seconds=rollout.options.soak_seconds)
        if now < until:
            return Soak(until, before)
    if facts is None:
        return Survey(batch)
    if facts.closed:
        return Stop(facts.closed)
    return _gated(batch, facts)


def _next_back(rollout: Rollout, facts: Facts | None) -> Action:
    for batch in reversed(rollout.order):
        left = tuple(name for name in batch if rollout.machines[name].step is RolloutStep.DONE)
        if left:
            return Survey(left) if facts is None else _gated(left, facts)
    return Finish()


def _gated(batch: tuple[str, ...], facts: Facts) -> Action:
    """Begin with those of `batch` that are out of service, which takes nothing from anybody; with the rest when all are
    well."""
    out = [name for name in batch if name in facts.troubles]
    if not out and facts.troubles:
        others = "; ".join(f"{name}: {reason}" for name, reason in sorted(facts.troubles.items()))
        return Stop(f"{', '.join(batch)} can't be spared, since others are not well: {others}")
    return Begin(tuple((name, RolloutStep.DRAINING) for name in out or batch))


def advance(rollout: Rollout, event: Event, now: datetime) -> Rollout:
    """Return the record after `event`. Raises ValueError for one that can't happen."""
    match event:
        case Began(work):
            return _moved(rollout, {name: step for name, step in work if rollout.machines[name].step is not step}, now)
        case Ended(machine):
            return _moved(rollout, {machine: _after(rollout, machine)}, now)
        case Failed(machine, reason):
            return _failed(rollout, machine, reason, now)
        case Stopped(reason):
            return replace(rollout, state=State.STOPPED, reason=reason)
        case Resumed(by):
            return _resumed(rollout, by, now)
        case TurnedBack(by):
            return _turned_back(rollout, by, now)
        case Aborted(reason, undrained):
            moved = _moved(rollout, dict.fromkeys(undrained, RolloutStep.PENDING), now)
            return replace(moved, state=State.ABORTED, reason=reason)
        case Dropped(machines):
            return _dropped(rollout, machines)
        case Finished():
            return replace(rollout, state=State.ROLLED_BACK if rollout.back else State.DONE, reason="")


def _after(rollout: Rollout, machine: str) -> RolloutStep:
    step = rollout.machines[machine].step
    if step is RolloutStep.UNDRAINING:
        return RolloutStep.ROLLED_BACK if rollout.back else RolloutStep.DONE
    if step not in _AFTER:
        raise ValueError(f"{machine} is {step}: nothing of it can have ended")
    return _AFTER[step]


def _moved(rollout: Rollout, steps: Mapping[str, RolloutStep], now: datetime, reason: str = "") -> Rollout:
    machines = dict(rollout.machines)
    for name, step in steps.items():
        before = machines[name]
        seconds = before.seconds
        if before.step in WORK:
            seconds = {**seconds, before.step: seconds_between(before.since, now)}
        touched = before.touched or step in UNDER_WAY
        machines[name] = Progress(step, now, before.origin, touched, reason, seconds)
    return replace(rollout, machines=machines)


def _failed(rollout: Rollout, machine: str, reason: str, now: datetime) -> Rollout:
    step = rollout.machines[machine].step
    if step not in (*WORK, RolloutStep.DONE):
        raise ValueError(f"{machine} is {step}: it can't have failed")
    return _moved(
        rollout, {machine: RolloutStep.FAILED}, now, reason if step is RolloutStep.DONE else f"{step}: {reason}"
    )


def _resumed(rollout: Rollout, by: str, now: datetime) -> Rollout:
    again = RolloutStep.DRAINING if rollout.back else RolloutStep.PENDING
    moved = _moved(_until(rollout, now), dict.fromkeys(rollout.at(RolloutStep.FAILED), again), now)
    return replace(moved, state=State.ROLLING_BACK if rollout.back else State.RUNNING, reason="", by=by)


def _until(rollout: Rollout, now: datetime) -> Rollout:
    """Return the record without moments that are still to come, from a host whose clock is ahead."""
    machines = {
        name: machine if machine.since <= now else replace(machine, since=now)
        for name, machine in rollout.machines.items()
    }
    return replace(rollout, machines=machines)


def _turned_back(rollout: Rollout, by: str, now: datetime) -> Rollout:
    """Those out of service go first, and at once; those in service, which are DONE, wait for their turn."""
    if rollout.back:
        return _resumed(rollout, by, now)
    steps = {
        name: _way_back(machine) for name, machine in rollout.machines.items() if machine.step is not RolloutStep.DONE
    }
    return replace(_moved(rollout, steps, now), state=State.ROLLING_BACK, back=True, reason="", by=by)


def _way_back(progress: Progress) -> RolloutStep:
    if not progress.touched:
        return RolloutStep.PENDING
    return RolloutStep.DRAINING if progress.installed else RolloutStep.UNDRAINING


def _dropped(rollout: Rollout, machines: Collection[str]) -> Rollout:
    gone = frozenset(machines)
    order = [tuple(name for name in batch if name not in gone) for batch in rollout.order]
    kept = {name: machine for name, machine in rollout.machines.items() if name not in gone}
    return replace(rollout, machines=kept, order=tuple(batch for batch in order if batch))
