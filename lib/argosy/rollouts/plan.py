"""Pure. Which machines a rollout upgrades, and which of them together."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from argosy.cluster.change import State
from argosy.cluster.release import Release
from argosy.errors import ConfigError
from argosy.images.versions import PinnedService
from argosy.model import Step
from argosy.rollouts.record import Options, Progress, Rollout, RolloutStep


@dataclass(frozen=True, slots=True)
class Found:
    """A machine before a rollout. `trouble`: why it is not in service as it should be, or empty."""

    name: str
    release: Release
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found when all was well enough to begin. `members`: the machines that run etcd, of which `away` may be
    away at once."""

    found: tuple[Found, ...]
    members: tuple[str, ...] = ()
    away: int = 1


def parse_batch(text: str, total: int) -> int:
    """Return how many machines of `total` a batch has: `2` or `25%`, rounded down, but never none, and never all.

    Raises ConfigError for anything else.
    """
    if not re.fullmatch(r"[1-9]\d{0,3}%?", text):
        raise ConfigError(f"{text!r} is neither a number of machines nor a share of them, such as 2 or 25%", "batch")
    number = int(text.removesuffix("%"))
    wanted = number * total // 100 if text.endswith("%") else number
    return min(max(wanted, 1), max(total - 1, 1))


def plan_batches(
    names: Sequence[str], batch: str, *, canary: bool, total: int, members: Collection[str] = (), away: int = 1
) -> tuple[tuple[str, ...], ...]:
    """Return `names` in batches, in their order as far as it goes.

    `total`: how many machines the cluster has. `members`: those that run etcd, of which `away` may be away at once (but
    one always may). With `canary` the first batch is one machine.
    """
    size, limit, rest = parse_batch(batch, total), max(away, 1), list(names)
    runs_etcd = frozenset(members)
    batches: list[tuple[str, ...]] = []
    while rest:
        chosen: list[str] = []
        left: list[str] = []
        room, places = (1 if canary and not batches else size), limit
        for index, name in enumerate(rest):
            if room == 0:
                left += rest[index:]
                break
            if name in runs_etcd and places == 0:
                left.append(name)
                continue
            chosen.append(name)
            room -= 1
            places -= name in runs_etcd
        batches.append(tuple(chosen))
        rest = left
    return tuple(batches)


def begin_rollout(
    id: str, release: Release, seen: Findings, options: Options, *, by: str, now: datetime, total: int, whole: bool
) -> Rollout:
    """Return the record of a rollout that begins, without the machines that have the release and are well.

    Machines that are not in service come first: to upgrade them takes nothing from anybody.
    """
    lacking = {machine.name: machine for machine in seen.found if machine.trouble or machine.release != release}
    order = plan_batches(
        sorted(lacking, key=lambda name: not lacking[name].trouble),
        options.batch,
        canary=options.canary and whole,
        total=total,
        members=seen.members,
        away=seen.away,
    )
    return Rollout(
        id=id,
        release=release,
        state=State.RUNNING,
        options=options,
        machines={name: Progress(RolloutStep.PENDING, now, lacking[name].release) for batch in order for name in batch},
        order=order,
        started=now,
        by=by,
        whole=whole,
    )


def plan_lines(rollout: Rollout) -> list[Step]:
    """Return what is left to do, as `--dry-run` prints it: the images everywhere, then one batch after the other."""
    if rollout.back:
        return [Step(name, f"put back: {_change(rollout, name)}") for name in reversed(rollout.unfinished)]
    unprepared = rollout.at(RolloutStep.PENDING, RolloutStep.PREPARING)
    steps = [Step(name, f"pull the images of release {rollout.release}") for name in unprepared]
    for number, batch in enumerate(rollout.order, 1):
        left = [name for name in batch if rollout.machines[name].step is not RolloutStep.DONE]
        if left and number > 1 and rollout.options.soak_seconds:
            before = ", ".join(rollout.order[number - 2])
            steps.append(Step(before, f"watch for {rollout.options.soak_seconds:g} s"))
        place = f"batch {number} of {len(rollout.order)}"
        steps += [Step(name, f"{place}: {_change(rollout, name)}") for name in left]
    return steps


def down_lines(rollout: Rollout, pinned: Callable[[Release], Mapping[str, PinnedService] | None]) -> list[Step]:
    """Return what the rollout stops where nobody else serves: services that run on some machines only, and change.

    `pinned`: those of a release; None where that is not known, so that any of the other one may change.
    """
    steps = []
    for name in rollout.unfinished:
        progress = rollout.machines[name]
        before, after = (progress.origin, rollout.release)[:: -1 if rollout.back else 1]
        for service, seconds in stopped(name, pinned(before), pinned(after)):
            text = f"{service} will be down for about {seconds:g} s, and until it passes its check"
            steps.append(Step(name, text, down_seconds=seconds))
    return steps


def stopped(
    machine: str, before: Mapping[str, PinnedService] | None, after: Mapping[str, PinnedService] | None
) -> list[tuple[str, float]]:
    """Return the pinned services that stop on a machine when its release changes, and what each may take to stop."""
    old, new = (
        {name: found for name, found in (services or {}).items() if machine in found.machines}
        for services in (before, after)
    )
    known = {**new, **old} if before is None else old
    return [
        (name, found.grace_seconds)
        for name, found in sorted(known.items())
        if before is None or name not in new or new[name].revision != found.revision
    ]


def _change(rollout: Rollout, name: str) -> str:
    origin = rollout.machines[name].origin
    change = f"install {rollout.release} -> {origin}" if rollout.back else f"install {origin} -> {rollout.release}"
    return f"drain, {change}, check, undrain"
