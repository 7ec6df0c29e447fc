"""Who belongs to a cluster, and a copy of what its etcd holds: tasks of the namespace `cluster`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from invoke.context import Context

    from argosy.operations.membership.actions import Planned

CLUSTER = "the cluster's section under clusters: (or INVOKE_CLUSTER)"
EXISTING = "name or address of any machine of the cluster"
DRY_RUN = "print the plan, change nothing"
AS_JSON = "print JSON"


@task(
    help={
        "existing": EXISTING,
        "new": "the newcomer: its address, or NAME=ADDRESS",
        "replace": "name or address of a machine that goes for it, in the order that is safe",
        "install": "go on until it is installed and has its vote; it has to be up, or to come up",
        "force": "do what risks etcd's quorum all the same, and say what was risked",
        "format": "of its cloud-config: cloud-init, coreos or ignition; by its OS when left out",
        "cluster": CLUSTER,
        "dry_run": DRY_RUN,
        "json": AS_JSON,
    }
)
def add_machine(
    c: Context,
    existing: str,
    new: str,
    replace: str = "",
    install: bool = False,
    force: bool = False,
    format: str = "",
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Let a machine join: tell etcd, write its cloud-config, and install it with --install.

    Its etcd begins as a learner, without a vote, and is promoted by the machine itself when it has caught up; beyond
    etcd.max_members it becomes a client. The same command again goes on from wherever the last one ended.

    Examples:
        inv cluster.add-machine 10.0.0.1 10.0.0.4
        inv cluster.add-machine air-01 air-04=10.0.0.4 --install
        inv cluster.add-machine air-01 10.0.0.5 --replace air-02 --install --dry-run
    """
    from argosy import console
    from argosy.operations.membership import adding

    settings = settings_of(c, cluster)
    options = adding.Options(replace=replace, install=install, force=force, format=format)
    operation = adding.plan if dry_run else adding.add
    added = operation(settings, existing, new, console.report, options)
    if json:
        console.print_json(added.to_json())
        return
    _show(added.planned, dry_run)
    console.say(f"{added.machine.name} ({added.machine.address}): {added.cloud_config}")
    for line in added.next_steps:
        console.say(f"next: {line}")


@task(
    help={
        "existing": EXISTING,
        "machine": "name or address of the one that shall go",
        "force": "do what risks etcd's quorum, or can't be said to the machine, all the same, and say what was risked",
        "cluster": CLUSTER,
        "dry_run": DRY_RUN,
        "json": AS_JSON,
    }
)
def remove_machine(
    c: Context,
    existing: str,
    machine: str,
    force: bool = False,
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Take a machine out: drain it, stop its services, remove it from etcd, and forget it.

    A machine that is dead goes the same way, without its goodbye; one that never came is taken back. Refused when it is
    the last, or when etcd could not survive a loss that it could survive before.

    Examples:
        inv cluster.remove-machine 10.0.0.1 10.0.0.3
        inv cluster.remove-machine air-01 air-03 --dry-run
    """
    from argosy import console
    from argosy.operations.membership import removing

    settings = settings_of(c, cluster)
    operation = removing.plan if dry_run else removing.remove
    planned = operation(settings, existing, machine, console.report, force=force)
    if json:
        console.print_json(planned.to_json())
        return
    _show(planned, dry_run)
    if not dry_run:
        console.say(f"{machine}: {'removed' if planned.steps else 'nothing to do'}")


@task(
    help={
        "file": "where to save it on this host",
        "force": "replace a file that is there",
        "cluster": CLUSTER,
        "dry_run": DRY_RUN,
        "json": AS_JSON,
    }
)
def backup(
    c: Context, file: str, force: bool = False, cluster: str = "", dry_run: bool = False, json: bool = False
) -> None:
    """Save all that the cluster's etcd holds in one file, and check its hash. It may hold secrets: 0600.

    Examples:
        inv cluster.backup backups/monday.db
        inv cluster.backup backups/latest.db --force --json
    """
    from pathlib import Path

    from argosy import console
    from argosy.operations.membership import backup as operation

    settings = settings_of(c, cluster)
    path = Path(file).expanduser()
    if dry_run:
        console.print_steps(operation.plan(settings, path, force=force), as_json=json)
        return
    made = operation.backup(settings, path, force=force)
    if json:
        console.print_json(operation.to_json(made))
    else:
        console.say(f"{made.path}: {made.size_bytes} bytes of {made.member}, revision {made.revision}")


@task(
    words="machines",
    help={
        "file": "a backup of cluster.backup (or etcdctl snapshot save)",
        "machines": "addresses or names of the machines that shall run etcd then",
        "force": "restore although etcd works: all that was written after the backup is lost",
        "yes": "don't ask",
        "cluster": CLUSTER,
        "dry_run": DRY_RUN,
        "json": AS_JSON,
    },
)
def restore(
    c: Context,
    file: str,
    machines: list[str],
    force: bool = False,
    yes: bool = False,
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Make a backup the cluster's etcd again, on machines that are up: all of its members, or one to begin with.

    What their etcd holds now is set aside on each. Machines that are not named have to be added again.

    Examples:
        inv cluster.restore backups/monday.db 10.0.0.1 10.0.0.2 10.0.0.3
        inv cluster.restore backups/monday.db air-01 --dry-run
    """
    from pathlib import Path

    from argosy import console
    from argosy.operations.membership import restoring

    settings = settings_of(c, cluster)
    wanted = restoring.plan(settings, Path(file).expanduser(), machines, force=force)
    if dry_run:
        console.print_steps(wanted.steps, as_json=json)
        return
    names = ", ".join(machine.name for machine in wanted.members)
    console.confirm(f"Replace what the etcd of {names} holds by {file}?", yes)
    restoring.restore(settings, wanted, console.report)
    if json:
        console.print_json({"members": [machine.name for machine in wanted.members], "sha256": wanted.snapshot.sha256})
    else:
        console.say(f"{names}: etcd is as {file} has it")


def _show(planned: Planned, dry_run: bool) -> None:
    """Print a plan that is not done, or why there was nothing to do."""
    from argosy import console

    if dry_run:
        console.print_steps(planned.steps)
    if dry_run or not planned.steps:
        for note in planned.notes:
            console.report("note", note)
