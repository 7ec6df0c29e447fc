"""Build images and give them versions, on the engine of this host.

images.py       the images under `images:`
installer.py    the installer image, which is the release
versioning.py   from a build's result to a version
stored.py       the versions that are here: see them, drop old ones
"""

from __future__ import annotations

from argosy.config import Settings
from argosy.console import Report
from argosy.operations.build.images import build_images, plan_images
from argosy.operations.build.installer import build_installer, plan_installer
from argosy.operations.build.stored import plan as plan_prune
from argosy.operations.build.stored import prune, versions
from argosy.operations.build.versioning import Built


def build_all(settings: Settings, report: Report) -> list[Built]:
    """Build every image, push those that the release pins, build the installer. Idempotent."""
    return [*build_images(settings, report), build_installer(settings, report)]


__all__ = [
    "Built",
    "build_all",
    "build_images",
    "build_installer",
    "plan_images",
    "plan_installer",
    "plan_prune",
    "prune",
    "versions",
]
