"""How the containers, networks and volumes of a local cluster are named and labelled on the host's engine. Pure."""

from __future__ import annotations

from argosy.config import Settings

SYSTEM_LABEL = "argosy.system"
CLUSTER_LABEL = "argosy.cluster"
ROLE_LABEL = "argosy.role"


def container_name(settings: Settings, name: str) -> str:
    """Return the name on the engine of a machine, a dependency or the balancer: `argosy-CLUSTER-NAME`."""
    return f"argosy-{settings.cluster}-{name}"


def network_name(settings: Settings) -> str:
    return container_name(settings, "machines")


def volume_name(settings: Settings, name: str) -> str:
    return container_name(settings, name)


def labels_of(settings: Settings, role: str) -> dict[str, str]:
    """Return the labels by which we know our own. `role`: machine, balancer, dependency, network."""
    return {SYSTEM_LABEL: settings.system, CLUSTER_LABEL: settings.cluster, ROLE_LABEL: role}
