"""A cluster on this host: machines through Vagrant or the Docker engine, with registry, dependencies and a balancer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from argosy import console
from argosy.errors import ConfigError, Unhealthy
from argosy.tasking import settings_of, task
from argosy.tasks import upgrades
from argosy.tasks.secrets import agreeing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invoke.context import Context

    from argosy.config.loading import Settings
    from argosy.local.procedure import Timing
    from argosy.rollouts.run import Flags

RELEASE = "the version to go to, any of this cluster's that the registry has; then nothing is built"


@task(
    words="machines",
    words_max=1,
    help={"machines": "how many machines; 3 when left out"},
)
def start(c: Context, machines: list[str], cluster: str = "", dry_run: bool = False, yes: bool = False) -> None:
    """Make a local cluster of N machines, from images to healthy services; a second run changes nothing.

    Stopped half-way, by Ctrl-C or worse, the same command resumes. It asks before it replaces secrets that machines
    hold. Beside another checkout's cluster it gets a subnet and ports of its own, says which, and keeps them.

    Examples:
        inv local.start
        inv local.start 1 --dry-run
    """
    from argosy.config.loading import load
    from argosy.local import start as operation

    settings = load(c.config, cluster)
    word = machines[0] if machines else str(operation.DEFAULT_COUNT)
    if not word.isdecimal():
        raise ConfigError(f"how many machines? {word!r} is not a number", "machines")
    if dry_run:
        for step in operation.plan_start(settings, int(word)):
            console.say(str(step))
        return
    started = operation.start(settings, int(word), console.report, agreeing(yes))
    _print_run(started.timings, started.lines())


@task(help={"all": "the registry with its images, the network and the cluster's secrets too"})
def stop(c: Context, all: bool = False, cluster: str = "", dry_run: bool = False) -> None:
    """Destroy the local cluster, whole or half-made, with its data; registry and images stay unless --all.

    Examples:
        inv local.stop --dry-run
        inv local.stop --all
    """
    from argosy.local import stop as operation

    settings = settings_of(c, cluster)
    if dry_run:
        for step in operation.plan_stop(settings, all):
            console.say(str(step))
        return
    done = operation.stop(settings, console.report, everything=all)
    console.say(f"cluster {settings.cluster}: {'stopped' if done else 'nothing to stop'}")


@task
def add_machine(c: Context, cluster: str = "", dry_run: bool = False) -> None:
    """Make ONE MORE machine, which joins the cluster and installs what the others run, while they serve.

    It gets the lowest number that is free, up to local.max_machines. A machine that a killed run left half-way in is
    completed first, instead; when that is done, the same again makes another one.

    Examples:
        inv local.add-machine --dry-run
        inv local.add-machine
    """
    from argosy.local import growth as operation

    settings = settings_of(c, cluster)
    if dry_run:
        console.print_steps(operation.plan_add(settings))
        return
    added = operation.add(settings, console.report)
    _print_run(added.timings, added.lines("added"))


@task(
    words="machine",
    words_max=1,
    help={
        "machine": "its name or address; the last by number when left out",
        "force": "do what risks etcd's quorum all the same, and say what was risked",
        "lose_volumes": "lose what services have in volumes there; scheduled ones begin anew elsewhere",
        "yes": "don't ask, when it is the last machine",
    },
)
def remove_machine(
    c: Context,
    machine: list[str],
    force: bool = False,
    lose_volumes: bool = False,
    yes: bool = False,
    cluster: str = "",
    dry_run: bool = False,
) -> None:
    """Take a machine out of the cluster while the others serve, and destroy it with its disk; dead ones, too.

    With the last one the cluster ends, as by local.stop: that asks first. What is half-way out, or in, goes first.

    Examples:
        inv local.remove-machine
        inv local.remove-machine air-02 --dry-run
    """
    from argosy.local import growth as operation
    from argosy.local.growth_phases import Risks

    settings = settings_of(c, cluster)
    leaver = operation.choose_leaver(settings, machine[0] if machine else "")
    risks = Risks(force, lose_volumes)
    if dry_run:
        console.print_steps(operation.plan_remove(settings, leaver, risks))
        return
    if leaver.last:
        question = f"{leaver.machine.name} is the last machine: end cluster {settings.cluster} with all its data?"
        console.confirm(question, yes)
    removed = operation.remove(settings, leaver, console.report, risks)
    if leaver.last:
        console.say(f"{leaver.machine.name} is removed: cluster {settings.cluster} has ended")
        return
    _print_run(removed.timings, removed.lines("removed"))


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
    """Build and push what changed, then upgrade one machine, while the others serve.

    Examples:
        inv local.upgrade-machine air-02
        inv local.upgrade-machine air-02 --release 0.1.3 --dry-run
    """
    flags = upgrades.flags_of(release, rollback)
    _upgrade(settings_of(c, cluster), flags, f"local.upgrade-machine {machine}", yes, dry_run, json, machine=machine)


@task(help={**upgrades.ROLLING, "release": RELEASE})
def rolling_upgrade(
    c: Context,
    release: str = "",
    batch: str = "",
    canary: bool = False,
    soak: float = -1.0,
    rollback: bool = False,
    yes: bool = False,
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Build and push what changed, then upgrade all machines, one batch after the other; stop at the first failure.

    While a rollout is stopped or in progress, nothing new is built: the same command resumes it, --rollback puts its
    machines back, and `inv cluster.rolling-upgrade MACHINE --abort` gives it up.

    Examples:
        inv local.rolling-upgrade --yes
        inv local.rolling-upgrade --canary --soak 60 --rollback
        inv local.rolling-upgrade --dry-run
    """
    flags = upgrades.flags_of(release, rollback, batch, canary, soak)
    _upgrade(settings_of(c, cluster), flags, "local.rolling-upgrade", yes, dry_run, json)


def _print_run(timings: Sequence[Timing], lines: Sequence[str]) -> None:
    from argosy.local.procedure import rows_of

    console.table(("phase", "seconds", ""), rows_of(timings))
    for line in lines:
        console.say(line)


def _upgrade(
    settings: Settings, flags: Flags, task: str, yes: bool, dry_run: bool, json: bool, machine: str = ""
) -> None:
    from argosy.local import upgrading as operation

    if dry_run:
        steps = upgrades.steps_of(lambda events: operation.plan(settings, flags, task, events, machine))
        console.print_steps(steps, json)
        return
    with operation.prepared(settings, flags, task, console.report, machine) as upgrade:
        pinned = any(service.machines for service in settings.services.values())
        upgrades.run(upgrade.plan, upgrade.run, yes=yes, json=json, pinned=pinned)


@task
def status(c: Context, cluster: str = "", json: bool = False) -> None:
    """Show what this host carries for the cluster, then what cluster.status shows; exit with 32 unless all is healthy.

    Examples:
        inv local.status
        inv local.status --json
    """
    from argosy import inventory
    from argosy.local import status as operation
    from argosy.ssh.host import Hosts
    from argosy.status import observing as cluster_status

    settings = settings_of(c, cluster)
    parts = operation.observe(settings)
    machines = inventory.load(settings)
    observed = None
    if machines:
        with Hosts(settings, machines) as hosts:
            observed = cluster_status.observe(settings, hosts)
    found = {"host": operation.to_json(parts), "cluster": observed.to_json() if observed else None}
    host = (operation.COLUMNS, [part.row() for part in parts])
    console.show_all(json, found, [host, *(observed.tables() if observed else ())])
    if observed is None:
        raise Unhealthy(f"cluster {settings.cluster}: no machines; make some with `inv local.start`")
    problems = [f"{part.name} is {part.row()[2]}" for part in parts if not part.fine] + list(observed.problems())
    if problems:
        raise Unhealthy("; ".join(problems))


@task(help={"write": "write it to this file, and print the line that includes it"})
def ssh_config(c: Context, write: str = "", cluster: str = "") -> None:
    """Print what to paste into ~/.ssh/config for `ssh air-01`, or write it to a file that can be included there.

    Examples:
        inv local.ssh-config
        inv local.ssh-config --write ~/.ssh/argosy
    """

    from argosy import inventory
    from argosy.local import ssh_config as operation

    settings = settings_of(c, cluster)
    if write:
        console.say(operation.write(settings, Path(write).expanduser()))
    else:
        console.say(operation.render(settings, inventory.select(settings)))
