"""Which machines a rollout upgrades, and which of them together. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from argosy.errors import ConfigError
from argosy.model import Step as PlanStep
from argosy.rollout_record import Options, Progress, Release, Rollout, State, Step


@dataclass(frozen=True, slots=True)
class Found:
    """A machine before a rollout. `trouble`: why it is not in service as it should be, or empty."""

    name: str
    release: Release
    trouble: str = ""


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
    id: str,
    release: Release,
    machines: Sequence[Found],
    options: Options,
    *,
    by: str,
    now: datetime,
    total: int,
    members: Collection[str] = (),
    away: int = 1,
    whole: bool = True,
) -> Rollout:
    """Return the record of a rollout that begins, without the machines that have the release and are well.

    Machines that are not in service come first: to upgrade them takes nothing from anybody.
    """
    lacking = {it.name: it for it in machines if it.trouble or it.release != release}
    order = plan_batches(
        sorted(lacking, key=lambda name: not lacking[name].trouble),
        options.batch,
        canary=options.canary and whole,
        total=total,
        members=members,
        away=away,
    )
    return Rollout(
        id=id,
        release=release,
        state=State.RUNNING,
        options=options,
        machines={name: Progress(Step.PENDING, now, lacking[name].release) for batch in order for name in batch},
        order=order,
        started=now,
        by=by,
        whole=whole,
    )


def plan_lines(rollout: Rollout) -> list[PlanStep]:
    """Return what is left to do, as `--dry-run` prints it: the images everywhere, then one batch after the other."""
    if rollout.back:
        return [PlanStep(name, f"put back: {_change(rollout, name)}") for name in reversed(rollout.unfinished)]
    unprepared = rollout.at(Step.PENDING, Step.PREPARING)
    steps = [PlanStep(name, f"pull the images of release {rollout.release}") for name in unprepared]
    for number, batch in enumerate(rollout.order, 1):
        left = [name for name in batch if rollout.machines[name].step is not Step.DONE]
        if left and number > 1 and rollout.options.soak_seconds:
            before = ", ".join(rollout.order[number - 2])
            steps.append(PlanStep(before, f"watch for {rollout.options.soak_seconds:g} s"))
        place = f"batch {number} of {len(rollout.order)}"
        steps += [PlanStep(name, f"{place}: {_change(rollout, name)}") for name in left]
    return steps


def _change(rollout: Rollout, name: str) -> str:
    origin = rollout.machines[name].origin
    change = f"install {rollout.release} -> {origin}" if rollout.back else f"install {origin} -> {rollout.release}"
    return f"drain, {change}, check, undrain"
