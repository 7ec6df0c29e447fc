"""The kinds of resources that we use: where they live, and how the client library calls them."""

from __future__ import annotations

from dataclasses import dataclass

ZONE, REGION, GLOBAL = "zone", "region", "global"


@dataclass(frozen=True, slots=True)
class Kind:
    """`name`: the collection in the API. `scope`: zone, region or global. `client`, `singular`: names in
    google.cloud.compute_v1, such as InstancesClient and InsertInstanceRequest. `folder`: the collection in a URL, where
    that is another."""

    name: str
    scope: str
    singular: str
    folder: str = ""

    @property
    def client(self) -> str:
        return f"{self.name[0].upper()}{self.name[1:]}Client"

    @property
    def in_url(self) -> str:
        return self.folder or self.name


KINDS = {
    kind.name: kind
    for kind in (
        Kind("instances", ZONE, "Instance"),
        Kind("disks", ZONE, "Disk"),
        Kind("addresses", REGION, "Address"),
        Kind("firewalls", GLOBAL, "Firewall"),
        Kind("healthChecks", GLOBAL, "HealthCheck"),
        Kind("instanceGroups", ZONE, "InstanceGroup"),
        Kind("backendServices", GLOBAL, "BackendService"),
        Kind("targetTcpProxies", GLOBAL, "TargetTcpProxy"),
        Kind("globalAddresses", GLOBAL, "GlobalAddress", "addresses"),
        Kind("globalForwardingRules", GLOBAL, "GlobalForwardingRule", "forwardingRules"),
    )
}

OPERATIONS = {
    ZONE: ("ZoneOperationsClient", "ZoneOperation"),
    REGION: ("RegionOperationsClient", "RegionOperation"),
    GLOBAL: ("GlobalOperationsClient", "GlobalOperation"),
}
