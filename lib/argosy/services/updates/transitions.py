"""Pure. How an update of a scheduled service goes: what comes next, and what the record becomes.

    update = begin_update(...)                         # argosy.services.updates.plan
    while ...:
        match next_step(update, now): ...              # what to do now
        update = advance(update, event, now)           # what the record says when that has happened

Old and new generation run side by side, each a service of Swarm. A record that was read back, whoever wrote it and
wherever they stopped, leads to the same end. Until the old generation is being removed there is a way back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from argosy.cluster.change import Finish, Finished, Resumed, State, Stopped, seconds_between
from argosy.services.record import Generation
from argosy.services.updates.record import Update, UpdateStep

_SIDE_BY_SIDE = (
    UpdateStep.STARTING,
    UpdateStep.SHARING,
    UpdateStep.SOAKING,
    UpdateStep.OPENING,
    UpdateStep.CLOSING,
    UpdateStep.EMPTYING,
    UpdateStep.REMOVING,
)
_STOP_FIRST = (UpdateStep.CLOSING, UpdateStep.EMPTYING, UpdateStep.REMOVING, UpdateStep.STARTING, UpdateStep.OPENING)


# What to do next


@dataclass(frozen=True, slots=True)
class Do:
    """Do all that belongs to this step; some of it, or all, may be done already."""

    step: UpdateStep


@dataclass(frozen=True, slots=True)
class Soak:
    """Watch the new instances until then."""

    until: datetime


Action = Do | Soak | Finish


# What has happened


@dataclass(frozen=True, slots=True)
class Ended:
    """The present step has succeeded."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The present step has not: from here it goes back, or where that can't be, it is stopped."""

    reason: str


@dataclass(frozen=True, slots=True)
class TurnedBack:
    by: str
    reason: str


Event = Ended | Failed | TurnedBack | Stopped | Resumed | Finished


# The way


def steps_on(update: Update) -> tuple[UpdateStep, ...]:
    """Return all steps of the way on, ENDING the last."""
    if update.stopped:
        return (UpdateStep.REMOVING, UpdateStep.ENDING)
    skipped = set() if is_routed(update.new) else {UpdateStep.OPENING}
    skipped |= set() if is_routed(update.old) else {UpdateStep.CLOSING, UpdateStep.EMPTYING}
    skipped |= set() if update.options.share else {UpdateStep.SHARING, UpdateStep.SOAKING}
    every = _STOP_FIRST if update.options.stop_first else _SIDE_BY_SIDE
    return (*(step for step in every if step not in skipped), UpdateStep.ENDING)


def steps_back(update: Update) -> tuple[UpdateStep, ...]:
    """Return all steps of the way back from `update.reached`, ENDING the last."""
    reopening = [UpdateStep.REOPENING] if is_routed(update.old) else []
    withdrawing = [UpdateStep.WITHDRAWING, UpdateStep.LEAVING] if is_routed(update.new) else []
    if not update.options.stop_first:
        moved = [] if update.reached is UpdateStep.STARTING else [*reopening, *withdrawing]
        return (*moved, UpdateStep.DISCARDING, UpdateStep.ENDING)
    if update.reached in (UpdateStep.CLOSING, UpdateStep.EMPTYING):
        return (*reopening, UpdateStep.ENDING)
    moved = withdrawing if update.reached is UpdateStep.OPENING else []
    return (*moved, UpdateStep.DISCARDING, UpdateStep.RESTARTING, *reopening, UpdateStep.ENDING)


def may_turn(update: Update) -> bool:
    """Say whether there is a way back still: the old instances run, or nobody has them stopped for good."""
    past = (
        (UpdateStep.ENDING,)
        if update.options.stop_first and not update.stopped
        else (UpdateStep.REMOVING, UpdateStep.ENDING)
    )
    return not update.back and update.step not in past


def is_untouched(update: Update) -> bool:
    """Say whether no instance was started or stopped yet."""
    return not update.back and update.step is steps_on(update)[0]


def is_routed(generation: Generation) -> bool:
    """Say whether its instances are registered, so that requests come to them."""
    return generation.definition.discovery is not None


def next_step(update: Update, now: datetime) -> Action:
    """Return what to do now."""
    if update.step is UpdateStep.ENDING:
        return Finish()
    until = update.since + timedelta(seconds=update.options.soak_seconds)
    if update.step is UpdateStep.SOAKING and now < until:
        return Soak(until)
    return Do(update.step)


def advance(update: Update, event: Event, now: datetime) -> Update:
    """Return the record after `event`. Raises ValueError for one that can't happen."""
    match event:
        case Ended():
            if update.step is UpdateStep.ENDING:
                raise ValueError(f"update {update.id} of {update.name} has no step left")
            way = steps_back(update) if update.back else steps_on(update)
            return _moved(update, way[way.index(update.step) + 1], now)
        case Failed(reason):
            if may_turn(update):
                return _turned(update, f"{update.step}: {reason}", now)
            return replace(update, state=State.STOPPED, trouble=f"{update.step}: {reason}")
        case TurnedBack(by, reason):
            if not may_turn(update):
                raise ValueError(f"update {update.id} of {update.name} is {update.step}: there is no way back")
            return replace(_turned(update, reason, now), by=by)
        case Stopped(reason):
            return replace(update, state=State.STOPPED, trouble=reason)
        case Resumed(by):
            since = min(update.since, now)  # the clock of who began it may be ahead
            state = State.GOING_BACK if update.back else State.RUNNING
            return replace(update, state=state, trouble="", by=by, since=since)
        case Finished():
            return replace(update, state=State.ROLLED_BACK if update.back else State.DONE)


def _moved(update: Update, step: UpdateStep, now: datetime) -> Update:
    seconds = {**update.seconds, update.step: seconds_between(update.since, now)}
    reached = update.reached if update.back else step
    return replace(update, step=step, reached=reached, since=now, seconds=seconds)


def _turned(update: Update, reason: str, now: datetime) -> Update:
    turned = replace(update, back=True, state=State.GOING_BACK, reason=reason, trouble="")
    return _moved(turned, steps_back(turned)[0], now)
