"""Instances and their disks."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from compute_api.basis import Basis
from compute_api.discovery import Call
from compute_api.places import scope_of
from compute_api.rules import check
from compute_api.state import Refusal, fingerprint


def host_key(identity: str) -> str:
    """Return a well-formed public key (base64) that is always the same for the same instance."""
    name = b"ssh-ed25519"
    raw = len(name).to_bytes(4, "big") + name + (32).to_bytes(4, "big") + hashlib.sha256(identity.encode()).digest()
    return base64.b64encode(raw).decode()


class InstanceHandlers(Basis):
    """What the API does with instances."""

    def _instances_insert(self, call: Call) -> dict[str, Any]:
        instance = self._absolute(call.body)
        check(self.state, "instances", instance)
        name = instance["name"]
        self._refuse_taken(call, name)
        interface = instance["networkInterfaces"][0]
        self._take_addresses(interface)
        scope = scope_of(call)
        disks = [self._attached(call, instance, dict(disk), number) for number, disk in enumerate(instance["disks"])]
        self.state.stamp(instance, scope, "instances", "instance")
        instance |= {"status": "PROVISIONING", "disks": disks, "cpuPlatform": "Intel Broadwell"}
        interface |= {"name": "nic0", "fingerprint": fingerprint(name)}
        self.state.folder(scope, "instances")[name] = instance
        for disk in disks:
            self.state.folder(scope, "disks")[disk["source"].rpartition("/")[2]].setdefault("users", []).append(
                instance["selfLink"]
            )
        for address in self.state.all("addresses").values():
            if address["address"] == interface["networkIP"]:
                address |= {"status": "IN_USE", "users": [instance["selfLink"]]}
        return self._begun(call, instance, done=lambda: self._boot(instance), undo=lambda: self._erase(call, instance))

    def _instances_delete(self, call: Call) -> dict[str, Any]:
        instance = self._any_get(call)
        self._settle(instance["selfLink"])
        instance["status"] = "STOPPING"
        return self._begun(call, instance, done=lambda: self._erase(call, instance))

    def _instances_start(self, call: Call) -> dict[str, Any]:
        instance = self._any_get(call)
        return self._begun(call, instance, done=lambda: self._boot(instance))

    def _instances_setTags(self, call: Call) -> dict[str, Any]:
        return self._part(call, "tags")

    def _instances_setMetadata(self, call: Call) -> dict[str, Any]:
        return self._part(call, "metadata")

    def _part(self, call: Call, part: str) -> dict[str, Any]:
        instance = self._any_get(call)
        if call.body.get("fingerprint") != instance[part]["fingerprint"]:
            raise Refusal(412, "conditionNotMet", "Supplied fingerprint does not match current one.")
        instance[part] = dict(call.body)
        self.state.refinger(instance)
        return self._begun(call, instance)

    def _instances_getGuestAttributes(self, call: Call) -> dict[str, Any]:
        instance = self._any_get(call)
        path = call.query.get("queryPath", "")
        namespace = path.rstrip("/")
        items = [
            {"namespace": namespace, "key": key, "value": value}
            for key, value in self.state.keys.get(instance["name"], {}).items()
        ]
        if not items or namespace != "hostkeys":
            raise Refusal(404, "notFound", f"The resource '{path}' of type 'Guest Attribute' was not found.")
        return {"kind": "compute#guestAttributes", "queryPath": path, "queryValue": {"items": items}}

    def _instances_getSerialPortOutput(self, call: Call) -> dict[str, Any]:
        text = self.state.consoles.get(self._any_get(call)["name"], "")
        return {"kind": "compute#serialPortOutput", "contents": text, "start": "0", "next": str(len(text))}

    def _disks_resize(self, call: Call) -> dict[str, Any]:
        disk = self._any_get(call)
        if int(call.body["sizeGb"]) < int(disk["sizeGb"]):
            raise Refusal(400, "invalid", "Requested disk size cannot be smaller than current size.")
        disk["sizeGb"] = str(call.body["sizeGb"])
        return self._begun(call, disk)

    def _take_addresses(self, interface: dict[str, Any]) -> None:
        wanted = interface.setdefault("networkIP", "") or self.state.internal_address()
        for other in self.state.all("instances").values():
            if other["networkInterfaces"][0]["networkIP"] == wanted:
                raise Refusal(400, "invalid", f"IP '{wanted}' is already being used by another resource.")
        interface["networkIP"] = wanted
        for config in interface.get("accessConfigs", []):
            config.setdefault("natIP", self.state.external_address())

    def _attached(self, call: Call, instance: dict[str, Any], disk: dict[str, Any], number: int) -> dict[str, Any]:
        scope, wanted = scope_of(call), disk.pop("initializeParams", None)
        if wanted is None:
            name = disk["source"].rpartition("/")[2]
            if self.state.find(scope, "disks", name).get("users"):
                raise Refusal(400, "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", f"The disk '{name}' is in use")
        else:
            name = wanted.get("diskName", instance["name"])
            self._check_image(wanted["sourceImage"])
            made = {
                "name": name,
                "sizeGb": str(wanted.get("diskSizeGb", 10)),
                "labels": wanted.get("labels", {}),
                "status": "READY",
            }
            made["type"] = self.state.full(wanted.get("diskType", f"{scope}/diskTypes/pd-standard"))
            self.state.folder(scope, "disks")[name] = self.state.stamp(made, scope, "disks", "disk")
        return disk | {"index": number, "source": self.state.url(scope, "disks", name), "kind": "compute#attachedDisk"}

    def _check_image(self, url: str) -> None:
        words = url.split("/")
        project, name = words[-5] if "family" in words else words[-4], words[-1]
        known = [
            names
            for (owner, family), names in self.state.images.items()
            if owner == project and name in (family, *names)
        ]
        if not known:
            raise Refusal(404, "notFound", f"The resource '{url}' was not found")

    def _boot(self, instance: dict[str, Any]) -> None:
        instance["status"] = "RUNNING"
        key = host_key(instance["id"])
        self.state.keys.setdefault(instance["name"], {"ssh-ed25519": key})
        self.state.consoles.setdefault(instance["name"], f"booted\nssh-ed25519 {key} root@{instance['name']}\n")

    def _erase(self, call: Call, instance: dict[str, Any]) -> None:
        """Remove an instance with those of its disks that go with it."""
        scope, link = scope_of(call), instance["selfLink"]
        self.state.folder(scope, "instances").pop(instance["name"], None)
        self.state.keys.pop(instance["name"], None)
        self.state.consoles.pop(instance["name"], None)
        for disk in instance["disks"]:
            held = self.state.folder(scope, "disks")
            name = disk["source"].rpartition("/")[2]
            if disk.get("autoDelete"):
                held.pop(name, None)
            elif name in held:
                held[name]["users"] = [user for user in held[name].get("users", []) if user != link]
        for address in self.state.all("addresses").values():
            if link in address.get("users", []):
                address |= {"status": "RESERVED", "users": []}
        for members in self.state.members.values():
            if link in members:
                members.remove(link)
