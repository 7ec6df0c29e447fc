"""The versions on this host's engine: seeing them, dropping old ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from argosy.config import Settings
from argosy.console import Report
from argosy.engine_connection import connect
from argosy.engine_images import remove_superseded, stored_images, untag
from argosy.model import Step
from argosy.operations.build.versioning import building
from argosy.operations.registry.access import repository
from argosy.versions import INSTALLER, Stored, plan_prune


def versions(settings: Settings) -> dict[str, list[Stored]]:
    """Return the versions on this host's engine by image, newest first."""
    with connect() as client:
        stored = stored_images(client, settings.system)
    by_name: dict[str, list[Stored]] = {name: [] for name in settings.images}
    for item in sorted(stored, key=lambda item: item.version, reverse=True):
        by_name.setdefault(item.name, []).append(item)
    return by_name


def plan(settings: Settings, in_use: Collection[str] = ()) -> list[Step]:
    """Return what `prune` would drop."""
    with connect() as client:
        gone = _gone(settings, stored_images(client, settings.system), in_use)
    return [Step(item.name, f"drop {item.version}") for item in gone]


def prune(settings: Settings, report: Report, in_use: Collection[str] = ()) -> list[Stored]:
    """Drop all but the last `build.keep_versions` of each image from this engine; return what is gone. Idempotent.

    What a kept release, or one that is `in_use` on machines, pins stays; so does what a container here runs.
    """
    with connect() as client, building(settings, client):
        gone = []
        for item in _gone(settings, stored_images(client, settings.system), in_use):
            if untag(client, f"{repository(settings, item.name)}:{item.version}"):
                gone.append(item)
                report(item.name, f"dropped {item.version}")
            else:
                report(item.name, f"kept {item.version}: a container runs it")
        remove_superseded(client, settings.system)
    if not gone:
        report("images", "nothing to prune")
    return gone


def _gone(settings: Settings, stored: Sequence[Stored], in_use: Collection[str]) -> list[Stored]:
    """A release in use that was built elsewhere isn't here, and neither need be what it pins."""
    here = {str(item.version) for item in stored if item.name == INSTALLER}
    return plan_prune(stored, settings.build.keep_versions, here & set(in_use))
