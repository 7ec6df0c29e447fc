"""What the API refuses though its document allows it: what is missing, out of range, or names what isn't there.

Sources: the fields' descriptions in the document, and https://cloud.google.com/compute/docs/reference/rest/v1
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compute_api.state import PREFIX, Refusal, State

NEEDED = {
    "addresses": ("name",),
    "backendServices": ("name", "healthChecks", "loadBalancingScheme"),
    "disks": ("name",),
    "firewalls": ("name",),
    "forwardingRules": ("name", "target"),
    "healthChecks": ("name", "type"),
    "instanceGroups": ("name",),
    "instances": ("name", "machineType", "disks", "networkInterfaces"),
    "targetTcpProxies": ("name", "service"),
}
RANGES = {
    "backendServices": {"timeoutSec": (1, 2**31 - 1), "connectionDraining.drainingTimeoutSec": (0, 3600)},
    "disks": {"sizeGb": (1, 65536)},
    "healthChecks": {
        "checkIntervalSec": (1, 300),
        "timeoutSec": (1, 300),
        "healthyThreshold": (1, 10),
        "unhealthyThreshold": (1, 10),
        "httpHealthCheck.port": (1, 65535),
        "tcpHealthCheck.port": (1, 65535),
    },
    "instanceGroups": {"namedPorts.port": (1, 65535)},
    "instances": {"disks.initializeParams.diskSizeGb": (1, 65536)},
}
LINKS = {
    "backendServices": ("healthChecks", "backends.group"),
    "forwardingRules": ("target", "IPAddress"),
    "instances": ("disks.source",),
    "targetTcpProxies": ("service",),
}
"""Paths of fields that name other resources."""
CHECK_SECONDS = 5


def check(state: State, folder: str, resource: Mapping[str, Any]) -> None:
    """Raise Refusal for a resource, as it would be, that the API doesn't take. Its links are full URLs."""
    for name in NEEDED.get(folder, ()):
        if not resource.get(name):
            raise _invalid(name, resource.get(name, ""), "It is required.")
    for path, (least, most) in RANGES.get(folder, {}).items():
        for value in _values(resource, path.split(".")):
            if not least <= int(value) <= most:
                raise _invalid(path, value, f"Must be between {least} and {most}.")
    for path in LINKS.get(folder, ()):
        for link in map(state.full, filter(_is_link, _values(resource, path.split(".")))):
            _refuse_missing(state, link)
    if folder == "healthChecks":
        timeout, interval = (resource.get(key, CHECK_SECONDS) for key in ("timeoutSec", "checkIntervalSec"))
        if timeout > interval:
            raise _invalid("timeoutSec", timeout, f"Must be less than or equal to checkIntervalSec {interval}.")
    for disk in resource.get("disks", ()) if folder == "instances" else ():
        if not disk.get("source") and not disk.get("initializeParams", {}).get("sourceImage"):
            raise _invalid("disks[0]", "", "Either source or initializeParams.sourceImage is required.")


def _values(found: Any, path: Sequence[str]) -> Iterator[Any]:
    """Yield what stands at a path, of each item of lists on the way."""
    if isinstance(found, list):
        for item in found:
            yield from _values(item, path)
    elif not path:
        yield found
    elif isinstance(found, dict) and path[0] in found:
        yield from _values(found[path[0]], path[1:])


def _is_link(value: Any) -> bool:
    return isinstance(value, str) and "/" in value


def _refuse_missing(state: State, link: str) -> None:
    """Raise Refusal for a link to what isn't there."""
    scope, collection, name = link.removeprefix(f"{PREFIX}/projects/").partition("/")[2].rsplit("/", 2)
    state.find(scope, collection, name)


def _invalid(path: str, value: Any, why: str) -> Refusal:
    return Refusal(400, "invalid", f"Invalid value for field 'resource.{path}': '{value}'. {why}")
