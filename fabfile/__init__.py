"""The task namespaces: each task loads the configuration, calls one operation and prints its result."""

from __future__ import annotations

from types import ModuleType

from invoke.collection import Collection

from argosy.config.defaults import DEFAULTS


def root_collection() -> Collection:
    """Return the namespaces and their default configuration, ready to be mounted in any tasks.py."""
    from argosy.tasks import (
        build,
        cluster,
        discovery,
        fleet,
        gce,
        local,
        membership,
        operator,
        registry,
        release,
        rollouts,
        secrets,
        service,
        service_updates,
        swarm,
    )

    namespace = Collection(
        build,
        registry,
        release,
        _with_tasks_of(cluster, membership, rollouts, swarm),
        secrets,
        operator,
        discovery,
        _with_tasks_of(service, service_updates, fleet),
        local,
        gce,
    )
    namespace.configure(DEFAULTS)
    return namespace


def _with_tasks_of(module: ModuleType, *others: ModuleType) -> Collection:
    """Return the namespace of `module` with the tasks of the others in it, too."""
    namespace = Collection.from_module(module)
    for other in others:
        for name, task in Collection.from_module(other).tasks.items():
            namespace.add_task(task, name=name)
    return namespace
