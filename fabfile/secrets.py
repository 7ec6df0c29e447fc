"""The secrets of a running cluster: see which machine holds what, and bring changes to it without an interruption."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy import console
from argosy.errors import ConfigError, Unhealthy
from argosy.tasking import hosts_of, settings_of, task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invoke.context import Context

    from argosy.secrets.deciding import Difference

KNOWN = "names or addresses of the cluster's machines; all of them when left out"


def agreeing(yes: bool) -> Callable[[Sequence[Difference]], None]:
    """Return what shows which secrets on machines would be replaced and removed, and asks unless `yes`."""

    def agree(differences: Sequence[Difference]) -> None:
        for difference in differences:
            console.report("secrets", str(difference))
        console.confirm("Do this to what the machines hold?", yes)

    return agree


@task(words="machines", help={"machines": KNOWN})
def status(c: Context, machines: list[str], cluster: str = "", json: bool = False) -> None:
    """Show which secrets each machine holds, never their values; exit with 32 unless all are as they must be.

    Certificates with whose they are, which CA signed them, and the days that are left.

    Examples:
        inv secrets.status
        inv secrets.status air-02 --json
    """
    from argosy.rotation import status as secret_status

    settings = settings_of(c, cluster)
    with hosts_of(settings, machines) as hosts:
        found = secret_status.observe(hosts, settings, hosts.machines)
    console.show(json, found.to_json(), secret_status.COLUMNS, found.rows())
    problems = found.problems()
    if problems:
        raise Unhealthy("; ".join(problems))


@task(words="machines", help={"machines": KNOWN})
def diff(c: Context, machines: list[str], cluster: str = "", json: bool = False) -> None:
    """Show the names of the files that an upload would change on each machine, never what is in them.

    Examples:
        inv secrets.diff
        inv secrets.diff air-02 --json
    """
    from argosy.secrets import upload as operation

    settings = settings_of(c, cluster)
    with hosts_of(settings, machines) as hosts:
        found = operation.differences(hosts, settings, hosts.machines)
    if json:
        shown = {
            name: [{"deed": change.action, "name": change.name} for change in changes]
            for name, changes in found.items()
        }
        console.print_json(shown)
        return
    for name, changes in found.items():
        for change in changes:
            console.prefixed(name, str(change))


@task(
    words="machines",
    help={"machines": "of which machines, by name; by address when this checkout knows none yet; all when left out"},
)
def fetch(
    c: Context,
    machines: list[str],
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
    yes: bool = False,
) -> None:
    """Get the cluster's secrets from its machines, so that this checkout may bring them there from now on.

    You need to be root there by ssh. Files here that differ are listed and asked for before they are replaced. The CA's
    key is on no machine: the task tells which checkout has it.

    Examples:
        inv secrets.fetch --dry-run
        inv secrets.fetch 10.0.0.1 10.0.0.2 --cluster production
    """
    from argosy.secrets import fetching

    settings = settings_of(c, cluster)
    if dry_run:
        fetched = fetching.plan(settings, machines, console.report)
    else:

        def agree(changes: Sequence[fetching.LocalChange]) -> None:
            for change in changes:
                console.report("here", str(change))
            console.confirm("Do this to the files here?", yes)

        fetched = fetching.fetch(settings, machines, console.report, agree)
    if json:
        console.print_json(fetched.to_json())
    else:
        console.print_steps(fetched.steps())
    if fetched.lacking:
        raise Unhealthy("; ".join(fetched.lacking))


@task(
    help={
        "only": "make this secret anew first (may be given several times)",
        "certificates": "renew the certificates of all machines, of this host and of the registry",
        "ca": "change the CA for a new one, in three phases",
    },
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

    Each machine is well again before the next one. Interrupted at any moment, the same command resumes.

    Examples:
        inv secrets.rotate --dry-run
        inv secrets.rotate --only database-password
        inv secrets.rotate --certificates
        inv secrets.rotate --ca --yes
    """
    from argosy.rotation import provisioning_host, running
    from argosy.rotation.plan import RotationRequest

    settings = settings_of(c, cluster)
    if ca and (only or certificates):
        raise ConfigError("the CA is changed by itself; its certificates are all new then", "ca")
    request = RotationRequest(tuple(only), certificates, ca)
    steps = running.plan(settings, request)
    # One that was begun and is only to be waited for has no steps left, either.
    if dry_run or (not steps and provisioning_host.read_record(settings) is None):
        console.print_steps(steps)
        return
    for step in steps:
        console.report(step.subject, step.action)
    if steps:
        console.confirm(f"Do this in cluster {settings.cluster}, one machine after the other?", yes)
    running.rotate(settings, request, console.report)
