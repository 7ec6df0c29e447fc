"""What the pretended project holds: resources by scope and collection, and the operations on them."""

from __future__ import annotations

import base64
import copy
import hashlib
import ipaddress
import itertools
import json
import threading
from dataclasses import dataclass, field
from typing import Any

PREFIX = "https://www.googleapis.com/compute/v1"
STAMP = "2026-01-01T00:00:00.000-07:00"


class Refusal(Exception):
    """An answer other than 200. `reason`: as in the error document, such as notFound."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


def fingerprint(value: Any) -> str:
    return base64.b64encode(hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()[:8]).decode()


@dataclass
class State:
    """`resources`: (scope such as zones/europe-west1-b, collection) -> name -> document. `memory`: requestId -> the
    operation that it began."""

    project: str = "demo-project"
    zone: str = "europe-west1-b"
    subnet: str = "10.132.0.0/20"
    resources: dict[tuple[str, str], dict[str, dict[str, Any]]] = field(default_factory=dict)
    members: dict[str, list[str]] = field(default_factory=dict)
    unhealthy: set[str] = field(default_factory=set)
    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    consoles: dict[str, str] = field(default_factory=dict)
    images: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    memory: dict[str, dict[str, Any]] = field(default_factory=dict)
    granted: set[str] | None = None
    page_size: int = 500
    lock: threading.RLock = field(default_factory=threading.RLock)
    _ids: Any = field(default_factory=lambda: itertools.count(4_611_686_018_427_000_001))

    def __post_init__(self) -> None:
        self.images.setdefault(
            ("kinvolk-public", "flatcar-stable"), ["flatcar-stable-4230-2-1", "flatcar-stable-4230-2-3"]
        )
        self.images.setdefault(("cos-cloud", "cos-stable"), ["cos-stable-121-18867-90-4"])

    @property
    def region(self) -> str:
        return self.zone.rpartition("-")[0]

    def new_id(self) -> str:
        return str(next(self._ids))

    def url(self, *parts: str) -> str:
        return "/".join((PREFIX, "projects", self.project, *parts))

    def folder(self, scope: str, collection: str) -> dict[str, dict[str, Any]]:
        return self.resources.setdefault((scope, collection), {})

    def find(self, scope: str, collection: str, name: str) -> dict[str, Any]:
        found = self.folder(scope, collection).get(name)
        if found is None:
            raise Refusal(
                404, "notFound", f"The resource 'projects/{self.project}/{scope}/{collection}/{name}' was not found"
            )
        return found

    def all(self, collection: str) -> dict[str, dict[str, Any]]:
        """Return the resources of a collection in every scope, by name."""
        found = {}
        for (_scope, name), held in self.resources.items():
            if name == collection:
                found.update(held)
        return found

    def external_address(self) -> str:
        """Return the lowest external address that nobody has."""
        taken = {address.get("address") for address in self.all("addresses").values()}
        for one in self.all("instances").values():
            taken |= {it.get("natIP") for it in one["networkInterfaces"][0].get("accessConfigs", [])}
        return next(f"203.0.113.{number}" for number in range(10, 250) if f"203.0.113.{number}" not in taken)

    def internal_address(self) -> str:
        """Return the lowest address of the subnetwork that nobody has."""
        taken = {address.get("address") for address in self.all("addresses").values()}
        taken |= {one["networkInterfaces"][0]["networkIP"] for one in self.all("instances").values()}
        hosts = ipaddress.IPv4Network(self.subnet).hosts()
        return next(str(host) for number, host in enumerate(hosts) if number and str(host) not in taken)

    def stamp(self, resource: dict[str, Any], scope: str, collection: str, kind: str) -> dict[str, Any]:
        """Give a new resource what the server sets, with full URLs."""
        where, _, name = scope.partition("/")
        resource |= {
            "kind": f"compute#{kind}",
            "id": self.new_id(),
            "creationTimestamp": STAMP,
            "selfLink": self.url(scope, collection, resource["name"]),
        }
        if name:
            resource[where[:-1]] = self.url(where, name)
        self.refinger(resource)
        return resource

    def refinger(self, resource: dict[str, Any]) -> None:
        if resource["kind"] in ("compute#instance", "compute#disk", "compute#address", "compute#forwardingRule"):
            resource["labelFingerprint"] = fingerprint(resource.get("labels", {}))
        if resource["kind"] in ("compute#backendService", "compute#instanceGroup"):
            resource["fingerprint"] = fingerprint({**resource, "fingerprint": ""})
        for part in ("metadata", "tags"):
            if resource["kind"] == "compute#instance":
                held = resource.setdefault(part, {})
                held["fingerprint"] = fingerprint(held.get("items", []))

    def full(self, partial: str) -> str:
        """Return the full URL of a partial one."""
        if partial.startswith("http"):
            return partial
        if partial.startswith("projects/"):
            return f"{PREFIX}/{partial}"
        return self.url(*partial.split("/"))

    def saved(self) -> dict[str, Any]:
        """Return a copy of all that is there, to `restore`."""
        with self.lock:
            return copy.deepcopy({name: getattr(self, name) for name in KEPT})

    def restore(self, saved: dict[str, Any]) -> None:
        with self.lock:
            for name, value in copy.deepcopy(saved).items():
                setattr(self, name, value)

    def snapshot(self) -> dict[str, Any]:
        """Return all that is there in a form that two runs can be compared by: without ids, times and addresses."""
        with self.lock:
            held = {
                f"{scope}/{collection}/{name}": _plain(document)
                for (scope, collection), documents in self.resources.items()
                if collection != "operations"
                for name, document in documents.items()
            }
            members = {group: sorted(names) for group, names in self.members.items()}
            return copy.deepcopy({"resources": dict(sorted(held.items())), "members": members})


KEPT = ("resources", "members", "unhealthy", "keys", "consoles", "memory")
VOLATILE = {"id", "creationTimestamp", "fingerprint", "labelFingerprint", "natIP", "IPAddress"}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in VOLATILE}
    return [_plain(item) for item in value] if isinstance(value, list) else value
