"""What all handlers share: operations, and the rules about names, users and URLs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compute_api.discovery import Call
from compute_api.places import folder_of, name_of, scope_of
from compute_api.state import Refusal, State

LINKS: dict[str, tuple[str, Callable[[dict[str, Any]], list[Any]]]] = {
    "healthChecks": ("backendServices", lambda entry: entry.get("healthChecks", [])),
    "instanceGroups": ("backendServices", lambda entry: [one["group"] for one in entry.get("backends", [])]),
    "backendServices": ("targetTcpProxies", lambda entry: [entry.get("service")]),
    "targetTcpProxies": ("forwardingRules", lambda entry: [entry.get("target")]),
}
URLS = ("network", "subnetwork", "zone", "machineType", "service", "target", "group", "healthChecks")


class Basis:
    """`ending`: what an operation does when it ends, by its name; and what undoes it."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.ending: dict[str, Callable[[], None]] = {}

    def _any_get(self, call: Call) -> dict[str, Any]:
        return self.state.find(scope_of(call), folder_of(call), name_of(call))

    def finish(self, operation: dict[str, Any]) -> None:
        if operation["status"] != "DONE" and not operation.get("description"):
            operation |= {"status": "DONE", "progress": 100}
            self.ending.pop(operation["name"], lambda: None)()

    def fail(self, operation: dict[str, Any], reason: str) -> None:
        """End the operation with an error, undoing what it began."""
        self.ending.pop(operation["name"], None)
        self.ending.pop(f"undo {operation['name']}", lambda: None)()
        errors = [{"code": reason, "message": f"It could not be done: {reason}."}]
        operation |= {"status": "DONE", "error": {"errors": errors}, "httpErrorStatusCode": 403}

    def _begun(
        self,
        call: Call,
        target: dict[str, Any],
        done: Callable[[], None] = lambda: None,
        undo: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        scope = scope_of(call)
        name = f"operation-{self.state.new_id()}"
        operation = {
            "name": name,
            "operationType": call.method.id.partition(".")[2],
            "status": "RUNNING",
            "progress": 0,
            "targetLink": target["selfLink"],
            "targetId": target["id"],
            "insertTime": target["creationTimestamp"],
            "user": "operator@example.com",
        }
        self.state.stamp(operation, scope, "operations", "operation")
        self.state.folder(scope, "operations")[name] = operation
        self.ending[name] = done
        self.ending[f"undo {name}"] = undo
        return operation

    def _settle(self, link: str) -> None:
        """Let what was begun on a resource end before more is done to it, as the API's queue does."""
        for (_scope, folder), held in self.state.resources.items():
            for operation in held.values() if folder == "operations" else ():
                if operation["targetLink"] == link:
                    self.finish(operation)

    def _check_place(self, call: Call) -> None:
        images = call.method.id.startswith("images.")
        if call.path.get("project", self.state.project) != self.state.project and not images:
            raise Refusal(404, "notFound", f"The resource 'projects/{call.path['project']}' was not found")
        for kind, here in (("zone", self.state.zone), ("region", self.state.region)):
            if call.path.get(kind, here) != here:
                raise Refusal(
                    404,
                    "notFound",
                    f"The resource 'projects/{self.state.project}/{kind}s/{call.path[kind]}' was not found",
                )

    def _absolute(self, value: Any, key: str = "") -> Any:
        """Return a copy in which links are full URLs."""
        if isinstance(value, dict):
            return {name: self._absolute(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self._absolute(item, key) for item in value]
        return self.state.full(value) if key in URLS and isinstance(value, str) else value

    def _refuse_taken(self, call: Call, name: str) -> None:
        there = self.state.folder(scope_of(call), folder_of(call)).get(name)
        if there is not None:
            raise Refusal(409, "alreadyExists", f"The resource '{there['selfLink']}' already exists")

    def _refuse_used(self, folder: str, resource: dict[str, Any]) -> None:
        users = list(resource.get("users", []))
        if folder in LINKS:
            other, links = LINKS[folder]
            users += [
                entry["selfLink"] for entry in self.state.all(other).values() if resource["selfLink"] in links(entry)
            ]
        if folder == "addresses":
            rules = self.state.all("forwardingRules").values()
            users += [rule["selfLink"] for rule in rules if rule["IPAddress"] == resource["address"]]
        if users:
            message = f"The resource '{resource['selfLink']}' is already being used by '{users[0]}'"
            raise Refusal(400, "resourceInUseByAnotherResource", message)

    def _drop(self, call: Call, name: str) -> None:
        self.state.folder(scope_of(call), folder_of(call)).pop(name, None)
        if folder_of(call) == "instanceGroups":
            self.state.members.pop(name, None)
