"""What the tasks that upgrade machines have in common: their flags, and the plan that is shown before."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argosy.model import Step
    from argosy.operations.rollout.running import Flags
    from argosy.operations.rollout.seams import Events

CLUSTER = "the cluster's section under clusters: (or INVOKE_CLUSTER)"
DRY_RUN = "print the plan, change nothing"
AS_JSON = "print JSON"

UPGRADE = {
    "rollback": "put the machines of a stopped rollout back; with a new one, put all back as soon as a machine fails",
    "yes": "don't ask on a terminal",
    "cluster": CLUSTER,
    "dry_run": DRY_RUN,
    "json": "print JSON: each event on a line as it comes, or the plan",
}
"""The help of what each upgrade has; its `release` means another thing where images are built."""
SINGLE = {**UPGRADE, "machine": "its name or address"}
ROLLING = {
    **UPGRADE,
    "batch": "machines at once: a number, or a share such as 25% (rollout.batch)",
    "canary": "begin with a single machine",
    "soak": "seconds that upgraded machines are watched before the next batch (rollout.soak_seconds)",
}


def single(release: str, rollback: bool) -> Flags:
    """Return what the flags of an upgrade of one machine say."""
    from argosy.operations.rollout.running import Flags

    return Flags(release=release, batch="1", rollback=rollback)


def rolling(release: str, batch: str, canary: bool, soak: float, rollback: bool) -> Flags:
    """Return what the flags of a rolling upgrade say. `soak`: less than nothing when it was left out."""
    from argosy.operations.rollout.running import Flags

    return Flags(release, batch, canary, None if soak < 0 else soak, rollback)


def print_plan(plan: Callable[[Events], list[Step]], json: bool) -> list[Step]:
    """Print what an upgrade would do, and return it."""
    from argosy import console, rollout_view

    with rollout_view.shown() as events:
        steps = plan(events)
    console.print_steps(steps, json)
    return steps


def run(
    plan: Callable[[Events], list[Step]],
    upgrade: Callable[[Events], object],
    *,
    yes: bool,
    json: bool,
    dry_run: bool = False,
) -> None:
    """Upgrade and show it as it goes. On a terminal print the plan and ask first, unless `yes`; in a dry run only print
    it."""
    from argosy import console, rollout_view

    if dry_run or console.will_ask(yes):
        steps = print_plan(plan, json)
        if dry_run:
            return
        if steps:
            console.confirm("Go ahead?", yes)
    with rollout_view.shown(json) as events:
        upgrade(events)
