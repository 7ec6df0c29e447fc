"""What the tasks that upgrade machines have in common: their flags, and the plan that is shown before."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from argosy import console

if TYPE_CHECKING:
    from argosy.cluster.events import Events
    from argosy.model import Step
    from argosy.rollouts.run import Flags


UPGRADE = {
    "rollback": "put the machines of a stopped rollout back (of one that has ended: --release OLD); with a new one, "
    "put all back as soon as a machine fails",
    "yes": "don't ask on a terminal",
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


def flags_of(release: str, rollback: bool, batch: str = "1", canary: bool = False, soak: float = -1.0) -> Flags:
    """Return what the flags of an upgrade say, as they are for one machine. `soak`: less than nothing when it was left
    out."""
    from argosy.rollouts.run import Flags

    return Flags(release, batch, canary, None if soak < 0 else soak, rollback)


def steps_of(plan: Callable[[Events], list[Step]]) -> list[Step]:
    """Return what an upgrade would do; what is found meanwhile is told, a line each: nothing is changed yet."""
    from argosy.rollouts import view

    return plan(view.lines())


def run(
    plan: Callable[[Events], list[Step]],
    upgrade: Callable[[Events], object],
    *,
    yes: bool,
    json: bool,
    dry_run: bool = False,
    pinned: bool = False,
) -> None:
    """Upgrade and show it as it goes. On a terminal print the plan and ask first, unless `yes`; in a dry run only print
    it. `pinned`: some services run on some machines only, so that nobody else serves while they are replaced."""
    from argosy.rollouts import view

    if console.agreed(lambda: steps_of(plan), yes, dry_run, json, may_be_down=pinned):
        with view.shown(json) as events:
            upgrade(events)
