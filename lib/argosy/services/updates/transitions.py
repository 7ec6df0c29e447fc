"""How an update of a scheduled service goes: what comes next, and what the record becomes. Pure.

    update = begin_update(...)                         # argosy.update_plan
    while ...:
        match next_step(update, now): ...              # what to do now
        update = advance(update, event, now)           # what the record says when that has happened

Old and new generation run side by side, each a service of Swarm. A record that was read back, whoever wrote it and
wherever they stopped, leads to the same end. Until the old generation is being removed there is a way back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from argosy.scheduled_record import Generation
from argosy.update_record import State, Step, Update

_SIDE_BY_SIDE = (
    Step.STARTING,
    Step.SHARING,
    Step.SOAKING,
    Step.OPENING,
    Step.CLOSING,
    Step.EMPTYING,
    Step.REMOVING,
)
_STOP_FIRST = (Step.CLOSING, Step.EMPTYING, Step.REMOVING, Step.STARTING, Step.OPENING)


# What to do next


@dataclass(frozen=True, slots=True)
class Do:
    """Do all that belongs to this step; some of it, or all, may be done already."""

    step: Step


@dataclass(frozen=True, slots=True)
class Soak:
    """Watch the new instances until then."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Finish:
    """Close the record."""


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


@dataclass(frozen=True, slots=True)
class Stopped:
    reason: str


@dataclass(frozen=True, slots=True)
class Resumed:
    by: str


@dataclass(frozen=True, slots=True)
class Finished:
    pass


Event = Ended | Failed | TurnedBack | Stopped | Resumed | Finished


# The way


def steps_on(update: Update) -> tuple[Step, ...]:
    """Return all steps of the way on, ENDING the last."""
    if update.stopped:
        return (Step.REMOVING, Step.ENDING)
    skipped = set() if is_routed(update.new) else {Step.OPENING}
    skipped |= set() if is_routed(update.old) else {Step.CLOSING, Step.EMPTYING}
    skipped |= set() if update.options.share else {Step.SHARING, Step.SOAKING}
    every = _STOP_FIRST if update.options.stop_first else _SIDE_BY_SIDE
    return (*(step for step in every if step not in skipped), Step.ENDING)


def steps_back(update: Update) -> tuple[Step, ...]:
    """Return all steps of the way back from `update.reached`, ENDING the last."""
    reopening = [Step.REOPENING] if is_routed(update.old) else []
    withdrawing = [Step.WITHDRAWING, Step.LEAVING] if is_routed(update.new) else []
    if not update.options.stop_first:
        moved = [] if update.reached is Step.STARTING else [*reopening, *withdrawing]
        return (*moved, Step.DISCARDING, Step.ENDING)
    if update.reached in (Step.CLOSING, Step.EMPTYING):
        return (*reopening, Step.ENDING)
    moved = withdrawing if update.reached is Step.OPENING else []
    return (*moved, Step.DISCARDING, Step.RESTARTING, *reopening, Step.ENDING)


def may_turn(update: Update) -> bool:
    """Say whether there is a way back still: the old instances run, or nobody has them stopped for good."""
    past = (Step.ENDING,) if update.options.stop_first and not update.stopped else (Step.REMOVING, Step.ENDING)
    return not update.back and update.step not in past


def is_routed(generation: Generation) -> bool:
    """Say whether its instances are registered, so that requests come to them."""
    return generation.definition.discovery is not None


def next_step(update: Update, now: datetime) -> Action:
    """Return what to do now."""
    if update.step is Step.ENDING:
        return Finish()
    until = update.since + timedelta(seconds=update.options.soak_seconds)
    if update.step is Step.SOAKING and now < until:
        return Soak(until)
    return Do(update.step)


def advance(update: Update, event: Event, now: datetime) -> Update:
    """Return the record after `event`. Raises ValueError for one that can't happen."""
    match event:
        case Ended():
            if update.step is Step.ENDING:
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


def _moved(update: Update, step: Step, now: datetime) -> Update:
    taken = max(0.0, (now - update.since).total_seconds())
    seconds = {**update.seconds, update.step: math.floor(taken * 1000) / 1000}
    reached = update.reached if update.back else step
    return replace(update, step=step, reached=reached, since=now, seconds=seconds)


def _turned(update: Update, reason: str, now: datetime) -> Update:
    turned = replace(update, back=True, state=State.GOING_BACK, reason=reason, trouble="")
    return _moved(turned, steps_back(turned)[0], now)
