"""The Docker registry of a cluster: run it, upload to it, see what it holds, prune it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy.model import Step
from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from invoke.context import Context

    from argosy.config.loading import Settings

IN_USE = "releases that machines run, by commas, or `none`; asked of the clusters when left out"


@task
def start(c: Context, cluster: str = "", dry_run: bool = False) -> None:
    """Run the registry as a container on this host, with TLS and a password, and wait until it answers.

    It listens on loopback and on the host of registry.address; its data is on a volume. Its image is built when none is
    here. Running already, it is left alone, unless its settings, certificate or password have changed.

    Examples:
        inv registry.start
        inv registry.start build.all registry.push
        inv registry.start --dry-run
    """
    from argosy import console
    from argosy.builds.images import build_images, plan_images
    from argosy.registry import container

    settings = settings_of(c, cluster)
    container.bind_addresses(settings)  # Refused before an image is built for it.
    if not container.is_built(settings):
        image = [settings.local.registry_image]
        if dry_run:
            console.print_steps([*plan_images(settings, image), Step("registry", "run it")])
            return
        build_images(settings, console.report, image)
    if dry_run:
        console.print_steps(container.plan_start(settings))
        return
    container.start(settings, console.report)


@task(help={"wipe": "remove its volume too: every image in it is lost", "yes": "don't ask before wiping"})
def stop(c: Context, wipe: bool = False, yes: bool = False, cluster: str = "", dry_run: bool = False) -> None:
    """Stop the registry; its data stays, unless --wipe.

    Examples:
        inv registry.stop
        inv registry.stop --wipe --yes
    """
    from argosy import console
    from argosy.registry import container

    settings = settings_of(c, cluster)
    if dry_run:
        console.print_steps(container.plan_stop(settings, remove_data=wipe))
        return
    if wipe:
        console.confirm("Remove every image in the registry?", yes)
    container.stop(settings, console.report, remove_data=wipe)


@task
def status(c: Context, cluster: str = "", json: bool = False) -> None:
    """Show where the registry is, whether it runs here, and whether it takes our password.

    Examples:
        inv registry.status
        inv registry.status --json
    """
    from dataclasses import asdict

    from argosy import console
    from argosy.registry import container

    seen = container.status(settings_of(c, cluster))
    if json:
        console.print_json(asdict(seen))
        return
    answer = "yes" if seen.answers else seen.reason
    console.table(["ADDRESS", "CONTAINER", "IMAGE", "ANSWERS"], [[seen.address, seen.container, seen.image, answer]])


@task(help={"only": "names of images, by commas; all that machines need when left out"})
def push(c: Context, only: str = "", cluster: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Upload the versions that the registry lacks; with nothing new, nothing is sent. Of releases, only this cluster's.

    Examples:
        inv build.all registry.push
        inv registry.push --only frontend --dry-run
    """
    from dataclasses import asdict

    from argosy import console
    from argosy.registry import push as pushing

    settings = settings_of(c, cluster)
    names = [name for name in only.split(",") if name]
    if dry_run:
        console.print_steps(pushing.plan_push(settings, names), json)
        return
    pushed = pushing.push(settings, console.report, names)
    if json:
        console.print_json([asdict(image) for image in pushed])
    elif pushed:
        console.table(
            ["IMAGE", "VERSION", "DIGEST"], [[image.name, image.version, image.digest[:19]] for image in pushed]
        )


@task(name="list")
def list_images(c: Context, cluster: str = "", json: bool = False) -> None:
    """Show every version in the registry: digest, compressed size, and the releases that pin it.

    Examples:
        inv registry.list
        inv registry.list --json
    """
    from dataclasses import asdict

    from argosy import console
    from argosy.registry import contents

    found = contents.list_images(settings_of(c, cluster), console.report, [str(name) for name in c.config["clusters"]])
    if json:
        console.print_json([asdict(row) for row in found])
        return
    rows = [
        [row.name, row.version, row.cluster, row.digest[:19], f"{row.size_bytes / 1e6:.1f} MB", " ".join(row.releases)]
        for row in found
    ]
    console.table(["IMAGE", "VERSION", "CLUSTER", "DIGEST", "SIZE", "RELEASES"], rows)


@task(help={"in_use": IN_USE})
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
    from argosy.registry import contents
    from argosy.services import in_use as in_use_module

    settings = settings_of(c, cluster)
    sharing = _sharing_registry(c, settings)
    known = in_use_module.releases_in_use(sharing, in_use, wherever=True)
    running = in_use_module.digests_in_use(sharing, console.report, in_use)
    clusters = [other.cluster for other in sharing]
    if dry_run:
        console.print_steps(contents.plan(settings, console.report, known, running, clusters), json)
        return
    gone = contents.prune(settings, console.report, known, running, clusters)
    if json:
        console.print_json([{"image": item.name, "version": str(item.version)} for item in gone])


def _sharing_registry(c: Context, settings: Settings) -> list[Settings]:
    """Return the settings of every cluster that pulls the same images: from the same repositories of one registry."""
    from argosy.images.repositories import registry_prefix

    clusters = (settings_of(c, str(name)) for name in c.config["clusters"])
    place = settings.registry.address, registry_prefix(settings)
    return [other for other in clusters if (other.registry.address, registry_prefix(other)) == place]
