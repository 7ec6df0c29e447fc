"""Scheduled services: N instances, placed anywhere in the cluster by Docker Swarm, found by discovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from invoke.context import Context

    from argosy.config import Settings
    from argosy.operations.service.changing import Change
    from argosy.operations.service.work import Work

CLUSTER = "the cluster's section under clusters: (or INVOKE_CLUSTER)"
DRY_RUN = "print the plan, change nothing"
AS_JSON = "print JSON"
NAMES = "scheduled services, as under scheduled: in the configuration"
NAME = "the scheduled service"
INSTANCE = "its number, machine or container, as service.show tells; the first that runs when left out"


@task(
    words="names",
    help={
        "names": NAMES,
        "all": "all that are defined",
        "file": "a YAML file of the shape scheduled: {NAME: {...}}; without names all of it",
        "replicas": "other than the definition says",
        "release": "the image that this release pins, instead of the newest in the registry",
        "cluster": CLUSTER,
        "dry_run": DRY_RUN,
        "json": AS_JSON,
    },
)
def submit(
    c: Context,
    names: list[str],
    all: bool = False,
    file: str = "",
    replicas: int = -1,
    release: str = "",
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Let services run for the first time, and wait until their instances serve. The same again changes nothing.

    What runs with another definition is refused: that is an update. What runs is scaled to --replicas.

    Examples:
        inv service.submit web --replicas 4
        inv service.submit --all
        inv service.submit --file services.yaml --dry-run
    """
    from argosy.operations.service import changing, definitions

    settings = settings_of(c, cluster)
    found = definitions.read(settings, names, file=file, everything=all)
    count = None if replicas < 0 else replicas
    _change(settings, lambda work: changing.submit(work, found.every, found.names, count, release), dry_run, json)


@task(words="names", help={"names": NAMES, "cluster": CLUSTER, "dry_run": DRY_RUN, "json": AS_JSON})
def start(c: Context, names: list[str], cluster: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Let stopped services run again, and wait until their instances serve.

    Example: inv service.start web
    """
    from argosy.operations.service import changing

    _change(settings_of(c, cluster), lambda work: changing.start(changing.known(work, names)), dry_run, json)


@task(words="names", help={"names": NAMES, "cluster": CLUSTER, "dry_run": DRY_RUN, "json": AS_JSON})
def stop(c: Context, names: list[str], cluster: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Stop all instances, out of every router first; the definition is kept.

    Example: inv service.stop web
    """
    from argosy.operations.service import changing

    _change(settings_of(c, cluster), lambda work: changing.stop(changing.known(work, names)), dry_run, json)


@task(help={"name": NAME, "count": "how many instances", "cluster": CLUSTER, "dry_run": DRY_RUN, "json": AS_JSON})
def scale(c: Context, name: str, count: str, cluster: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Change how many instances there are, and wait until they serve, or have ended.

    Examples:
        inv service.scale web 8
        inv service.scale web 2 --dry-run
    """
    from argosy.operations.service import changing

    _change(settings_of(c, cluster), lambda _: changing.scale(name, changing.number(count)), dry_run, json)


@task(
    words="names",
    help={"names": NAMES, "yes": "don't ask", "cluster": CLUSTER, "dry_run": DRY_RUN, "json": AS_JSON},
)
def destroy(
    c: Context, names: list[str], yes: bool = False, cluster: str = "", dry_run: bool = False, json: bool = False
) -> None:
    """Stop all instances and forget the service: its definition, its routes, its keys.

    Example: inv service.destroy web
    """
    from argosy import console
    from argosy.operations.service import changing

    settings = settings_of(c, cluster)
    wanted = changing.destroy(changing.named(names))
    if not dry_run:
        console.confirm(f"Destroy {', '.join(names)}, with all instances and routes?", yes)
    _change(settings, lambda _: wanted, dry_run, json)


@task(
    words="names",
    help={"names": NAMES, "all": "all that were submitted", "cluster": CLUSTER, "dry_run": DRY_RUN, "json": AS_JSON},
)
def revive(
    c: Context, names: list[str], all: bool = False, cluster: str = "", dry_run: bool = False, json: bool = False
) -> None:
    """Start anew what has failed for good, and make anew what Swarm has lost, as etcd says it is wanted.

    Examples:
        inv service.revive web
        inv service.revive --all
    """
    from argosy.operations.service import changing

    settings = settings_of(c, cluster)
    _change(settings, lambda work: changing.revive(changing.known(work, names, everything=all)), dry_run, json)


@task(
    name="list",
    words="names",
    help={"names": "only these; all when left out", "health": "ask the routers", "cluster": CLUSTER, "json": AS_JSON},
)
def list_(c: Context, names: list[str], health: bool = False, cluster: str = "", json: bool = False) -> None:
    """Show services: wanted, running, registered, version, where, and what is wrong.

    Examples:
        inv service.list
        inv service.list web --health --json
    """
    from argosy import console, scheduled_report
    from argosy.operations.service import listing, opening

    with opening.opened(settings_of(c, cluster), console.report) as work:
        found = listing.observe(work, health=health)
    chosen = [listing.required(found, name) for name in names]
    if json:
        console.print_json(found.to_json(chosen))
    else:
        console.table(scheduled_report.LIST_COLUMNS, found.rows(chosen))


@task(help={"name": NAME, "health": "ask the routers", "cluster": CLUSTER, "json": AS_JSON})
def show(c: Context, name: str, health: bool = False, cluster: str = "", json: bool = False) -> None:
    """Show one service: its instances, where each is registered, what failed lately, its definition.

    Examples:
        inv service.show web
        inv service.show web --health --json
    """
    from argosy import console, scheduled_report
    from argosy.operations.service import listing, opening

    with opening.opened(settings_of(c, cluster), console.report) as work:
        found = listing.observe(work, health=health)
    listing.required(found, name)
    if json:
        console.print_json(found.shown(name))
        return
    for number, (columns, rows) in enumerate(scheduled_report.tables(found, name)):
        if number:
            console.say("")
        console.table(columns, rows)


@task(
    help={
        "name": NAME,
        "follow": "go on showing new lines until Ctrl-C",
        "lines": "how many past lines of each instance",
        "cluster": CLUSTER,
    }
)
def journal(c: Context, name: str, follow: bool = False, lines: int = 20, cluster: str = "") -> None:
    """Show what the instances of a service write, interleaved, each line after its instance and machine.

    Examples:
        inv service.journal web -f
        inv service.journal web --lines 200
    """
    from argosy import console
    from argosy.operations.service import opening, reaching

    with opening.opened(settings_of(c, cluster), console.report) as work:
        reaching.journal(work, name, console.prefixed, lines=lines, follow=follow)


@task(words="instance", words_max=1, help={"name": NAME, "instance": INSTANCE, "cluster": CLUSTER})
def shell(c: Context, name: str, instance: list[str], cluster: str = "") -> None:
    """Open a shell inside an instance's container.

    Examples:
        inv service.shell web
        inv service.shell web air-02
    """
    _inside(settings_of(c, cluster), "shell", name, instance)


@task(name="console", words="instance", words_max=1, help={"name": NAME, "instance": INSTANCE, "cluster": CLUSTER})
def console_(c: Context, name: str, instance: list[str], cluster: str = "") -> None:
    """Open a service's own console (its `console:` command) inside an instance's container.

    Example: inv service.console web 2
    """
    _inside(settings_of(c, cluster), "console", name, instance)


def _change(settings: Settings, wanted: Callable[[Work], Change], dry_run: bool, json: bool) -> None:
    """Make a change, or print what it would do."""
    from argosy import console
    from argosy.operations.service import changing, listing, opening

    with opening.opened(settings, console.report) as work:
        change = wanted(work)
        plans = changing.plans(work, change) if dry_run else changing.make(work, change)
        found = listing.observe(work) if json and not dry_run else None
    if dry_run:
        console.print_steps([step for plan in plans for step in plan.steps()], json)
        return
    if found:
        console.print_json(changing.outcome(plans, found))
        return
    for plan in plans:
        console.say(f"{plan.name}: {'done' if plan.changes else 'nothing changed'}")


def _inside(settings: Settings, what: str, name: str, instance: list[str]) -> None:
    from argosy import console
    from argosy.operations.service import opening, reaching

    with opening.opened(settings, console.report) as work:
        reaching.enter(work, what, name, "".join(instance))
