"""The secrets of a running cluster: see which machine holds what, and bring changes to it without an interruption."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from invoke.context import Context

CLUSTER = "the cluster's section under clusters: (or INVOKE_CLUSTER)"
KNOWN = "names or addresses of the cluster's machines; all of them when left out"
AS_JSON = "print JSON"


@task(words="machines", help={"machines": KNOWN, "cluster": CLUSTER, "json": AS_JSON})
def status(c: Context, machines: list[str], cluster: str = "", json: bool = False) -> None:
    """Show which secrets each machine holds, never their values; exit with 32 unless all are as they shall be.

    Certificates with whose they are, which CA signed them, and the days that are left.

    Examples:
        inv secrets.status
        inv secrets.status air-02 --json
    """
    from argosy import console, inventory
    from argosy.errors import Unhealthy
    from argosy.host import Hosts
    from argosy.operations import secret_status

    settings = settings_of(c, cluster)
    chosen = inventory.select(settings, machines)
    with Hosts(settings, chosen) as hosts:
        found = secret_status.observe(hosts, settings, chosen)
    if json:
        console.print_json(found.to_json())
    else:
        console.table(secret_status.COLUMNS, found.rows())
    problems = found.problems()
    if problems:
        raise Unhealthy("; ".join(problems))


@task(words="machines", help={"machines": KNOWN, "cluster": CLUSTER, "json": AS_JSON})
def diff(c: Context, machines: list[str], cluster: str = "", json: bool = False) -> None:
    """Show the names of the files that an upload would change on each machine, never what is in them.

    Examples:
        inv secrets.diff
        inv secrets.diff air-02 --json
    """
    from argosy import console, inventory
    from argosy.host import Hosts
    from argosy.operations import secrets as operation

    settings = settings_of(c, cluster)
    chosen = inventory.select(settings, machines)
    with Hosts(settings, chosen) as hosts:
        found = operation.differences(hosts, settings, chosen)
    if json:
        shown = {name: [{"deed": it.deed, "name": it.name} for it in changes] for name, changes in found.items()}
        console.print_json(shown)
        return
    for name, changes in found.items():
        for change in changes:
            console.prefixed(name, str(change))


@task(
    help={
        "only": "make this secret anew first (may be given several times)",
        "certificates": "renew the certificates of all machines, of this host and of the registry",
        "ca": "change the CA for a new one, in three phases",
        "cluster": CLUSTER,
        "dry_run": "print the plan, change nothing",
        "yes": "don't ask",
    },
    iterable=["only"],
)
def rotate(
    c: Context,
    only: list[str],
    certificates: bool = False,
    ca: bool = False,
    cluster: str = "",
    dry_run: bool = False,
    yes: bool = False,
) -> None:
    """Bring changed secrets to the machines, one after the other, and restart what uses them.

    Each machine is well again before the next one. Interrupted at any moment, the same command goes on.

    Examples:
        inv secrets.rotate --dry-run
        inv secrets.rotate --only database-password
        inv secrets.rotate --certificates
        inv secrets.rotate --ca --yes
    """
    from argosy import console
    from argosy.errors import ConfigError
    from argosy.operations import rotation
    from argosy.rotation import Wish

    settings = settings_of(c, cluster)
    if ca and (only or certificates):
        raise ConfigError("the CA is changed by itself; its certificates are all new then", "ca")
    wish = Wish(tuple(only), certificates, ca)
    steps = rotation.plan(settings, wish)
    # One that was begun and is only to be waited for has no steps left, either.
    if dry_run or (not steps and rotation.read_record(settings) is None):
        console.print_steps(steps)
        return
    for step in steps:
        console.report(step.subject, step.action)
    if steps:
        console.confirm(f"Do this in cluster {settings.cluster}, one machine after the other?", yes)
    rotation.rotate(settings, wish, console.report)
