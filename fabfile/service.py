"""Scheduled services: N instances, placed anywhere in the cluster by Docker Swarm, found by discovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy import console
from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from invoke.context import Context

    from argosy.config.loading import Settings
    from argosy.services.changing import Change
    from argosy.services.work import ServicesCluster

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
    from argosy.services import changing, definitions

    settings = settings_of(c, cluster)
    found = definitions.read(settings, names, file=file, everything=all)
    count = None if replicas < 0 else replicas

    def wanted(work: ServicesCluster) -> Change:
        return changing.submit(work, changing.wanted(work, found.every, found.names, count, release))

    _change(settings, wanted, dry_run, json)


@task(words="names", help={"names": NAMES})
def start(c: Context, names: list[str], cluster: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Let stopped services run again, and wait until their instances serve.

    Example: inv service.start web
    """
    from argosy.services import changing

    _change(settings_of(c, cluster), lambda work: changing.start(changing.known(work, names)), dry_run, json)


@task(words="names", help={"names": NAMES})
def stop(c: Context, names: list[str], cluster: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Stop all instances, out of every router first; the definition is kept.

    Example: inv service.stop web
    """
    from argosy.services import changing

    _change(settings_of(c, cluster), lambda work: changing.stop(changing.known(work, names)), dry_run, json)


@task(help={"name": NAME, "count": "how many instances"})
def scale(c: Context, name: str, count: str, cluster: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Change how many instances there are, and wait until they serve, or have ended.

    Examples:
        inv service.scale web 8
        inv service.scale web 2 --dry-run
    """
    from argosy.services import changing

    settings = settings_of(c, cluster)
    wanted = changing.scale(changing.scheduled(settings, name), changing.number(count))
    _change(settings, lambda _: wanted, dry_run, json)


@task(
    words="names",
    help={"names": NAMES},
)
def destroy(
    c: Context, names: list[str], yes: bool = False, cluster: str = "", dry_run: bool = False, json: bool = False
) -> None:
    """Stop all instances and forget the service: its definition, its routes, its keys.

    Example: inv service.destroy web
    """
    from argosy.services import changing

    settings = settings_of(c, cluster)
    wanted = changing.destroy(changing.named(names))
    if not dry_run:
        console.confirm(f"Destroy {', '.join(names)}, with all instances and routes?", yes)
    _change(settings, lambda _: wanted, dry_run, json)


@task(
    words="names",
    help={"names": NAMES, "all": "all that were submitted"},
)
def revive(
    c: Context, names: list[str], all: bool = False, cluster: str = "", dry_run: bool = False, json: bool = False
) -> None:
    """Start anew what has failed for good, and make anew what Swarm has lost, as etcd says it is wanted.

    Examples:
        inv service.revive web
        inv service.revive --all
    """
    from argosy.services import changing

    settings = settings_of(c, cluster)
    _change(settings, lambda work: changing.revive(changing.known(work, names, everything=all)), dry_run, json)


@task(
    name="list",
    words="names",
    help={"names": "only these; all when left out", "health": "ask the routers"},
)
def list_(c: Context, names: list[str], health: bool = False, cluster: str = "", json: bool = False) -> None:
    """Show services: wanted, running, registered, version, where, and what is wrong.

    Examples:
        inv service.list
        inv service.list web --health --json
    """
    from argosy.services import listing, plan
    from argosy.services import report as scheduled_report
    from argosy.services.work import opened

    settings = settings_of(c, cluster)
    with opened(settings, console.report) as work:
        found = listing.observe(work, health=health)
    chosen = plan.chosen(names, dict.fromkeys(found.names), False, settings.services) if names else []
    console.show(json, found.to_json(chosen), scheduled_report.LIST_COLUMNS, found.rows(chosen))


@task(help={"name": NAME, "health": "ask the routers"})
def show(c: Context, name: str, health: bool = False, cluster: str = "", json: bool = False) -> None:
    """Show one service: its instances, where each is registered, what failed lately, its definition.

    Examples:
        inv service.show web
        inv service.show web --health --json
    """
    from argosy.services import listing, plan
    from argosy.services import report as scheduled_report
    from argosy.services.work import opened

    settings = settings_of(c, cluster)
    with opened(settings, console.report) as work:
        found = listing.observe(work, health=health)
    plan.chosen([name], dict.fromkeys(found.names), False, settings.services)
    console.show_all(json, found.shown(name), scheduled_report.tables(found, name))


@task(
    help={
        "name": NAME,
        "follow": "show new lines as they come, until Ctrl-C",
        "lines": "how many past lines of each instance",
    }
)
def journal(c: Context, name: str, follow: bool = False, lines: int = 20, cluster: str = "") -> None:
    """Show what the instances of a service write, interleaved, each line after its instance and machine.

    Examples:
        inv service.journal web -f
        inv service.journal web --lines 200
    """
    from argosy.services import reaching
    from argosy.services.work import opened

    with opened(settings_of(c, cluster), console.report) as work:
        reaching.journal(work, name, console.prefixed, lines=lines, follow=follow)


@task(words="instance", words_max=1, help={"name": NAME, "instance": INSTANCE})
def shell(c: Context, name: str, instance: list[str], cluster: str = "") -> None:
    """Open a shell inside an instance's container.

    Examples:
        inv service.shell web
        inv service.shell web air-02
    """
    _inside(settings_of(c, cluster), "shell", name, instance)


@task(name="console", words="instance", words_max=1, help={"name": NAME, "instance": INSTANCE})
def console_(c: Context, name: str, instance: list[str], cluster: str = "") -> None:
    """Open a service's own console (its `console:` command) inside an instance's container.

    Example: inv service.console web 2
    """
    _inside(settings_of(c, cluster), "console", name, instance)


def _change(settings: Settings, wanted: Callable[[ServicesCluster], Change], dry_run: bool, json: bool) -> None:
    """Make a change, or print what it would do."""
    from argosy.services import changing, listing
    from argosy.services.work import opened

    with opened(settings, console.report) as work:
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
    from argosy.services import reaching
    from argosy.services.work import opened

    with opened(settings, console.report) as work:
        reaching.enter(work, what, name, "".join(instance))
