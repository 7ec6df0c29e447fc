"""The cluster's Docker Swarm: a task of the namespace `cluster`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy import console
from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from invoke.context import Context


@task(
    help={
        "ensure": "bring all machines into one Swarm, each in its place",
        "force": "do what risks the managers' quorum, or somebody's services, all the same, and say what was risked",
        "dry_run": "print what --ensure would do, change nothing",
    }
)
def swarm(
    c: Context,
    ensure: bool = False,
    force: bool = False,
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Show the Swarm that runs the scheduled services: who manages it, who is in it, what is not as it must be.

    Managers are the machines whose etcd votes. With --ensure machines join, leave, are promoted, demoted and labelled
    until it is so; whatever was interrupted is resumed. Without a quorum of managers --force continues with one.

    Examples:
        inv cluster.swarm
        inv cluster.swarm --ensure --dry-run
        inv cluster.swarm --ensure --json
    """
    from argosy.membership import swarm_task as operation
    from argosy.swarm.report import COLUMNS

    settings = settings_of(c, cluster)
    if not (ensure or dry_run):
        found = operation.show(settings)
        if json:
            console.print_json(found.to_json())
            return
        console.table(COLUMNS, found.rows())
        for line in (*found.differs, *found.notes):
            console.report("swarm", line)
        return
    done = operation.plan(settings, force=force) if dry_run else operation.ensure(settings, console.report, force=force)
    if json:
        console.print_json(done.to_json())
        return
    if dry_run or not done.steps:
        console.print_steps(done.steps)
    for note in done.notes:
        console.report("note", note)
