"""Updates of scheduled services: tasks of the namespace `service`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from invoke.context import Context

    from argosy.config import Settings
    from argosy.operations.service.updating.deciding import Wish
    from argosy.operations.service.work import Work

CLUSTER = "the cluster's section under clusters: (or INVOKE_CLUSTER)"
NAME = "the scheduled service"
YES = "don't ask on a terminal"
DRY_RUN = "print the plan, change nothing"
AS_JSON = "print JSON: each event on a line as it comes, or the plan"


@task(
    help={
        "name": NAME,
        "image": "a version of its image (0.1.3), or another image's full reference",
        "release": "the image that this release pins, instead of the newest in the registry",
        "file": "a YAML file of the shape scheduled: {NAME: {...}} that defines it",
        "renew": "replace the instances also when nothing differs, for a secret that was rotated",
        "canary": "the share of requests that the new instances get at first, such as 10% (update.canary)",
        "soak": "seconds that they get no more than that (update.soak_seconds)",
        "yes": YES,
        "cluster": CLUSTER,
        "dry_run": DRY_RUN,
        "json": AS_JSON,
    }
)
def update(
    c: Context,
    name: str,
    image: str = "",
    release: str = "",
    file: str = "",
    renew: bool = False,
    canary: str = "",
    soak: float = -1.0,
    yes: bool = False,
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Bring a new version, or a changed definition, into service without losing a request.

    The new instances start beside the old, get requests when all of them are well, and the old ones go. When they don't
    get well, or on Ctrl-C, the old ones serve on and the new are removed. The same again goes on after a crash.

    Examples:
        inv service.update web
        inv service.update web --image 0.1.3 --canary 10% --soak 60
        inv service.update web --renew
        inv service.update web --dry-run
    """
    from argosy.operations.service import definitions
    from argosy.operations.service.updating import running

    settings = settings_of(c, cluster)
    found = definitions.read(settings, (), file=file, everything=True)
    held = None if soak < 0 else soak
    flags = running.Flags(name, found.every, image, release, canary or None, held, bool(file), renew)
    _update(settings, lambda work: running.wish_of(work, flags), yes, dry_run, json)


@task(help={"name": NAME, "yes": YES, "cluster": CLUSTER, "dry_run": DRY_RUN, "json": AS_JSON})
def rollback(
    c: Context, name: str, yes: bool = False, cluster: str = "", dry_run: bool = False, json: bool = False
) -> None:
    """Take an update back that has not ended; else bring what was in service before into service again, as an update.

    Examples:
        inv service.rollback web
        inv service.rollback web --dry-run
    """
    from argosy.operations.service.updating.deciding import Wish

    _update(settings_of(c, cluster), lambda _: Wish(name, rollback=True), yes, dry_run, json)


def _update(settings: Settings, wished: Callable[[Work], Wish], yes: bool, dry_run: bool, json: bool) -> None:
    from argosy import console, rollout_view
    from argosy.operations.service import opening
    from argosy.operations.service.updating import running

    with rollout_view.lines(json) as events, opening.opened(settings, running.reporting(events)) as work:
        wish = wished(work)
        if dry_run or console.will_ask(yes):
            steps = running.plan(work, wish)
            console.print_steps(steps, json and dry_run)
            if dry_run:
                return
            if steps:
                console.confirm("Go ahead?", yes)
        running.update(work, wish, events)
