"""Servers in Google Compute Engine: the cluster's machines, and what stays beside it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from argosy import console
from argosy.errors import ConfigError
from argosy.model import Step
from argosy.tasking import settings_of, task
from argosy.tasks.secrets import agreeing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invoke.context import Context

    from argosy.gce.listing import Listed

SERVER = "only this server (may be given several times)"
NAMES = "names of servers"


@task
def auth(c: Context, cluster: str = "", json: bool = False) -> None:
    """Check that Google lets us in, that project, zone and API are there, and that our rights suffice.

    Credentials are the Application Default ones: `gcloud auth application-default login` makes them, and no password
    ever comes here.

    Examples:
        inv gce.auth
        inv gce.auth --json --cluster production
    """

    from argosy.gce import checking

    checks = checking.check(settings_of(c, cluster))
    console.show(json, [asdict(check) for check in checks], ["CHECK", "", ""], [check.row() for check in checks])
    checking.refuse_failing(checks)


@task(
    words="names",
    help={
        "type": "core, container, registry, db, jenkins, or one of your own under gce.types",
        "names": NAMES,
        "install": "core: secrets and install too, to the end",
    },
)
def create(
    c: Context,
    type: str,
    names: list[str],
    install: bool = False,
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
    yes: bool = False,
) -> None:
    """Make servers of a type, several at once; what is there already is brought to what its type says.

    The first core machines found the cluster together, later ones join it. Broken off anywhere, the same command
    completes what it has begun. It asks before it replaces secrets that servers hold.

    Examples:
        inv gce.create core core1 core2 core3 --install
        inv gce.create db users --dry-run
    """
    from argosy.gce import creating, installing

    settings = settings_of(c, cluster)
    if dry_run:
        console.print_steps([action.step() for action in creating.plan(settings, type, names)], json)
        return
    made = creating.create(settings, type, names, console.report, agree=agreeing(yes))
    if install:
        # Anew: the entry node may have been chosen just now.
        installing.install(settings_of(c, cluster), made, console.report, agreeing(yes))
    _print_servers(made, json)


@task(
    words="names",
    help={
        "names": NAMES,
        "with_disks": "their data disks too, with all that is on them",
        "left": "core machines that this host does not know have left their cluster already",
        "lose_volumes": "lose what services have in volumes there; scheduled ones begin anew elsewhere",
    },
)
def destroy(
    c: Context,
    names: list[str],
    with_disks: bool = False,
    left: bool = False,
    lose_volumes: bool = False,
    yes: bool = False,
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Destroy servers; core machines leave the balancer and the cluster first. Data disks stay, unless --with-disks.

    Naming all of the cluster's machines ends the cluster.

    Examples:
        inv gce.destroy core2
        inv gce.destroy users --with-disks --yes
    """
    from argosy.gce import destroying

    settings = settings_of(c, cluster)
    if not names:
        raise ConfigError("give the name of each server", "names")
    steps = destroying.plan(settings, names, with_disks=with_disks)
    if dry_run:
        console.print_steps(steps, json)
        return
    if steps:
        if not (yes or json):
            console.print_steps(steps)
        disks = " with their data" if with_disks else ""
        console.confirm(f"Destroy {', '.join(names)}{disks}?", yes)
    done = destroying.destroy(
        settings, names, console.report, with_disks=with_disks, left=left, lose_volumes=lose_volumes
    )
    message = f"{', '.join(names)}: {'destroyed' if done else 'nothing to do'}"
    console.answer(json, {"names": names, "destroyed": done}, message)


@task(name="list", help={"no_ask": "don't ask core machines for their release"})
def list_servers(c: Context, no_ask: bool = False, cluster: str = "", json: bool = False) -> None:
    """Show our servers: type, state, addresses, and the release of core machines.

    A release in parentheses is the one that a machine was made with, when the machine itself did not answer.

    Examples:
        inv gce.list
        inv gce.list --json --no-ask
    """
    from argosy.gce import listing

    _print_servers(listing.list_servers(settings_of(c, cluster), ask=not no_ask), json)


@task(help={"name": "the server"})
def ssh(c: Context, name: str, cluster: str = "") -> None:
    """Log in on a server, whatever its type; its host key is the one that it told the API.

    Example: inv gce.ssh users
    """
    from argosy.gce import reaching

    settings = settings_of(c, cluster)
    with reaching.reached(settings, reaching.find(settings, [name], console.report)) as hosts:
        hosts[name].interactive()


@task(
    help={
        "local": "a file or folder here",
        "remote": "where it goes on each server",
        "server": SERVER,
        "sudo": "write as root",
    },
)
def put(
    c: Context,
    local: str,
    remote: str,
    server: list[str],
    sudo: bool = False,
    cluster: str = "",
    dry_run: bool = False,
) -> None:
    """Copy a file or a folder to servers; to all that run when none is named.

    Example: inv gce.put ./dump.sql /tmp/ --server users
    """
    from argosy.gce import reaching
    from argosy.machine import reach

    settings = settings_of(c, cluster)
    chosen = reaching.find(settings, server, console.report)
    if dry_run:
        console.print_steps([Step(listed.name, f"copy {local} to {remote}") for listed in chosen])
        return
    with reaching.reached(settings, chosen) as hosts:
        reach.put(hosts, local, remote, console.report, sudo=sudo)


@task(
    help={
        "remote": "a file or folder on each server",
        "local": "a folder here; with several servers each has a folder of its name in it",
        "server": SERVER,
        "sudo": "read as root",
    },
)
def get(c: Context, remote: str, local: str, server: list[str], sudo: bool = False, cluster: str = "") -> None:
    """Copy a file or a folder from servers; from all that run when none is named.

    Example: inv gce.get /var/log/messages ./logs --server users
    """
    from argosy.gce import reaching
    from argosy.machine import reach

    settings = settings_of(c, cluster)
    with reaching.reached(settings, reaching.find(settings, server, console.report)) as hosts:
        reach.get(hosts, remote, local, console.report, sudo=sudo)


@task(
    words="name",
    words_max=1,
    help={"name": "make it this one; kept, or chosen, when left out"},
)
def entry_node(c: Context, name: list[str], cluster: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Show the machine that cluster tasks enter through; one that is gone is replaced.

    Examples:
        inv gce.entry-node
        inv gce.entry-node core2
    """
    from argosy.gce import entry

    wanted = name[0] if name else ""
    chosen = entry.entry_node(settings_of(c, cluster), console.report, wanted, dry_run=dry_run)
    console.answer(json, chosen.to_json(), f"{chosen.name} {chosen.external}")


@task(words="type", words_max=1, help={"type": "of servers; core when left out"})
def newest_image(c: Context, type: list[str], cluster: str = "", json: bool = False) -> None:
    """Show the image that a new server of a type would boot.

    Examples:
        inv gce.newest-image
        inv gce.newest-image db --json
    """
    from argosy.gce import checking

    name = type[0] if type else "core"
    image = checking.newest_image(settings_of(c, cluster), name)
    console.answer(json, {"type": name, "image": image}, image)


@task(help={"remove": "take it away; the machines stay", "yes": "don't ask before removing"})
def balancer(
    c: Context,
    remove: bool = False,
    yes: bool = False,
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Make the load balancer before the cluster's routers, or bring it in step with the core machines.

    It asks each router's health path: a machine that drains fails that check, and gets no new connections.

    Examples:
        inv gce.balancer
        inv gce.balancer --remove --yes
    """
    from argosy.gce import balancing

    settings = settings_of(c, cluster)
    if dry_run:
        console.print_steps([action.step() for action in balancing.plan(settings, remove=remove)], json)
        return
    if remove:
        console.confirm("Remove the balancer and its address?", yes)
        done = balancing.remove(settings, console.report)
        console.say(f"balancer: {'removed' if done else 'nothing to do'}")
        return
    made = balancing.ensure(settings, console.report)
    if json:
        console.print_json(made.to_json())
    else:
        console.say(f"balancer: {made.address}, ports {', '.join(map(str, made.ports))}")
        console.table(["MACHINE", "HEALTH"], sorted(made.health.items()))


@task
def plan(c: Context, cluster: str = "", json: bool = False) -> None:
    """Show what differs between the configuration and the project, changing nothing.

    gce.create, gce.destroy and gce.balancer do what it shows.

    Examples:
        inv gce.plan
        inv gce.plan --json
    """
    from argosy.gce import planning

    actions = planning.plan(settings_of(c, cluster))
    if json:
        console.print_json([action.to_json() for action in actions])
    else:
        console.print_steps([action.step() for action in actions])


def _print_servers(servers: Sequence[Listed], json: bool) -> None:
    from argosy.gce.listing import COLUMNS

    console.show(json, [server.to_json() for server in servers], COLUMNS, [server.row() for server in servers])
