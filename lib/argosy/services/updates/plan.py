"""Pure. What an update of a scheduled service is to be: generation, share of the requests, and the plan in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from argosy.cluster.change import State
from argosy.config.scheduled import ScheduledSettings
from argosy.errors import ConfigError
from argosy.model import Step
from argosy.schema.values import DEFAULT_WEIGHT, MAX_WEIGHT
from argosy.services.record import Generation, ScheduledRecord, definition_json
from argosy.services.updates.record import Options, Update, UpdateStep
from argosy.services.updates.transitions import is_routed, steps_back, steps_on

SHARE_ERROR = 0.1
"""By how much of itself a canary's share may be off before the old instances' weights are changed, too."""


def begin_update(
    id: str, record: ScheduledRecord, new: Generation, options: Options, *, by: str, now: datetime
) -> Update:
    """Return the record of an update that begins. `record`: what is wanted of the service so far."""
    update = Update(
        id=id,
        state=State.RUNNING,
        name=record.name,
        old=record.current,
        new=new,
        replicas=wanted_replicas(record, new.definition),
        before=record.replicas,
        stopped=record.stopped,
        options=options,
        step=UpdateStep.ENDING,
        reached=UpdateStep.ENDING,
        since=now,
        started=now,
        by=by,
    )
    first = steps_on(update)[0]
    return replace(update, step=first, reached=first)


def wanted_replicas(record: ScheduledRecord, definition: ScheduledSettings) -> int | None:
    """Return how many instances the new definition means: its own number if it says another than the old one did, else
    as many as there are to be now."""
    return record.replicas if definition.count == record.definition.count else definition.count


def next_generation(current: int, used: Iterable[int]) -> int:
    """Return the number of a generation beside `current`. `used`: others that there were once.

    One is odd and the other even: services that never share a machine are kept apart by that
    (argosy.config.scheduled_rules).
    """
    number = max([current, *used]) + 1
    return number + (number - current + 1) % 2


def parse_share(text: str) -> float:
    """Return the share of `10%`; 0 of an empty text. Raises ConfigError."""
    if not text:
        return 0.0
    if not re.fullmatch(r"[1-9]\d?%", text):
        raise ConfigError(f"{text!r} is no share of the requests, such as 10%", "canary")
    return int(text.removesuffix("%")) / 100


def share_weights(share: float, new: int, old: int, old_weight: int = DEFAULT_WEIGHT) -> tuple[int, int]:
    """Return the weights of each new and each old instance by which the new ones together get `share` of the requests.

    `new`, `old`: how many there are, at least one of each. The old ones keep theirs if that is near enough.
    """

    def found(weight: int) -> tuple[float, int, int]:
        exact = share / (1 - share) * old * weight / new
        mine = min(max(round(exact), 1), MAX_WEIGHT)
        return abs(new * mine / (new * mine + old * weight) - share), mine, weight

    error, mine, _ = found(max(old_weight, 1))
    if error <= share * SHARE_ERROR:
        return mine, max(old_weight, 1)
    _, mine, weight = min(found(weight) for weight in range(1, MAX_WEIGHT + 1))
    return mine, weight


def plan_lines(update: Update) -> list[Step]:
    """Return what is left to do, as `--dry-run` prints it."""
    way = steps_back(update) if update.back else steps_on(update)
    left = way[way.index(update.step) :]
    return [Step(update.name, line) for step in left for line in _lines(update, step)]


def _lines(update: Update, step: UpdateStep) -> Iterator[str]:
    old, new = f"generation {update.old.number}", f"generation {update.new.number}"
    if step is UpdateStep.STARTING:
        beside = f"once {old} is gone" if update.options.stop_first else f"beside {old}"
        many = "one on each machine that fits" if update.replicas is None else f"{update.replicas} instances"
        yield f"start {new} ({change(update)}) {beside}: {many}, which get no requests yet"
        yield f"wait until each of them is healthy{_known(update.new)}"
    elif step is UpdateStep.REMOVING and update.stopped:
        yield f"it is stopped, and stays so: {new} ({change(update)}) is what service.start starts"
    elif step is UpdateStep.REMOVING:
        yield f"stop and remove {old}"
        if update.options.stop_first:
            yield f"from here on nobody serves until {new} does (order: stop-first)"
    elif step is not UpdateStep.ENDING:
        share = f"{update.options.share:.0%}"
        yield {
            UpdateStep.SHARING: f"give {new} {share} of the requests",
            UpdateStep.SOAKING: f"watch it for {update.options.soak_seconds:g} s",
            UpdateStep.OPENING: f"give {new} its full share of requests",
            UpdateStep.CLOSING: f"give {old} no more requests, and wait until every live router knows",
            UpdateStep.EMPTYING: f"wait until the connections to {old} have ended",
            UpdateStep.RESTARTING: f"start {old} again, and wait until it is healthy",
            UpdateStep.REOPENING: f"give {old} its full share of requests again",
            UpdateStep.WITHDRAWING: f"give {new} no more requests, and wait until every live router knows",
            UpdateStep.LEAVING: f"wait until the connections to {new} have ended",
            UpdateStep.DISCARDING: f"stop and remove {new}",
        }[step]


def _known(generation: Generation) -> str:
    return ", registered, and known to every live router" if is_routed(generation) else ""


def change(update: Update) -> str:
    """Return what is another in the new generation, in words."""
    return changes(update.old, update.new) or "the same again"


def changes(old: Generation, new: Generation) -> str:
    """Return in what two generations differ, in words; nothing for two that are the same."""
    before, after = definition_json(old.definition), definition_json(new.definition)
    words = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key) and key != "image")
    if old.image != new.image:
        words.insert(0, f"{shown(old)} -> {shown(new)}")
    return ", ".join(words)


def shown(generation: Generation) -> str:
    """Return the version of a generation's image, else as much of its reference as tells it apart."""
    return generation.image.version or generation.image.reference.rpartition("/")[2][:40]
