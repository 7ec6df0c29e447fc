"""Instance groups and what is balanced over them."""

from __future__ import annotations

from typing import Any

from compute_api.basis import Basis
from compute_api.discovery import Call
from compute_api.places import scope_of
from compute_api.rules import check
from compute_api.state import Refusal


class BalancingHandlers(Basis):
    """What the API does with groups and backend services."""

    def _instanceGroups_addInstances(self, call: Call) -> dict[str, Any]:
        group, links = self._any_get(call), [one["instance"] for one in call.body["instances"]]
        held = self.state.members.setdefault(group["name"], [])
        for link in map(self.state.full, links):
            if link in held:
                raise Refusal(400, "memberAlreadyExists", f"'{link}' is already a member of '{group['selfLink']}'.")
            self.state.find(scope_of(call), "instances", link.rpartition("/")[2])
            held.append(link)
        return self._begun(call, group)

    def _instanceGroups_removeInstances(self, call: Call) -> dict[str, Any]:
        group, links = self._any_get(call), [self.state.full(one["instance"]) for one in call.body["instances"]]
        held = self.state.members.setdefault(group["name"], [])
        for link in links:
            if link not in held:
                raise Refusal(400, "memberNotFound", f"'{link}' is not a member of '{group['selfLink']}'.")
            held.remove(link)
        return self._begun(call, group)

    def _instanceGroups_listInstances(self, call: Call) -> dict[str, Any]:
        held = self.state.members.get(self._any_get(call)["name"], [])
        return {
            "kind": "compute#instanceGroupsListInstances",
            "items": [{"instance": name, "status": "RUNNING"} for name in held],
        }

    def _instanceGroups_setNamedPorts(self, call: Call) -> dict[str, Any]:
        group, ports = self._any_get(call), call.body.get("namedPorts", [])
        check(self.state, "instanceGroups", {**group, "namedPorts": ports})
        if call.body.get("fingerprint") != group["fingerprint"]:
            raise Refusal(412, "conditionNotMet", "Invalid fingerprint.")
        group["namedPorts"] = ports
        self.state.refinger(group)
        return self._begun(call, group)

    def _backendServices_getHealth(self, call: Call) -> dict[str, Any]:
        service, link = self._any_get(call), self.state.full(call.body.get("group", ""))
        if link not in [self.state.full(one["group"]) for one in service.get("backends", [])]:
            raise Refusal(
                400, "invalid", f"Invalid value for field 'group': '{link}'. It is no backend of the service."
            )
        group = link.rpartition("/")[2]
        states = [
            {
                "instance": link,
                "healthState": "UNHEALTHY" if link.rpartition("/")[2] in self.state.unhealthy else "HEALTHY",
            }
            for link in self.state.members.get(group, [])
        ]
        return {"kind": "compute#backendServiceGroupHealth", "healthStatus": states}
