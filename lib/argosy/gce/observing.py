"""What the project holds of ours."""

from __future__ import annotations

from collections.abc import Iterable

from argosy.config.loading import Settings
from argosy.gce.compute.client import Compute
from argosy.gce.plan import balancer_plan
from argosy.gce.plan.actions import Project
from argosy.gce.plan.names import address_name, disk_name, is_ours, last, shared_name

SERVER_KINDS = ("instances", "disks", "addresses")
GROUP = "instanceGroups"
ALL_KINDS = (*SERVER_KINDS, *balancer_plan.KINDS)


def observe(compute: Compute, settings: Settings, kinds: Iterable[str]) -> Project:
    """Return the resources of these kinds (with those of others, whose names are taken), and the group's members."""
    found = {kind: compute.all(kind) for kind in kinds}
    group = shared_name(settings)
    if group not in found.get(GROUP, {}):
        return Project(found)
    return Project(found, {group: [last(url) for url in compute.members(group)]})


def settle(compute: Compute, settings: Settings, names: Iterable[str] = ()) -> bool:
    """Wait for the operations that an earlier run has begun, and return whether there were any.

    `names`: servers that are ours although their instances may not be seen yet.
    """
    pending = compute.pending()
    if not pending:
        return False
    ours = {name for server in names for name in (server, address_name(server), disk_name(server))}
    for kind in SERVER_KINDS:
        ours |= {name for name, entry in compute.all(kind).items() if is_ours(settings, entry)}
    shared = shared_name(settings)
    waited = False
    for operation in pending:
        target = last(str(operation.get("targetLink", "")))
        if target in ours or target == shared or target.startswith(f"{shared}-"):
            compute.wait(operation)
            waited = True
    return waited
