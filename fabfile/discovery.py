"""Service discovery: what is registered and routed; changing it by hand; draining."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from argosy import console
from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from invoke.context import Context

    from argosy.cluster.opening import OpenCluster
    from argosy.config.loading import Settings

NAMES = "only these services; all when left out"
TARGET = "SERVICE/ID (an instance, as discovery.list shows it) or a machine's name"
DEADLINE = "how long to wait for the routers; twice discovery.ttl_seconds when left out"


@task(
    name="list",
    words="names",
    help={"names": NAMES, "health": "ask each machine's router which instances are up"},
)
def list_(c: Context, names: list[str], health: bool = False, cluster: str = "", json: bool = False) -> None:
    """Show services and their instances, who registered them, what is wrong, and what each router has applied.

    Examples:
        inv discovery.list --health
        inv discovery.list frontend backend --json
    """
    from argosy.discovery import observing

    with _opened(settings_of(c, cluster)) as opened:
        report = observing.observe(opened, names, health=health)
    console.show_all(json, report.to_json(), report.tables())


@task(
    help={
        "name": "the service",
        "endpoint": "ip:port or [v6]:port",
        "id": "the instance's ID; its endpoint when left out",
        "scheme": "http, https, http-and-https or tcp; without it in etcd the service is not routed",
        "host_port": "also listen on this port of every machine",
        "private": "not routed by name, only by its host port",
        "sni": "TLS server names on the shared port, by commas (scheme tcp)",
        "weight": "of this instance, 0 to 256; 100 when there is none",
        "check": "how routers check instances: tcp, none, 'http /path' or 'http /path 200,204'",
    }
)
def register(
    c: Context,
    name: str,
    endpoint: str,
    id: str = "",
    scheme: str = "",
    host_port: str = "",
    private: bool = False,
    sni: str = "",
    weight: str = "",
    check: str = "",
    cluster: str = "",
    dry_run: bool = False,
) -> None:
    """Register an instance by hand: it has no lease, so it stays until it is deregistered.

    What is left out stays as it is in etcd. Refused where another service has the host port or TLS name already.

    Examples:
        inv discovery.register database 10.0.0.5:5432 --scheme tcp --host-port 5432
        inv discovery.register legacy 10.0.0.9:8080 --id old-host --scheme http --check 'http /health' --weight 10
    """
    from argosy.discovery import keys
    from argosy.discovery.changes import Registration

    settings = settings_of(c, cluster)
    wanted = Registration(name, endpoint, id, scheme, host_port, private, sni, weight, check)
    wanted.keys()
    with _opened(settings) as opened:
        if dry_run:
            console.print_steps(keys.plan_registration(settings, opened.store, wanted).steps())
            return
        done = keys.register(settings, opened.store, wanted)
    for warning in done.change.warnings:
        console.report(name, warning)
    console.say(f"{name}: {f'registered at revision {done.revision}' if done.revision else 'already so'}")


@task(
    words="ids",
    help={
        "name": "the service",
        "ids": "IDs of instances; the whole service, with all its keys, when left out",
        "force": "also an instance whose agent will register it again",
        "yes": "don't ask before deleting a whole service",
    },
)
def deregister(
    c: Context,
    name: str,
    ids: list[str],
    force: bool = False,
    yes: bool = False,
    cluster: str = "",
    dry_run: bool = False,
) -> None:
    """Deregister instances, or a whole service. What agents register is refused: drain it, or stop its container.

    Examples:
        inv discovery.deregister database 10.0.0.5:5432
        inv discovery.deregister legacy --yes
    """
    from argosy.discovery import keys

    with _opened(settings_of(c, cluster)) as opened:
        planned = keys.plan_removal(opened.store, name, ids, force=force)
        if dry_run:
            console.print_steps(planned.steps())
            return
        if not ids and not planned.nothing:
            console.confirm(f"Delete service {name}, all {len(planned.delete)} keys of it?", yes)
        done = keys.deregister(opened.store, name, ids, force=force)
    for warning in done.change.warnings:
        console.report(name, warning)
    what = (
        f"deregistered at revision {done.revision}, {len(done.change.delete)} keys" if done.revision else "already so"
    )
    console.say(f"{name}: {what}")


@task(words="names", help={"names": NAMES, "json": "print each change as a line of JSON"})
def watch(c: Context, names: list[str], cluster: str = "", json: bool = False) -> None:
    """Show what becomes of services, a line for each change, until Ctrl-C.

    Examples:
        inv discovery.watch
        inv discovery.watch backend --json
    """
    from json import dumps

    from argosy.discovery import observing
    from argosy.discovery.differences import ServiceChange

    def show(revision: int, change: ServiceChange) -> None:
        console.say(dumps(change.to_json(revision)) if json else f"{revision} {change}")

    with _opened(settings_of(c, cluster)) as opened:
        observing.follow(opened, names, show)


@task(
    help={
        "machine": "whose router; the first by name when left out",
        "file": "a JSON object of keys and values, instead of the cluster's etcd",
        "out": "write haproxy.cfg and its maps into this folder",
    }
)
def render(c: Context, machine: str = "", file: str = "", out: str = "", cluster: str = "", json: bool = False) -> None:
    """Print the haproxy.cfg that a router would get; what is wrong with the keys goes to stderr.

    Examples:
        inv discovery.render --machine air-02
        inv discovery.render --file keys.json --out ./router && haproxy -c -f ./router/haproxy.cfg
    """
    from pathlib import Path

    from argosy.discovery import keys, rendering
    from argosy.schema import FOLLOWED
    from argosy.text import printable

    settings = settings_of(c, cluster)
    if file:
        entries = rendering.read_keys(Path(file))
    else:
        with _opened(settings) as opened:
            entries = keys.read(opened.store, FOLLOWED)
    files, problems = rendering.render(settings, entries, machine)
    written = rendering.write_files(Path(out), files) if out else []
    if json:
        console.print_json({"files": files, "problems": [asdict(problem) for problem in problems]})
        return
    for problem in problems:
        console.report(printable(problem.service) or "-", printable(str(problem)))
    for line in [str(path) for path in written] or [files["haproxy.cfg"].rstrip("\n")]:
        console.say(line)


@task(help={"target": TARGET, "deadline_seconds": DEADLINE})
def drain(c: Context, target: str, deadline_seconds: float = 0.0, cluster: str = "", dry_run: bool = False) -> None:
    """Send no new connections to an instance, or to a machine, and wait until every live router does so.

    Open connections continue. Idempotent.

    Examples:
        inv discovery.drain backend/air-02:air-backend
        inv discovery.drain air-02
    """
    _set_draining(settings_of(c, cluster), target, drain=True, deadline_seconds=deadline_seconds, dry_run=dry_run)


@task(help={"target": TARGET, "deadline_seconds": DEADLINE})
def undrain(c: Context, target: str, deadline_seconds: float = 0.0, cluster: str = "", dry_run: bool = False) -> None:
    """End the draining of an instance or a machine, and wait until every live router knows.

    Examples:
        inv discovery.undrain backend/air-02:air-backend
        inv discovery.undrain air-02
    """
    _set_draining(settings_of(c, cluster), target, drain=False, deadline_seconds=deadline_seconds, dry_run=dry_run)


def _set_draining(settings: Settings, word: str, *, drain: bool, deadline_seconds: float, dry_run: bool) -> None:
    from argosy.discovery import draining
    from argosy.discovery.changes import parse_target

    target = parse_target(word)
    seconds = deadline_seconds or draining.default_deadline_seconds(settings)
    with _opened(settings) as opened:
        if dry_run:
            console.print_steps(draining.plan(opened.store, target, drain=drain).steps())
            return
        already, applied = draining.set_draining(opened.store, target, drain=drain, deadline_seconds=seconds)
    what = ("already " if already else "") + ("draining" if drain else "takes connections")
    for line in applied.lines():
        console.say(f"{target}: {what}, {line}")


def _opened(settings: Settings) -> OpenCluster:
    from argosy.cluster.opening import OpenCluster

    return OpenCluster(settings, console.report)
