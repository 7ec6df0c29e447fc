"""The cluster's Docker Swarm: a task of the namespace `cluster`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from invoke.context import Context

CLUSTER = "the cluster's section under clusters: (or INVOKE_CLUSTER)"


@task(
    help={
        "ensure": "bring all machines into one Swarm, each in its place",
        "force": "do what risks the managers' quorum, or somebody's services, all the same, and say what was risked",
        "cluster": CLUSTER,
        "dry_run": "print what --ensure would do, change nothing",
        "json": "print JSON",
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
    """Show the Swarm that runs the scheduled services: who manages it, who is in it, what is not as it shall be.

    Managers are the machines whose etcd votes. With --ensure machines join, leave, are promoted, demoted and labelled
    until it is so; whatever was interrupted goes on. Without a quorum of managers --force goes on with one of them.

    Examples:
        inv cluster.swarm
        inv cluster.swarm --ensure --dry-run
        inv cluster.swarm --ensure --json
    """
    from argosy import console
    from argosy.operations.swarm import commands as operation
    from argosy.swarm_report import COLUMNS

    settings = settings_of(c, cluster)
    if ensure or dry_run:
        done = (
            operation.plan(settings, force=force)
            if dry_run
            else operation.ensure(settings, console.report, force=force)
        )
        if json:
            console.print_json(done.to_json())
            return
        if dry_run or not done.steps:
            console.print_steps(done.steps)
        for note in done.notes:
            console.report("note", note)
        return
    report = operation.show(settings)
    if json:
        console.print_json(report.to_json())
        return
    console.table(COLUMNS, report.rows())
    for line in (*report.differs, *report.notes):
        console.report("swarm", line)
