"""The kinds of resources that we use: where they live, and how the client library calls them."""

from __future__ import annotations

from dataclasses import dataclass

ZONE, REGION, GLOBAL = "zone", "region", "global"


@dataclass(frozen=True, slots=True)
class Kind:
    """`name`: the collection in the API. `scope`: zone, region or global. `client`, `singular`: names in
    google.cloud.compute_v1, such as InstancesClient and InsertInstanceRequest."""

    name: str
    scope: str
    singular: str

    @property
    def client(self) -> str:
        return f"{self.name[0].upper()}{self.name[1:]}Client"


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
        Kind("globalAddresses", GLOBAL, "GlobalAddress"),
        Kind("globalForwardingRules", GLOBAL, "GlobalForwardingRule"),
    )
}

OPERATIONS = {
    ZONE: ("ZoneOperationsClient", "ZoneOperation"),
    REGION: ("RegionOperationsClient", "RegionOperation"),
    GLOBAL: ("GlobalOperationsClient", "GlobalOperation"),
}
