"""Who belongs to a cluster, and a copy of what its etcd holds: tasks of the namespace `cluster`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy import console
from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from invoke.context import Context

    from argosy.membership.actions import Planned

EXISTING = "name or address of any machine of the cluster"
VOLUMES = "lose what services have in volumes on the machine that goes; scheduled ones begin anew elsewhere"


@task(
    help={
        "existing": EXISTING,
        "new": "the newcomer: its address, or NAME=ADDRESS",
        "replace": "name or address of a machine that goes for it, in the order that is safe",
        "install": "continue until it is installed and has its vote; it has to be up, or to come up",
        "force": "do what risks etcd's quorum all the same, and say what was risked",
        "lose_volumes": VOLUMES,
        "format": "of its cloud-config: cloud-init, coreos or ignition; by its OS when left out",
    }
)
def add_machine(
    c: Context,
    existing: str,
    new: str,
    replace: str = "",
    install: bool = False,
    force: bool = False,
    lose_volumes: bool = False,
    format: str = "",
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Let a machine join: tell etcd, write its cloud-config, and install it with --install.

    Its etcd begins as a learner, without a vote, and is promoted by the machine itself when it has caught up; beyond
    etcd.max_members it becomes a client. The same command again resumes wherever the last one ended.

    Examples:
        inv cluster.add-machine 10.0.0.1 10.0.0.4
        inv cluster.add-machine air-01 air-04=10.0.0.4 --install
        inv cluster.add-machine air-01 10.0.0.5 --replace air-02 --install --dry-run
    """
    from argosy.membership import adding

    settings = settings_of(c, cluster)
    options = adding.Options(replace=replace, install=install, force=force, lose_volumes=lose_volumes, format=format)
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
        "machine": "name or address of the one that leaves",
        "force": "do what risks etcd's quorum, or can't be said to the machine, all the same, and say what was risked",
        "yes": "don't ask on a terminal",
        "lose_volumes": VOLUMES,
    }
)
def remove_machine(
    c: Context,
    existing: str,
    machine: str,
    force: bool = False,
    yes: bool = False,
    lose_volumes: bool = False,
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Take a machine out: drain it, stop its services, remove it from etcd, and forget it.

    It is left as it was before: no unit, program or file of ours, Docker's settings as they were; packages stay. One
    that is dead is removed without draining; one that never came is taken back. Refused when it is the last, when etcd
    could not survive a loss that it could survive before, or when volumes of scheduled services are on it.

    Examples:
        inv cluster.remove-machine 10.0.0.1 10.0.0.3
        inv cluster.remove-machine air-01 air-03 --dry-run
    """
    from argosy.membership import removing
    from argosy.report import silent

    settings = settings_of(c, cluster)
    risks = {"force": force, "lose_volumes": lose_volumes}
    if not dry_run and console.will_ask(yes):
        wanted = removing.plan(settings, existing, machine, silent, **risks)
        if not json:
            _show(wanted, dry_run=True)
        if wanted.steps:
            console.confirm(f"Remove {machine} from cluster {settings.cluster}?", yes)
    operation = removing.plan if dry_run else removing.remove
    planned = operation(settings, existing, machine, console.report, **risks)
    if json:
        console.print_json(planned.to_json())
        return
    _show(planned, dry_run)
    if not dry_run:
        console.say(f"{machine}: {'removed' if planned.steps else 'nothing to do'}")


@task(
    words="existing",
    words_max=1,
    help={
        "existing": f"{EXISTING}; one that this checkout knows when left out",
        "image": "version of the image of etcd, such as 0.1.3; the registry's newest when left out",
    },
)
def upgrade_etcd(
    c: Context, existing: list[str], image: str = "", cluster: str = "", dry_run: bool = False, json: bool = False
) -> None:
    """Bring the registry's image of etcd to all members, one after the other, each well before the next.

    From one minor version of etcd to the next: a skip, and a way back that etcd has not, is refused before anything is
    changed. What etcd holds is saved on this host first. The same command again resumes.

    Examples:
        inv cluster.upgrade-etcd air-01 --dry-run
        inv cluster.upgrade-etcd --image 0.1.3
    """
    from argosy.membership import etcd_upgrading

    settings = settings_of(c, cluster)
    operation = etcd_upgrading.plan if dry_run else etcd_upgrading.upgrade
    planned = operation(settings, existing[0] if existing else "", console.report, image)
    if json:
        console.print_json(planned.to_json())
        return
    _show(planned, dry_run)
    if not dry_run:
        console.say(f"etcd: {'upgraded' if planned.steps else 'nothing to do'}")


@task(help={"file": "where to save it on this host", "force": "replace a file that is there"})
def backup(
    c: Context, file: str, force: bool = False, cluster: str = "", dry_run: bool = False, json: bool = False
) -> None:
    """Save all that the cluster's etcd holds in one file, and check its hash. It may hold secrets: 0600.

    Examples:
        inv cluster.backup backups/monday.db
        inv cluster.backup backups/latest.db --force --json
    """
    from pathlib import Path

    from argosy.membership import backups

    settings = settings_of(c, cluster)
    path = Path(file).expanduser()
    if dry_run:
        console.print_steps(backups.plan_backup(settings, path, force=force), as_json=json)
        return
    made = backups.backup(settings, path, force=force)
    if json:
        console.print_json(backups.backup_json(made))
    else:
        console.say(f"{made.path}: {made.size_bytes} bytes of {made.member}, revision {made.revision}")


@task(
    words="machines",
    help={
        "file": "a backup of cluster.backup (or etcdctl snapshot save)",
        "machines": "addresses or names of the machines that will run etcd",
        "force": "restore although etcd works: all that was written after the backup is lost",
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

    from argosy.membership import backups

    settings = settings_of(c, cluster)
    wanted = backups.plan_restore(settings, Path(file).expanduser(), machines, force=force)
    if dry_run:
        console.print_steps(wanted.steps, as_json=json)
        return
    names = ", ".join(machine.name for machine in wanted.members)
    console.confirm(f"Replace what the etcd of {names} holds by {file}?", yes)
    backups.restore(settings, wanted, console.report)
    if json:
        console.print_json({"members": [machine.name for machine in wanted.members], "sha256": wanted.snapshot.sha256})
    else:
        console.say(f"{names}: etcd is as {file} has it")


def _show(planned: Planned, dry_run: bool) -> None:
    """Print a plan that is not done, or why there was nothing to do."""

    if dry_run:
        console.print_steps(planned.steps)
    if dry_run or not planned.steps:
        for note in planned.notes:
            console.report("note", note)
