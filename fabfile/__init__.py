"""The task namespaces: each task loads the configuration, calls one operation and prints its result."""

from __future__ import annotations

from invoke.collection import Collection

from argosy.defaults import DEFAULTS


def root_collection() -> Collection:
    """Return the namespaces and their default configuration, ready to be mounted in any tasks.py."""
    from argosy.tasks import build, cluster, discovery, gce, local, registry

    namespace = Collection(build, registry, cluster, discovery, local, gce)
    namespace.configure(DEFAULTS)
    return namespace
