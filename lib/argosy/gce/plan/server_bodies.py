"""Pure. The requests that make a server: its address, its disks, itself.

https://cloud.google.com/compute/docs/reference/rest/v1/instances/insert
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from argosy.config.gce import GceImage, GceType
from argosy.config.loading import Settings
from argosy.gce.plan.names import address_name, disk_name, in_region, in_zone, labels, mark, shared_name

AUTH = "https://www.googleapis.com/auth/"
DATA_DEVICE = "data"
"""The data disk is /dev/disk/by-id/google-data on its server."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is wanted. `address`: its reserved internal one, once that is known. `user_data`: its cloud-config;
    None while it isn't known. `metadata`: other items."""

    name: str
    type_name: str
    type: GceType
    address: str = ""
    user_data: str | None = None
    metadata: Mapping[str, str] | None = None


def address_body(settings: Settings, server: Server) -> dict[str, Any]:
    return {
        "name": address_name(server.name),
        "description": mark(settings),
        "addressType": "INTERNAL",
        "purpose": "GCE_ENDPOINT",
        "subnetwork": subnetwork(settings),
    }


def subnetwork(settings: Settings) -> str:
    """Return the subnetwork; those that a network makes by itself are named after it."""
    return in_region(settings, f"subnetworks/{settings.gce.subnetwork or settings.gce.network}")


def data_disk_body(settings: Settings, server: Server) -> dict[str, Any]:
    disk = server.type.data_disk
    assert disk is not None
    return {
        "name": disk_name(server.name),
        "description": mark(settings),
        "labels": labels(settings, server.type_name),
        "sizeGb": str(disk.gigabytes),
        "type": in_zone(settings, f"diskTypes/{disk.type}"),
    }


def instance_body(settings: Settings, server: Server) -> dict[str, Any]:
    return {
        "name": server.name,
        "description": mark(settings),
        "labels": labels(settings, server.type_name),
        "machineType": in_zone(settings, f"machineTypes/{server.type.machine_type}"),
        "tags": {"items": tags(settings, server.type)},
        "disks": _disks(settings, server),
        "networkInterfaces": [_interface(settings, server)],
        "serviceAccounts": [{"email": server.type.service_account, "scopes": scopes(server.type)}],
        "metadata": {"items": [{"key": key, "value": value} for key, value in metadata(server).items()]},
    }


def metadata(server: Server) -> dict[str, str]:
    """Return the items of metadata that are ours."""
    given = {} if server.user_data is None else {"user-data": server.user_data}
    return {"enable-guest-attributes": "TRUE", "block-project-ssh-keys": "TRUE", **given, **(server.metadata or {})}


def tags(settings: Settings, type_: GceType) -> list[str]:
    """Return the network tags: firewall rules mean machines of the cluster by the first."""
    return [*([shared_name(settings)] if type_.cluster else []), *type_.tags]


def scopes(type_: GceType) -> list[str]:
    return [scope if scope.startswith("https://") else f"{AUTH}{scope}" for scope in type_.scopes]


def image_url(image: GceImage) -> str:
    """Return what is asked for at the moment that the server is made: the family's newest, or the one image."""
    return f"projects/{image.project}/global/images/" + (image.name or f"family/{image.family}")


def _disks(settings: Settings, server: Server) -> list[dict[str, Any]]:
    type_ = server.type
    boot = {
        "boot": True,
        "autoDelete": True,
        "initializeParams": {
            "diskName": server.name,
            "sourceImage": image_url(type_.image),
            "diskSizeGb": str(type_.boot_disk.gigabytes),
            "diskType": in_zone(settings, f"diskTypes/{type_.boot_disk.type}"),
            "labels": labels(settings, server.type_name),
        },
    }
    data = {
        "source": in_zone(settings, f"disks/{disk_name(server.name)}"),
        "deviceName": DATA_DEVICE,
        "autoDelete": False,
    }
    return [boot, data] if type_.data_disk else [boot]


def _interface(settings: Settings, server: Server) -> dict[str, Any]:
    external = [{"name": "External NAT", "type": "ONE_TO_ONE_NAT"}] if server.type.external_address else []
    return {
        "network": f"global/networks/{settings.gce.network}",
        "subnetwork": subnetwork(settings),
        **({"networkIP": server.address} if server.address else {}),
        **({"accessConfigs": external} if external else {}),
    }
