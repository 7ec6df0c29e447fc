"""Images: build them, give them versions, see them, drop old ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from invoke.context import Context

    from argosy.builds.versioning import Built

IN_USE = "releases that machines run, by commas, or `none`; asked of the cluster when left out"


@task(
    help={
        "only": "names of images, by commas; all under images: when left out",
        "no_cache": "run every step again, whatever the builder remembers",
    }
)
def images(
    c: Context, only: str = "", no_cache: bool = False, cluster: str = "", dry_run: bool = False, json: bool = False
) -> None:
    """Build the images; those whose content has changed get a new version.

    Images that need each other are built one after the other, others in parallel (build.max_parallel). When one fails
    it gets no version, and the others are finished.

    Examples:
        inv build.images
        inv build.images --only frontend,backend
        inv build.images --dry-run
    """
    from argosy import console
    from argosy.builds import images as image_builds

    settings = settings_of(c, cluster)
    names = [name for name in only.split(",") if name]
    if dry_run:
        console.print_steps(image_builds.plan_images(settings, names), json)
        return
    with _log_shown():
        built = image_builds.build_images(settings, console.report, names, no_cache)
    _print_built(built, json)


@task
def installer(c: Context, cluster: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Build the installer image: the release, with every unit rendered and every image pinned by digest.

    The images that it pins are pushed first where the registry lacks them: a digest exists only there.

    Example:
        inv build.installer registry.push
    """
    from argosy import console
    from argosy.builds import installer as installer_build

    settings = settings_of(c, cluster)
    if dry_run:
        console.print_steps(installer_build.plan_installer(settings), json)
        return
    with _log_shown():
        built = installer_build.build_installer(settings, console.report)
    _print_built([built], json)


@task(name="all")
def build_all(c: Context, cluster: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Build every image, then the installer.

    Example:
        inv build.all registry.push
    """
    from argosy import console
    from argosy.builds import images as image_builds
    from argosy.builds import installer as installer_build

    settings = settings_of(c, cluster)
    if dry_run:
        console.print_steps([*image_builds.plan_images(settings), *installer_build.plan_installer(settings)], json)
        return
    with _log_shown():
        built = installer_build.build_all(settings, console.report)
    _print_built(built, json)


@task
def versions(c: Context, cluster: str = "", json: bool = False) -> None:
    """Show the newest version of each image on this host, and the older ones that are kept.

    Examples:
        inv build.versions
        inv build.versions --json
    """
    from argosy import console
    from argosy.builds import stored as stored_module

    found = stored_module.versions(settings_of(c, cluster))
    if json:
        console.print_json({name: [str(item.version) for item in stored] for name, stored in found.items()})
        return
    rows = []
    for name, stored in found.items():
        newest, older = stored[:1], stored[1:]
        size = f"{newest[0].size_bytes / 1e6:.0f} MB" if newest else ""
        rows.append(
            [name, newest[0].version if newest else "none yet", size, " ".join(str(stored.version) for stored in older)]
        )
    console.table(["IMAGE", "NEWEST", "SIZE", "OLDER"], rows)


@task(help={"in_use": IN_USE})
def prune(c: Context, in_use: str = "", cluster: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Drop all but the last five versions (build.keep_versions) of each image from this host.

    What a kept release pins stays, a release that machines run is kept, and so is what a container here runs.

    Examples:
        inv build.prune --dry-run
        inv build.prune --in-use 0.1.3
    """
    from argosy import console
    from argosy.builds import stored as stored_module
    from argosy.services import in_use as in_use_module

    settings = settings_of(c, cluster)
    known = in_use_module.releases_in_use([settings], in_use)
    if dry_run:
        console.print_steps(stored_module.plan(settings, known), json)
        return
    gone = stored_module.prune(settings, console.report, known)
    if json:
        console.print_json([{"image": item.name, "version": str(item.version)} for item in gone])


@contextmanager
def _log_shown() -> Iterator[None]:
    """Print the end of a failed build's output before the one line that `inv` prints."""
    import sys

    from argosy.errors import BuildFailed

    try:
        yield
    except BuildFailed as error:
        if error.log:
            print(error.log, file=sys.stderr)
        raise


def _print_built(built: list[Built], json: bool) -> None:
    from dataclasses import asdict

    from argosy import console

    if json:
        console.print_json([asdict(item) for item in built])
        return
    rows = [
        [image.name, image.version, "new" if image.is_new else "unchanged", f"{image.seconds:.1f} s"] for image in built
    ]
    console.table(["IMAGE", "VERSION", "", "TOOK"], rows)
