"""Which release is wanted in a cluster, and which ones its machines have, as its etcd says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from argosy import etcd, inventory
from argosy.cluster import machines as known_machines
from argosy.cluster.release import Release, read_release
from argosy.config.loading import Settings
from argosy.errors import Refused
from argosy.images.versions import Stored
from argosy.registry import access


@dataclass(frozen=True, slots=True)
class Usage:
    """`wanted`: None before the first rollout; `machines`: release -> the machines that have it."""

    wanted: Release | None = None
    machines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def usage(settings: Settings) -> Usage:
    """Ask the cluster's etcd; nothing is used in a cluster without machines. Raises EtcdError, also when this checkout
    knows no machine and none that it may be answers."""
    machines = inventory.load(settings) or known_machines.learn(settings)
    if not machines:
        return Usage()
    with etcd.connect(settings, machines) as store:
        wanted = read_release(store)
        records = known_machines.read(store)
    having: dict[str, list[str]] = {}
    for record in records:
        if record.release:
            having.setdefault(record.release, []).append(record.name)
    return Usage(wanted, {version: tuple(names) for version, names in having.items()})


def chosen(used: Usage) -> Release | None:
    """Return the release that the cluster has by intent: the wanted one, else the one that all machines have. Pure."""
    if used.wanted is not None:
        return used.wanted
    return Release(next(iter(used.machines))) if len(used.machines) == 1 else None


def running_release(settings: Settings) -> Stored:
    """Return the release that the cluster runs, as its registry has it.

    Raises Refused when it can't be told which, or the registry has other bytes under its version; EtcdError.
    """
    used = usage(settings)
    release = chosen(used)
    if release is None:
        told = ", ".join(sorted(used.machines)) or "none"
        raise Refused(
            f"which release the cluster {settings.cluster} runs can't be told (its machines have {told}, no rollout "
            "has ended): name it by --release"
        )
    found = access.release_in_registry(settings, release.version)
    if release.digest and release.digest != found.digest:
        raise Refused(
            f"{settings.cluster} runs release {release} as {release.digest}, its registry has {found.digest} there: "
            "name the one that is meant by --release"
        )
    return found
