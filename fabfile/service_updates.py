"""Updates of scheduled services: tasks of the namespace `service`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy import console
from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from invoke.context import Context

    from argosy.config.loading import Settings
    from argosy.services.updates.begin import UpdateRequest
    from argosy.services.work import ServicesCluster

NAME = "the scheduled service"
YES = "don't ask on a terminal"
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
    get well, or on Ctrl-C, the old ones continue to serve and the new are removed. The same command resumes after a
    crash.

    Examples:
        inv service.update web
        inv service.update web --image 0.1.3 --canary 10% --soak 60
        inv service.update web --renew
        inv service.update web --dry-run
    """
    from argosy.services import changing, definitions
    from argosy.services.updates import run as running
    from argosy.services.updates.begin import UpdateRequest

    settings = settings_of(c, cluster)
    changing.scheduled(settings, name)
    found = definitions.read(settings, (), file=file, everything=True)

    def request_of(work: ServicesCluster) -> UpdateRequest:
        return UpdateRequest(
            name,
            running.target(work, name, found.every, image=image, release=release),
            named=bool(file or image or release),
            renew=renew,
            canary=canary or None,
            soak_seconds=None if soak < 0 else soak,
        )

    _update(settings, request_of, yes, dry_run, json)


@task(help={"name": NAME, "yes": YES, "json": AS_JSON})
def rollback(
    c: Context, name: str, yes: bool = False, cluster: str = "", dry_run: bool = False, json: bool = False
) -> None:
    """Take an update back that has not ended; else bring what was in service before into service again, as an update.

    Examples:
        inv service.rollback web
        inv service.rollback web --dry-run
    """
    from argosy.services import changing
    from argosy.services.updates.begin import UpdateRequest

    settings = settings_of(c, cluster)
    changing.scheduled(settings, name)
    _update(settings, lambda _: UpdateRequest(name, rollback=True), yes, dry_run, json)


def _update(
    settings: Settings, request_of: Callable[[ServicesCluster], UpdateRequest], yes: bool, dry_run: bool, json: bool
) -> None:
    from argosy.clock import SystemClock
    from argosy.cluster.events import reporting
    from argosy.rollouts import view
    from argosy.services.updates import run as running
    from argosy.services.work import opened

    events = view.lines(json)
    with opened(settings, reporting(events, SystemClock())) as work:
        request = request_of(work)
        if console.agreed(lambda: running.plan(work, request), yes, dry_run, json and dry_run):
            running.update(work, request, events)
