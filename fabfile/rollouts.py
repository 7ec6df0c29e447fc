"""Upgrades of machines, and who changed what: tasks of the namespace `cluster`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy.tasking import settings_of, task
from argosy.tasks import upgrades
from argosy.tasks.upgrades import AS_JSON, CLUSTER, DRY_RUN

if TYPE_CHECKING:
    from invoke.context import Context

    from argosy.config import Settings
    from argosy.operations.rollout.running import Flags

EXISTING = "name or address of any machine of the cluster"
RELEASE = (
    "the version to go to, any that the registry has; that of the rollout in progress, or the newest, when left out"
)


@task(help={**upgrades.SINGLE, "release": RELEASE})
def upgrade_machine(
    c: Context,
    machine: str,
    release: str = "",
    rollback: bool = False,
    yes: bool = False,
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Bring a release to one machine: out of service, installed, checked, and back, without losing a request.

    The same command again goes on from wherever the last one ended.

    Examples:
        inv cluster.upgrade-machine air-02
        inv cluster.upgrade-machine 10.0.0.2 --release 0.1.3 --dry-run
    """
    from argosy.operations.rollout.running import SINGLE

    flags = upgrades.single(release, rollback)
    _upgrade(settings_of(c, cluster), machine, flags, yes, dry_run, json, machine=machine, task=SINGLE)


@task(
    help={
        **upgrades.ROLLING,
        "existing": EXISTING,
        "release": RELEASE,
        "abort": "give up the rollout in progress and leave the machines as they are",
    }
)
def rolling_upgrade(
    c: Context,
    existing: str,
    release: str = "",
    batch: str = "",
    canary: bool = False,
    soak: float = -1.0,
    rollback: bool = False,
    abort: bool = False,
    yes: bool = False,
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Bring a release to all machines, one batch after the other, without losing a request; stop at the first failure.

    All machines are looked at before any is touched. Whoever runs the same command again, from wherever, goes on after
    a crash; with the release everywhere already it does nothing.

    Examples:
        inv build.all registry.push cluster.rolling-upgrade 10.0.0.1 --yes
        inv cluster.rolling-upgrade air-01 --canary --soak 60 --batch 25% --rollback
        inv cluster.rolling-upgrade air-01 --release 0.1.3 --dry-run
    """
    from argosy import console, rollout_view
    from argosy.operations.rollout import running

    settings = settings_of(c, cluster)
    if abort and dry_run:
        console.print_steps(running.plan_abort(settings, existing), json)
        return
    if abort:
        with rollout_view.shown(json) as events:
            running.abort(settings, existing, events)
        return
    flags = upgrades.rolling(release, batch, canary, soak, rollback)
    _upgrade(settings, existing, flags, yes, dry_run, json)


def _upgrade(
    settings: Settings,
    existing: str,
    flags: Flags,
    yes: bool,
    dry_run: bool,
    json: bool,
    machine: str = "",
    task: str = "",
) -> None:
    from argosy.operations.rollout import running

    wished = running.wish(settings, flags, machine)
    upgrades.run(
        lambda events: running.plan(settings, existing, wished, events),
        lambda events: running.upgrade(settings, existing, wished, events, task or running.ROLLING),
        yes=yes,
        dry_run=dry_run,
        json=json,
    )


@task(help={"cluster": CLUSTER, "json": AS_JSON})
def rollouts(c: Context, cluster: str = "", json: bool = False) -> None:
    """Show the rollout in progress, machine by machine, and those that ended.

    Examples:
        inv cluster.rollouts
        inv cluster.rollouts --json
    """
    from argosy import console
    from argosy.operations.rollout import telling

    present, ended = telling.rollouts(settings_of(c, cluster))
    if json:
        console.print_json(telling.rollouts_json(present, ended))
        return
    console.table(telling.ROLLOUT_COLUMNS, telling.rollout_rows(present, ended))
    if present:
        console.say("")
        console.table(telling.MACHINE_COLUMNS, telling.machine_rows(present))


@task(help={"cluster": CLUSTER, "json": AS_JSON})
def lock(c: Context, cluster: str = "", json: bool = False) -> None:
    """Show who is changing the cluster: whoever holds its lock.

    Example: inv cluster.lock
    """
    from argosy import console
    from argosy.operations.rollout import telling

    holder = telling.lock_holder(settings_of(c, cluster))
    if json:
        console.print_json(telling.holder_json(holder))
    else:
        console.say(str(holder) if holder else "nobody holds the lock")


@task(help={"yes": "don't ask", "cluster": CLUSTER, "dry_run": DRY_RUN})
def unlock(c: Context, yes: bool = False, cluster: str = "", dry_run: bool = False) -> None:
    """Break the cluster's lock on purpose: whoever holds it changes nothing any more, and is told so.

    The lock of an operator who died is free by itself after rollout.lock_ttl_seconds.

    Examples:
        inv cluster.unlock
        inv cluster.unlock --yes
    """
    from argosy import console
    from argosy.operations.rollout import telling

    settings = settings_of(c, cluster)
    holder = telling.lock_holder(settings)
    if holder is None or dry_run:
        console.say(f"break the lock of {holder}" if holder else "nobody holds the lock")
        return
    console.confirm(f"Break the lock of {holder}?", yes)
    broken = telling.unlock(settings, console.report)
    console.say(f"broke the lock of {broken}" if broken else "nobody holds the lock any more")


@task(help={"lines": "how many, the newest", "cluster": CLUSTER, "json": AS_JSON})
def history(c: Context, lines: int = 30, cluster: str = "", json: bool = False) -> None:
    """Show who changed what in the cluster, when, and how it ended; with --json in all its words.

    Examples:
        inv cluster.history
        inv cluster.history --lines 500 --json
    """
    from dataclasses import asdict

    from argosy import console
    from argosy.operations.rollout import telling

    entries = telling.history(settings_of(c, cluster), lines)
    if json:
        console.print_json([asdict(entry) for entry in entries])
    else:
        console.table(telling.HISTORY_COLUMNS, telling.history_rows(entries))
