"""The versions on this host's engine: seeing them, dropping old ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from argosy.builds.versioning import building
from argosy.config.loading import Settings
from argosy.engine.connection import connect
from argosy.errors import EngineError
from argosy.images.repositories import repository
from argosy.images.store import remove_superseded, stored_images, untag
from argosy.images.versions import ReleaseInUse, Stored, parse_version, plan_prune
from argosy.model import Step
from argosy.report import Report


def versions(settings: Settings) -> dict[str, list[Stored]]:
    """Return the versions on this host's engine by image, newest first: of all images but those that are built on
    demand and were not, and of releases this cluster's, and those that name none."""
    with connect() as client:
        stored = stored_images(client, settings.system)
    by_name: dict[str, list[Stored]] = {name: [] for name, image in settings.images.items() if not image.on_demand}
    known = [item for item in stored if item.cluster in ("", settings.cluster)]
    for item in sorted(known, key=lambda item: item.version, reverse=True):
        by_name.setdefault(item.name, []).append(item)
    return by_name


def unpushed(settings: Settings, name: str, pushed: str) -> str:
    """Return what to say where this host has a newer version of image `name` than `pushed`, the registry's newest;
    empty where it has none, or no engine that could be asked."""
    version = parse_version(pushed)
    try:
        here = versions(settings).get(name, [])
    except EngineError:
        return ""
    if not here or version is None or here[0].version <= version:
        return ""
    return f"{here[0].version} of {name} is on this host but not pushed: inv registry.push"


def plan(settings: Settings, in_use: Collection[ReleaseInUse] = ()) -> list[Step]:
    """Return what `prune` would drop."""
    with connect() as client:
        gone = _gone(settings, stored_images(client, settings.system), in_use)
    return [Step(item.name, f"drop {item.version}") for item in gone]


def prune(settings: Settings, report: Report, in_use: Collection[ReleaseInUse] = ()) -> list[Stored]:
    """Drop all but the last `build.keep_versions` of each image from this engine; return what is gone. Idempotent.

    What a kept release, or one that is `in_use` on machines, pins stays; so does what a container here runs. Releases
    of other clusters are not this one's to drop.
    """
    with connect() as client, building(settings, client):
        gone = []
        for item in _gone(settings, stored_images(client, settings.system), in_use):
            if untag(client, f"{repository(settings.system, item.name, item.cluster)}:{item.version}"):
                gone.append(item)
                report(item.name, f"dropped {item.version}")
            else:
                report(item.name, f"kept {item.version}: a container runs it")
        remove_superseded(client, settings.system)
    if not gone:
        report("images", "nothing to prune")
    return gone


def _gone(settings: Settings, stored: Sequence[Stored], in_use: Collection[ReleaseInUse]) -> list[Stored]:
    """A release in use that was built elsewhere isn't here, and neither need be what it pins."""
    here = {release for release in in_use if any(map(release.is_at, stored))}
    return plan_prune(stored, settings.build.keep_versions, here, cluster=settings.cluster)
