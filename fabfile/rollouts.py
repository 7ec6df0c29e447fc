"""Upgrades of machines, and who changed what: tasks of the namespace `cluster`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from argosy import console
from argosy.tasking import settings_of, task
from argosy.tasks import upgrades

if TYPE_CHECKING:
    from invoke.context import Context

    from argosy.config.loading import Settings
    from argosy.rollouts.upgrade import UpgradeRequest

EXISTING = "name or address of any machine of the cluster"
RELEASE = (
    "the version to go to, any of this cluster's that its registry has; without it, that of the rollout in progress, "
    "or the newest"
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

    The same command again resumes where the last one ended.

    Examples:
        inv cluster.upgrade-machine air-02
        inv cluster.upgrade-machine 10.0.0.2 --release 0.1.3 --dry-run
    """
    from argosy.rollouts.run import SINGLE, request_of

    settings = settings_of(c, cluster)
    request = request_of(settings, upgrades.flags_of(release, rollback), machine)
    _upgrade(settings, machine, request, SINGLE, yes, dry_run, json)


@task(
    words="existing",
    words_max=1,
    help={
        **upgrades.ROLLING,
        "existing": f"{EXISTING}; one that this checkout knows when left out",
        "release": RELEASE,
        "abort": "give up the rollout in progress and leave the machines as they are",
    },
)
def rolling_upgrade(
    c: Context,
    existing: list[str],
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

    All machines are looked at before any is touched. The same command, run by anyone from anywhere, resumes after a
    crash; with the release everywhere already it does nothing.

    Examples:
        inv build.all registry.push cluster.rolling-upgrade --yes
        inv cluster.rolling-upgrade air-01 --canary --soak 60 --batch 25% --rollback
        inv cluster.rolling-upgrade air-01 --release 0.1.3 --dry-run
    """
    from argosy.rollouts import run as running
    from argosy.rollouts import view

    settings = settings_of(c, cluster)
    first = existing[0] if existing else ""
    if abort and dry_run:
        console.print_steps(running.plan_abort(settings, first), json)
        return
    if abort:
        with view.shown(json) as events:
            running.abort(settings, first, events)
        return
    request = running.request_of(settings, upgrades.flags_of(release, rollback, batch, canary, soak))
    _upgrade(settings, first, request, running.ROLLING, yes, dry_run, json)


def _upgrade(
    settings: Settings, existing: str, request: UpgradeRequest, task: str, yes: bool, dry_run: bool, json: bool
) -> None:
    from argosy.rollouts import run as running

    upgrades.run(
        lambda events: running.plan(settings, existing, request, events),
        lambda events: running.upgrade(settings, existing, request, events, task),
        yes=yes,
        dry_run=dry_run,
        json=json,
        pinned=any(service.machines for service in settings.services.values()),
    )


@task
def rollouts(c: Context, cluster: str = "", json: bool = False) -> None:
    """Show the rollout in progress, machine by machine, and those that ended.

    Examples:
        inv cluster.rollouts
        inv cluster.rollouts --json
    """
    from argosy.rollouts import telling

    present, ended = telling.rollouts(settings_of(c, cluster))
    found = [(telling.ROLLOUT_COLUMNS, telling.rollout_rows(present, ended))]
    found += [(telling.MACHINE_COLUMNS, telling.machine_rows(present))] if present else []
    console.show_all(json, telling.rollouts_json(present, ended), found)


@task
def lock(c: Context, cluster: str = "", json: bool = False) -> None:
    """Show who is changing the cluster: whoever holds its lock.

    Example: inv cluster.lock
    """
    from argosy.rollouts import telling

    holder = telling.lock_holder(settings_of(c, cluster))
    if json:
        console.print_json(asdict(holder) if holder else None)
    else:
        console.say(str(holder) if holder else "nobody holds the lock")


@task
def unlock(c: Context, yes: bool = False, cluster: str = "", dry_run: bool = False) -> None:
    """Break the cluster's lock on purpose: whoever holds it changes nothing any more, and is told so.

    The lock of an operator who died is free by itself after rollout.lock_ttl_seconds.

    Examples:
        inv cluster.unlock
        inv cluster.unlock --yes
    """
    from argosy.rollouts import telling

    settings = settings_of(c, cluster)
    holder = telling.lock_holder(settings)
    if holder is None or dry_run:
        console.say(f"break the lock of {holder}" if holder else "nobody holds the lock")
        return
    console.confirm(f"Break the lock of {holder}?", yes)
    broken = telling.unlock(settings, console.report)
    console.say(f"broke the lock of {broken}" if broken else "nobody holds the lock any more")


@task(help={"lines": "how many, the newest"})
def history(c: Context, lines: int = 30, cluster: str = "", json: bool = False) -> None:
    """Show who changed what in the cluster, when, and how it ended; with --json in all its words.

    Examples:
        inv cluster.history
        inv cluster.history --lines 500 --json
    """
    from argosy.rollouts import telling

    entries = telling.history(settings_of(c, cluster), lines)
    told = [asdict(entry) for entry in entries]
    console.show(json, told, telling.HISTORY_COLUMNS, telling.history_rows(entries))
