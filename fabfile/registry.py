"""The Docker registry of a cluster: run it, upload to it, see what it holds, prune it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from invoke.context import Context

    from argosy.config import Settings

CLUSTER = "the cluster's section under clusters: (or INVOKE_CLUSTER)"
DRY_RUN = "print the plan, change nothing"
AS_JSON = "print JSON"
IN_USE = "releases that machines run, by commas, or `none`; asked of the clusters when left out"


@task(help={"cluster": CLUSTER, "dry_run": DRY_RUN})
def start(c: Context, cluster: str = "", dry_run: bool = False) -> None:
    """Run the registry as a container on this host, with TLS and a password, and wait until it answers.

    It listens on loopback and on the host of registry.address; its data is on a volume. Running already, it is left
    alone, unless its settings, certificate or password have changed.

    Examples:
        inv build.images --only registry registry.start
        inv registry.start --dry-run
    """
    from argosy import console
    from argosy.operations import registry

    settings = settings_of(c, cluster)
    if dry_run:
        console.print_steps(registry.plan_start(settings))
        return
    registry.start(settings, console.report)


@task(
    help={
        "wipe": "remove its volume too: every image in it is lost",
        "yes": "don't ask before wiping",
        "cluster": CLUSTER,
        "dry_run": DRY_RUN,
    }
)
def stop(c: Context, wipe: bool = False, yes: bool = False, cluster: str = "", dry_run: bool = False) -> None:
    """Stop the registry; its data stays, unless --wipe.

    Examples:
        inv registry.stop
        inv registry.stop --wipe --yes
    """
    from argosy import console
    from argosy.operations import registry

    settings = settings_of(c, cluster)
    if dry_run:
        console.print_steps(registry.plan_stop(settings, remove_data=wipe))
        return
    if wipe:
        console.confirm("Remove every image in the registry?", yes)
    registry.stop(settings, console.report, remove_data=wipe)


@task(help={"cluster": CLUSTER, "json": AS_JSON})
def status(c: Context, cluster: str = "", json: bool = False) -> None:
    """Show where the registry is, whether it runs here, and whether it takes our password.

    Examples:
        inv registry.status
        inv registry.status --json
    """
    from dataclasses import asdict

    from argosy import console
    from argosy.operations import registry

    seen = registry.status(settings_of(c, cluster))
    if json:
        console.print_json(asdict(seen))
        return
    answer = "yes" if seen.answers else seen.reason
    console.table(["ADDRESS", "CONTAINER", "IMAGE", "ANSWERS"], [[seen.address, seen.container, seen.image, answer]])


@task(
    help={
        "only": "names of images, by commas; all that machines need when left out",
        "cluster": CLUSTER,
        "dry_run": DRY_RUN,
        "json": AS_JSON,
    }
)
def push(c: Context, only: str = "", cluster: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Upload the versions that the registry lacks; with nothing new, nothing is sent.

    Examples:
        inv build.all registry.push
        inv registry.push --only frontend --dry-run
    """
    from dataclasses import asdict

    from argosy import console
    from argosy.operations import registry

    settings = settings_of(c, cluster)
    names = [name for name in only.split(",") if name]
    if dry_run:
        console.print_steps(registry.plan_push(settings, names), json)
        return
    pushed = registry.push(settings, console.report, names)
    if json:
        console.print_json([asdict(image) for image in pushed])
    elif pushed:
        console.table(["IMAGE", "VERSION", "DIGEST"], [[it.name, it.version, it.digest[:19]] for it in pushed])


@task(name="list", help={"cluster": CLUSTER, "json": AS_JSON})
def list_images(c: Context, cluster: str = "", json: bool = False) -> None:
    """Show every version in the registry: digest, compressed size, and the releases that pin it.

    Examples:
        inv registry.list
        inv registry.list --json
    """
    from dataclasses import asdict

    from argosy import console
    from argosy.operations import registry

    found = registry.list_images(settings_of(c, cluster))
    if json:
        console.print_json([asdict(row) for row in found])
        return
    rows = [
        [it.name, it.version, it.digest[:19], f"{it.size_bytes / 1e6:.1f} MB", " ".join(it.releases)] for it in found
    ]
    console.table(["IMAGE", "VERSION", "DIGEST", "SIZE", "RELEASES"], rows)


@task(help={"in_use": IN_USE, "cluster": CLUSTER, "dry_run": DRY_RUN, "json": AS_JSON})
def prune(c: Context, in_use: str = "", cluster: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Delete the versions that no release in use, and no rollback, needs; then free their space.

    Kept are the last five versions (build.keep_versions) of each image, the releases that machines run, what the kept
    releases pin, what scheduled services run or would go back to, and every etcd image. Our own registry is read-only
    for the seconds that it takes.

    Examples:
        inv registry.prune --dry-run
        inv registry.prune --in-use 0.1.3,0.1.4
    """
    from argosy import console
    from argosy.operations import registry

    settings = settings_of(c, cluster)
    sharing = _sharing_registry(c, settings)
    known = registry.releases_in_use(sharing, in_use)
    running = registry.digests_in_use(sharing, console.report, in_use)
    if dry_run:
        console.print_steps(registry.plan_prune(settings, known, running), json)
        return
    gone = registry.prune(settings, console.report, known, running)
    if json:
        console.print_json([{"image": item.name, "version": str(item.version)} for item in gone])


def _sharing_registry(c: Context, settings: Settings) -> list[Settings]:
    """Return the settings of every cluster that pulls from the same registry."""
    clusters = (settings_of(c, str(name)) for name in c.config["clusters"])
    return [other for other in clusters if other.registry.address == settings.registry.address]
