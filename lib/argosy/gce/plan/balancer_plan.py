"""Pure. What the load balancer before the cluster's routers is made of, and what differs.

A global external proxy balancer for TCP: it begins each connection with the PROXY protocol, so routers know the
clients' addresses, and nothing has to be set up on the machines. It asks every router's health path: a machine that
drains fails that check, and gets no new connections.
https://cloud.google.com/load-balancing/docs/tcp
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from argosy.config.loading import Settings
from argosy.gce.plan.actions import Action, Project, Verb, agrees, create, destroy
from argosy.gce.plan.names import LABELLED_LATER, Document, in_zone, is_ours, mark, refuse_foreign, shared_name, type_of
from argosy.gce.plan.server_plan import plan_labels
from argosy.routing.plan import HEALTH_PATH

KINDS = (
    "firewalls",
    "healthChecks",
    "instanceGroups",
    "backendServices",
    "targetTcpProxies",
    "globalAddresses",
    "globalForwardingRules",
)
"""In the order in which they are made; they go in the opposite one."""
PROBES = ["35.191.0.0/16", "130.211.0.0/22"]
"""Where the balancer's probes and connections come from: https://cloud.google.com/load-balancing/docs/health-checks."""
SCHEME = "EXTERNAL_MANAGED"
IDLE_SECONDS = 3600
CHANGED_BY = {"instanceGroups": "setNamedPorts"}
"""Where it is not `patch`."""
CHANGEABLE = {
    "firewalls": ("allowed", "sourceRanges", "targetTags"),
    "healthChecks": ("checkIntervalSec", "timeoutSec", "healthyThreshold", "unhealthyThreshold", "httpHealthCheck"),
    "backendServices": ("connectionDraining", "timeoutSec", "portName", "backends"),
    "instanceGroups": ("namedPorts",),
}
FINGERPRINTED = ("backendServices", "instanceGroups")


def frontends(settings: Settings) -> dict[str, tuple[int, int]]:
    """Return name -> (the port that clients use, the routers' port)."""
    ports = settings.discovery.ports
    found = {"http": (80, ports.http_proxy)}
    return found | ({"https": (443, ports.https_proxy)} if settings.discovery.ssl_support else {})


def wanted(settings: Settings) -> list[tuple[str, dict[str, Any]]]:
    """Return (kind, body) of all that the balancer is made of, in the order in which it can be made."""
    base = {"description": mark(settings)}
    fronts = frontends(settings)
    name = shared_name(settings)
    return [
        ("firewalls", {"name": f"{name}-balancer", **base, **_firewall(settings)}),
        ("healthChecks", {"name": f"{name}-router", **base, **_health_check(settings)}),
        ("instanceGroups", {"name": name, **base, **_group(settings)}),
        *(
            ("backendServices", {"name": f"{name}-{front}", **base, **_backend_service(settings, front)})
            for front in fronts
        ),
        *(("targetTcpProxies", {"name": f"{name}-{front}", **base, **_proxy(f"{name}-{front}")}) for front in fronts),
        ("globalAddresses", {"name": name, **base, "addressType": "EXTERNAL", "ipVersion": "IPV4"}),
        *(("globalForwardingRules", {"name": f"{name}-{front}", **base, **_rule(settings, front)}) for front in fronts),
    ]


def plan_balancer(settings: Settings, project: Project) -> list[Action]:
    """Return what makes the balancer, or brings it in step with the configuration and the core machines."""
    actions: list[Action] = []
    for kind, body in wanted(settings):
        found = project.get(kind, body["name"])
        refuse_foreign(settings, kind, found)
        actions += [create(kind, body)] if found is None else _changes(settings, kind, body, found)
        if kind == "instanceGroups":
            actions += plan_members(settings, project)
    keep = {(kind, body["name"]) for kind, body in wanted(settings)}
    return [*actions, *(action for action in plan_removal(settings, project) if (action.kind, action.name) not in keep)]


def plan_members(settings: Settings, project: Project, leaving: Sequence[str] = ()) -> list[Action]:
    """Return what makes the group's members the cluster's machines, less those that are leaving."""
    group = shared_name(settings)
    held = set(project.members.get(group, ()))
    machines = {name for name, entry in project.all("instances").items() if is_member(settings, entry)} - set(leaving)
    found: list[Action] = []
    for names, method, action in (
        (machines - held, "addInstances", "add"),
        (held - machines, "removeInstances", "remove"),
    ):
        if names:
            body = {"instances": [{"instance": in_zone(settings, f"instances/{name}")} for name in sorted(names)]}
            why = f"{action} {', '.join(sorted(names))}"
            found.append(Action(Verb.CHANGE, "instanceGroups", group, why, method, body))
    return found


def is_member(settings: Settings, instance: Document) -> bool:
    """Return whether the instance is a machine of the cluster that takes requests."""
    type_ = settings.gce.types.get(type_of(instance))
    return is_ours(settings, instance) and type_ is not None and type_.cluster and instance.get("status") != "STOPPING"


def plan_removal(settings: Settings, project: Project) -> list[Action]:
    """Return what takes the balancer away, whole or half-made."""
    return [
        destroy(kind, name)
        for kind in reversed(KINDS)
        for name, found in sorted(project.all(kind).items())
        if is_ours(settings, found)
    ]


def exists(settings: Settings, project: Project) -> bool:
    """Return whether there is anything of a balancer."""
    return any(is_ours(settings, found) for kind in KINDS for found in project.all(kind).values())


def _changes(settings: Settings, kind: str, body: dict[str, Any], found: Document) -> Iterator[Action]:
    name = str(body["name"])
    if kind in LABELLED_LATER:
        yield from plan_labels(settings, kind, found, "", "")
    parts = CHANGEABLE.get(kind, ())
    changed = [part for part in parts if not agrees(body[part], found.get(part))]
    if changed:
        patch = {part: body[part] for part in changed}
        if kind in FINGERPRINTED:
            patch["fingerprint"] = found.get("fingerprint", "")
        yield Action(Verb.CHANGE, kind, name, ", ".join(changed), CHANGED_BY.get(kind, "patch"), patch)
    fixed = [part for part in body if part not in (*parts, "name", "description", "IPAddress", "labels")]
    differing = [part for part in fixed if not agrees(body[part], found.get(part))]
    if differing:
        yield Action(Verb.DIFFERS, kind, name, f"{', '.join(differing)}: inv gce.balancer --remove, then again")


def _firewall(settings: Settings) -> dict[str, Any]:
    ports = sorted({settings.discovery.ports.http, *(inside for _outside, inside in frontends(settings).values())})
    return {
        "network": f"global/networks/{settings.gce.network}",
        "direction": "INGRESS",
        "sourceRanges": PROBES,
        "targetTags": [shared_name(settings)],
        "allowed": [{"IPProtocol": "tcp", "ports": [str(port) for port in ports]}],
    }


def _health_check(settings: Settings) -> dict[str, Any]:
    check = settings.gce.balancer
    return {
        "type": "HTTP",
        "checkIntervalSec": check.check_seconds,
        "timeoutSec": check.check_seconds,
        "healthyThreshold": check.healthy_after,
        "unhealthyThreshold": check.unhealthy_after,
        "httpHealthCheck": {"port": settings.discovery.ports.http, "requestPath": HEALTH_PATH},
    }


def _group(settings: Settings) -> dict[str, Any]:
    return {"namedPorts": [{"name": name, "port": inside} for name, (_outside, inside) in frontends(settings).items()]}


def _backend_service(settings: Settings, frontend: str) -> dict[str, Any]:
    name = shared_name(settings)
    return {
        "protocol": "TCP",
        "loadBalancingScheme": SCHEME,
        "portName": frontend,
        "healthChecks": [f"global/healthChecks/{name}-router"],
        "backends": [{"group": in_zone(settings, f"instanceGroups/{name}"), "balancingMode": "UTILIZATION"}],
        "connectionDraining": {"drainingTimeoutSec": settings.gce.balancer.drain_seconds},
        "timeoutSec": IDLE_SECONDS,
    }


def _proxy(name: str) -> dict[str, Any]:
    return {"service": f"global/backendServices/{name}", "proxyHeader": "PROXY_V1"}


def _rule(settings: Settings, frontend: str) -> dict[str, Any]:
    name, (outside, _inside) = shared_name(settings), frontends(settings)[frontend]
    return {
        "IPAddress": f"global/addresses/{name}",
        "IPProtocol": "TCP",
        "portRange": f"{outside}-{outside}",
        "loadBalancingScheme": SCHEME,
        "target": f"global/targetTcpProxies/{name}-{frontend}",
    }
