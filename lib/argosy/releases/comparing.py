"""Compare two releases, of one cluster or of two."""

from __future__ import annotations

from argosy.config.loading import Settings
from argosy.registry import access
from argosy.releases import contents
from argosy.releases.differences import Differences, differences
from argosy.releases.usage import running_release


def compare(settings: Settings, first: str, second: str, other: Settings | None = None) -> Differences:
    """Return how release `second` differs from `first`, which is one of the cluster `other`, if given.

    Without `first`, that is the one that `other` runs; without `second`, it is the newest. Raises Refused.
    """
    source = other or settings
    before = access.release_in_registry(source, first) if first else running_release(source)
    after = access.release_in_registry(settings, second)
    return differences(contents.read(source, before), contents.read(settings, after))
