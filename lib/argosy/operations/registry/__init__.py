"""The Docker registry of a cluster: run it, upload to it, see what it holds, prune it.

container.py   our own registry as a container: start, stop, status
access.py      reading it: current_images, current_release
push.py        uploading what it lacks
contents.py    listing and pruning
trust.py       the local engine's trust in it
"""

from __future__ import annotations

from argosy.operations.registry.access import current_images, current_release, pinned_images
from argosy.operations.registry.container import RegistryStatus, plan_start, plan_stop, renew, start, status, stop
from argosy.operations.registry.contents import list_images, prune
from argosy.operations.registry.contents import plan as plan_prune
from argosy.operations.registry.in_use import digests_in_use, releases_in_use
from argosy.operations.registry.push import plan_push, push
from argosy.operations.registry.trust import distrust_registry

__all__ = [
    "RegistryStatus",
    "current_images",
    "current_release",
    "digests_in_use",
    "distrust_registry",
    "list_images",
    "pinned_images",
    "plan_prune",
    "plan_push",
    "plan_start",
    "plan_stop",
    "prune",
    "push",
    "releases_in_use",
    "renew",
    "start",
    "status",
    "stop",
]
