"""Pure. How what we make is named, and how it is told from what others have made.

Instances and disks carry our labels from the moment that they are made. Other kinds take labels only afterwards or
never, so there the description, which is given as they are made, is the mark. What has neither is not ours, and is
never changed or deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argosy.config.loading import Settings
from argosy.errors import Refused

SYSTEM_LABEL = "argosy-system"
CLUSTER_LABEL = "argosy-cluster"
TYPE_LABEL = "argosy-type"
LABELLED_LATER = ("addresses", "globalAddresses", "globalForwardingRules")
"""Kinds whose labels are set by setLabels alone."""
WORDS = {
    "instances": "server",
    "disks": "disk",
    "addresses": "address",
    "firewalls": "firewall rule",
    "healthChecks": "health check",
    "instanceGroups": "instance group",
    "backendServices": "backend service",
    "targetTcpProxies": "proxy",
    "globalAddresses": "address",
    "globalForwardingRules": "forwarding rule",
}

Document = Mapping[str, Any]


def labels(settings: Settings, type_name: str = "") -> dict[str, str]:
    """Return the labels of what we make: the user's and our own."""
    own = {SYSTEM_LABEL: settings.system, CLUSTER_LABEL: settings.cluster}
    return {**settings.gce.labels, **own, **({TYPE_LABEL: type_name} if type_name else {})}


def mark(settings: Settings) -> str:
    """Return the description of what we make."""
    return f"Made by Argosy for {settings.system}/{settings.cluster}"


def is_ours(settings: Settings, resource: Document) -> bool:
    """Return whether we made the resource, for this system and cluster."""
    held = resource.get("labels", {})
    labelled = held.get(SYSTEM_LABEL) == settings.system and held.get(CLUSTER_LABEL) == settings.cluster
    return labelled or resource.get("description") == mark(settings)


def refuse_foreign(settings: Settings, kind: str, resource: Document | None) -> None:
    """Raise Refused for a resource that has a name of ours and was made by somebody else."""
    if resource is not None and not is_ours(settings, resource):
        raise Refused(
            f"{resource['name']}: the project has a {WORDS[kind]} of this name that does not carry our labels "
            f"({SYSTEM_LABEL}={settings.system}, {CLUSTER_LABEL}={settings.cluster}): take another name, or remove it"
        )


def type_of(resource: Document) -> str:
    return str(resource.get("labels", {}).get(TYPE_LABEL, ""))


def address_name(server: str) -> str:
    return f"{server}-address"


def disk_name(server: str) -> str:
    return f"{server}-data"


def shared_name(settings: Settings, part: str = "") -> str:
    """Return the name of what the cluster has once: SYSTEM-CLUSTER[-PART]; without a part also the network tag."""
    return "-".join(filter(None, (settings.system, settings.cluster, part)))


def in_zone(settings: Settings, path: str) -> str:
    return f"zones/{settings.gce.zone}/{path}"


def in_region(settings: Settings, path: str) -> str:
    return f"regions/{settings.gce.region_of_zone}/{path}"


def last(url: str) -> str:
    """Return the name at the end of a resource's URL."""
    return url.rpartition("/")[2]
