"""What each method does to the state. Changes begin an operation, which is done when somebody waits for it."""

from __future__ import annotations

from typing import Any

from compute_api.balancing_handlers import BalancingHandlers
from compute_api.discovery import Call
from compute_api.instance_handlers import InstanceHandlers
from compute_api.places import folder_of, scope_of
from compute_api.rules import check
from compute_api.state import Refusal


class Handlers(InstanceHandlers, BalancingHandlers):
    """All methods that the pretended API knows."""

    def handle(self, call: Call) -> dict[str, Any]:
        """Do what is asked and return the answer's document. Raises Refusal."""
        self._check_place(call)
        identity = call.query.get("requestId", "")
        if identity and identity in self.state.memory:
            return self.state.memory[identity]
        resource, verb = call.method.id.split(".")
        special = getattr(self, f"_{resource}_{verb}", None) or getattr(self, f"_any_{verb}", None)
        if special is None:
            raise Refusal(501, "notImplemented", f"the pretended API does not know {call.method.id}")
        answer: dict[str, Any] = special(call)
        if identity:
            self.state.memory[identity] = answer
        return answer

    def _any_list(self, call: Call) -> dict[str, Any]:
        found = list(self.state.folder(scope_of(call), folder_of(call)).values())
        if "status" in call.query.get("filter", ""):
            found = [item for item in found if item["status"] != "DONE"]
        size, start = (
            min(int(call.query.get("maxResults", 500)), self.state.page_size),
            int(call.query.get("pageToken") or 0),
        )
        page: dict[str, Any] = {"kind": "compute#list", "items": found[start : start + size]}
        return page | ({"nextPageToken": str(start + size)} if start + size < len(found) else {})

    def _any_aggregatedList(self, call: Call) -> dict[str, Any]:
        folder = folder_of(call)
        scopes = {scope: list(held.values()) for (scope, name), held in self.state.resources.items() if name == folder}
        return {"kind": "compute#aggregatedList", "items": {scope: {folder: items} for scope, items in scopes.items()}}

    def _any_insert(self, call: Call) -> dict[str, Any]:
        resource = self._absolute(call.body)
        check(self.state, folder_of(call), resource)
        self._refuse_taken(call, resource["name"])
        kind = call.method.request[0].lower() + call.method.request[1:]
        if folder_of(call) == "addresses" and not resource.get("address"):
            internal = resource.get("addressType") == "INTERNAL"
            resource["address"] = self.state.internal_address() if internal else self.state.external_address()
            resource["status"] = "RESERVED"
        if kind == "forwardingRule":
            reserved = [
                entry
                for entry in self.state.all("addresses").values()
                if entry["selfLink"] == resource.get("IPAddress")
            ]
            resource["IPAddress"] = reserved[0]["address"] if reserved else self.state.external_address()
        if kind == "disk":
            resource.setdefault("type", "zones/x/diskTypes/pd-standard")
            resource |= {"type": self.state.full(resource["type"]), "sizeGb": str(resource.get("sizeGb", 500))}
            resource["status"] = "READY"
        self.state.stamp(resource, scope_of(call), folder_of(call), kind)
        self.state.folder(scope_of(call), folder_of(call))[resource["name"]] = resource
        return self._begun(call, resource, undo=lambda: self._drop(call, resource["name"]))

    def _any_delete(self, call: Call) -> dict[str, Any]:
        resource = self._any_get(call)
        self._settle(resource["selfLink"])
        self._refuse_used(folder_of(call), resource)
        return self._begun(call, resource, done=lambda: self._drop(call, resource["name"]))

    def _any_patch(self, call: Call) -> dict[str, Any]:
        resource = self._any_get(call)
        given = call.body.get("fingerprint")
        if "fingerprint" in resource and given != resource["fingerprint"]:
            raise Refusal(412, "conditionNotMet", "Invalid fingerprint.")
        changed = resource | self._absolute(call.body)
        check(self.state, folder_of(call), changed)
        resource |= changed
        self.state.refinger(resource)
        return self._begun(call, resource)

    def _any_setLabels(self, call: Call) -> dict[str, Any]:
        resource = self._any_get(call)
        if call.body.get("labelFingerprint") != resource["labelFingerprint"]:
            raise Refusal(412, "conditionNotMet", "Labels fingerprint either invalid or resource labels have changed")
        resource["labels"] = call.body.get("labels", {})
        self.state.refinger(resource)
        return self._begun(call, resource)

    def _projects_get(self, _call: Call) -> dict[str, Any]:
        return {"kind": "compute#project", "id": "7", "name": self.state.project, "selfLink": self.state.url()}

    def _zones_get(self, _call: Call) -> dict[str, Any]:
        where = self.state.zone
        return {
            "kind": "compute#zone",
            "name": where,
            "status": "UP",
            "region": self.state.url("regions", self.state.region),
            "selfLink": self.state.url("zones", where),
        }

    def _images_getFromFamily(self, call: Call) -> dict[str, Any]:
        names = self.state.images.get((call.path["project"], call.path["family"]))
        if not names:
            raise Refusal(
                404,
                "notFound",
                f"The resource '{call.path['family']}' was not found",
            )
        return self._image(call.path["project"], call.path["family"], names[-1])

    def _images_get(self, call: Call) -> dict[str, Any]:
        for (project, family), names in self.state.images.items():
            if project == call.path["project"] and call.path["image"] in names:
                return self._image(project, family, call.path["image"])
        raise Refusal(
            404,
            "notFound",
            f"The resource '{call.path['image']}' was not found",
        )

    def _image(self, project: str, family: str, name: str) -> dict[str, Any]:
        link = f"https://www.googleapis.com/compute/v1/projects/{project}/global/images/{name}"
        return {"kind": "compute#image", "id": "9", "name": name, "family": family, "selfLink": link, "status": "READY"}

    def _zoneOperations_wait(self, call: Call) -> dict[str, Any]:
        operation = self._any_get(call)
        self.finish(operation)
        return operation

    _regionOperations_wait = _globalOperations_wait = _zoneOperations_wait
