"""Where a request's resource is."""

from __future__ import annotations

from compute_api.discovery import Call

FOLDERS = {"globalAddresses": "addresses", "globalForwardingRules": "forwardingRules"}
FOLDERS |= {"zoneOperations": "operations", "regionOperations": "operations", "globalOperations": "operations"}


def scope_of(call: Call) -> str:
    if "zone" in call.path:
        return f"zones/{call.path['zone']}"
    return f"regions/{call.path['region']}" if "region" in call.path else "global"


def folder_of(call: Call) -> str:
    resource = call.method.id.partition(".")[0]
    return FOLDERS.get(resource, resource)


def name_of(call: Call) -> str:
    (name,) = [value for key, value in call.path.items() if key not in ("project", "zone", "region")]
    return name
