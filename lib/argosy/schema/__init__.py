"""The keys in etcd that say what is where, and what their values mean. Pure.

    /services/NAME/scheme            http | https | http-and-https | tcp; without it the service is not routed
    /services/NAME/hosts/ID          ip:port or [v6]:port of one instance, usually leased
    /services/NAME/host_port         also listen on this port, in the scheme's mode
    /services/NAME/private           present: not routed by name, only by host_port
    /services/NAME/sni               TLS server names on the shared port, for tcp
    /services/NAME/weight/ID         0..256, else 100
    /services/NAME/generation/GEN    0..256: the weight of this generation's instances, whatever their labels say
    /services/NAME/drain/ID          present: no new connections
    /services/NAME/generation/GEN    0..256: the weight of that generation's instances; else what their labels say
    /services/NAME/check             tcp (else) | none | http /path | http /path 200,204
    /config/services/ssl_support     true: end TLS on the https port
    /config/services/default         NAME: where http requests go that name no service
    /machines/NAME                   {"address", "role", "release", "state", "metadata"}
    /routers/NAME                    the revision that NAME's router has applied, leased
    /routers/NAME/problems           [{"service", "key", "reason"}]: what only that machine knows, leased

A bad value costs only what it says: a bad endpoint its instance, a bad host_port that port. Each is a `Problem`.
"""

from __future__ import annotations

from argosy.schema.catalog import Catalog, Directory, parse_directory
from argosy.schema.keys import (
    CONFIG,
    DEFAULT_SERVICE,
    FOLLOWED,
    MACHINES,
    ROUTERS,
    SERVICES,
    SSL_SUPPORT,
    drain_key,
    generation_key,
    instance_key,
    machine_key,
    router_key,
    router_problems_key,
    service_key,
    service_of,
    weight_key,
)
from argosy.schema.machines import MachineRecord, parse_machine
from argosy.schema.services import Instance, KeyValue, Problem, Service, parse_service
from argosy.schema.values import (
    Check,
    Scheme,
    parse_address,
    parse_check,
    parse_endpoint,
    parse_generation,
    parse_id,
    parse_port,
    parse_scheme,
    parse_sni,
    parse_weight,
    shown,
    valid_name,
)

__all__ = [
    "CONFIG",
    "DEFAULT_SERVICE",
    "FOLLOWED",
    "MACHINES",
    "ROUTERS",
    "SERVICES",
    "SSL_SUPPORT",
    "Catalog",
    "Check",
    "Directory",
    "Instance",
    "KeyValue",
    "MachineRecord",
    "Problem",
    "Scheme",
    "Service",
    "drain_key",
    "generation_key",
    "instance_key",
    "machine_key",
    "parse_address",
    "parse_check",
    "parse_directory",
    "parse_endpoint",
    "parse_generation",
    "parse_id",
    "parse_machine",
    "parse_port",
    "parse_scheme",
    "parse_service",
    "parse_sni",
    "parse_weight",
    "router_key",
    "router_problems_key",
    "service_key",
    "service_of",
    "shown",
    "valid_name",
    "weight_key",
]
