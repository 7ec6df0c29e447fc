"""Reading and changing resources. Every change has a request id, is retried under it, and is waited for."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from argosy.clock import wait_until
from argosy.config.loading import Settings
from argosy.errors import ConfigError, DeadlineExceeded
from argosy.gce.compute.asking import Asking, Document, as_document, own_parameter, request_of, snake
from argosy.gce.compute.failures import from_operation, reason_of, told
from argosy.gce.compute.kinds import KINDS, OPERATIONS, Kind
from argosy.gce.compute.rights import credentials_of
from argosy.gce.plan.names import last

ALREADY_THERE = ("alreadyExists", "RESOURCE_ALREADY_EXISTS")
GONE = ("notFound", "RESOURCE_NOT_FOUND")


class Compute(Asking):
    """The Compute API of the project of `settings`. May be used by several threads."""

    @classmethod
    @contextmanager
    def opened(cls, settings: Settings) -> Iterator[Compute]:
        """Yield a client. Raises ConfigError when project or zone are not set or the library is not installed."""
        for key in ("project", "zone"):
            if not getattr(settings.gce, key):
                raise ConfigError("it has to be set to reach Google Compute Engine: see inv gce.auth", f"gce.{key}")
        compute = cls(settings, credentials_of(settings))
        try:
            yield compute
        finally:
            compute.close()

    # Reading

    def all(self, kind: str) -> dict[str, Document]:
        """Return all resources of `kind` in their zone, region or project, by name."""
        known = KINDS[kind]
        found = self._read(
            f"list {kind}", lambda: list(self._ask(known.client, "list", f"List{known.client[:-6]}Request"))
        )
        return {item.name: as_document(item) for item in found}

    def project(self) -> Document | None:
        """Return the project; nothing when there is none, or none that we may see."""
        return self._get("look at the project", partial(self._ask, "ProjectsClient", "get", "GetProjectRequest"))

    def zone(self) -> Document | None:
        return self._get("look at the zone", partial(self._ask, "ZonesClient", "get", "GetZoneRequest"))

    def newest_image(self, project: str, family: str) -> Document | None:
        """Return the newest image of the family that is not deprecated."""
        request, values = "GetFromFamilyImageRequest", {"project": project, "family": family}
        ask = partial(self._ask, "ImagesClient", "get_from_family", request, values)
        return self._get(f"look for an image of {family}", ask)

    def image(self, project: str, name: str) -> Document | None:
        ask = partial(self._ask, "ImagesClient", "get", "GetImageRequest", {"project": project, "image": name})
        return self._get(f"look at image {name}", ask)

    def guest_attributes(self, instance: str, path: str) -> list[Document]:
        """Return [{"namespace", "key", "value"}] that the instance has published; empty when it has not yet."""
        ask = partial(self._action, "instances", instance, "getGuestAttributes", query_path=path)
        found = self._get(f"ask {instance} for {path}", ask)
        return list((found or {}).get("queryValue", {}).get("items", ()))

    def serial_console(self, instance: str) -> str:
        """Return what the API has kept of the instance's first serial console."""
        ask = partial(self._action, "instances", instance, "getSerialPortOutput", port=1)
        found = self._get(f"read the console of {instance}", ask)
        return str((found or {}).get("contents", ""))

    def members(self, group: str) -> list[str]:
        """Return the URLs of the instances in the group; none when there is no group."""
        body = {"instanceState": "ALL"}
        return self._read(
            f"list the members of {group}",
            lambda: [item.instance for item in self._action("instanceGroups", group, "listInstances", body)],
            absent=[],
        )

    def health(self, backend_service: str, group_url: str) -> dict[str, str]:
        """Return instance URL -> HEALTHY or UNHEALTHY, as the balancer's probes see it."""
        answer = self._read(
            f"ask for the health behind {backend_service}",
            lambda: self._action("backendServices", backend_service, "getHealth", {"group": group_url}),
            absent=None,
        )
        return {item.instance: item.health_state for item in answer.health_status} if answer else {}

    def pending(self) -> list[Document]:
        """Return the operations that have not ended yet."""
        found: list[Document] = []
        for scope, (client, singular) in OPERATIONS.items():
            ask = partial(self._ask, client, "list", f"List{singular}sRequest", {"filter": 'status != "DONE"'})
            answers = self._read(f"list the {scope}'s operations", lambda ask=ask: list(ask()))  # type: ignore[misc]
            found += [{**as_document(item), "scope": scope} for item in answers if item.status.name != "DONE"]
        return found

    # Changing

    def insert(self, kind: str, body: Mapping[str, Any]) -> bool:
        """Create a resource and wait for it. Returns False when one of its name was there (whose is for the caller)."""
        known, name = KINDS[kind], str(body["name"])
        return self._change(
            known, f"create {name}", "insert", f"Insert{known.singular}Request", body, {}, ALREADY_THERE
        )

    def delete(self, kind: str, name: str) -> bool:
        """Delete a resource and wait until it is gone. Returns False when there was none."""
        known = KINDS[kind]
        request, values = f"Delete{known.singular}Request", {own_parameter(known): name}
        return self._change(known, f"delete {name}", "delete", request, None, values, GONE)

    def act(self, kind: str, name: str, method: str, body: Mapping[str, Any] | None = None) -> bool:
        """Call another method of the API that changes the resource, such as setLabels, and wait for it."""
        known = KINDS[kind]
        values = {"resource" if method == "setLabels" and kind != "instances" else own_parameter(known): name}
        request = request_of(method, known.singular)
        return self._change(known, f"{method} of {name}", snake(method), request, body, values, ())

    def wait(self, operation: Document) -> None:
        """Wait for an operation of `pending`, whoever began it; how it ended is for others to look at."""
        what = f"{operation.get('operationType', 'operation')} of {last(str(operation.get('targetLink', '')))}"
        self._ended(what, str(operation["scope"]), str(operation["name"]))

    def _change(
        self,
        kind: Kind,
        what: str,
        method: str,
        request: str,
        body: Mapping[str, Any] | None,
        values: Mapping[str, Any],
        fine: Sequence[str],
    ) -> bool:
        from google.api_core.exceptions import GoogleAPICallError

        identity = str(uuid.uuid4())
        with told(what):
            try:
                started = self._retrying(
                    lambda: self._ask(kind.client, f"{method}_unary", request, values, body=body, request_id=identity)
                )
            except GoogleAPICallError as error:
                if reason_of(error) in fine:
                    return False
                raise
        ended = self._ended(what, kind.scope, started.name)
        if not ended.error.errors:
            return True
        if ended.error.errors[0].code in fine:
            return False
        raise from_operation(what, ended)

    def _ended(self, what: str, scope: str, name: str) -> Any:
        """Return the operation when it is done. Raises DeadlineExceeded; the operation continues."""
        client, singular = OPERATIONS[scope]

        def ask() -> Any:
            return self._read(what, lambda: self._ask(client, "wait", f"Wait{singular}Request", {"operation": name}))

        # The API itself waits for up to two minutes.
        seconds = self.settings.deadline_seconds
        operation = wait_until(ask, seconds, done=lambda seen: seen.status.name == "DONE", every=0)
        if operation.status.name != "DONE":
            raise DeadlineExceeded(
                f"{what} has not ended within {seconds:g} s (operation {name}); it continues: run the same command to "
                "wait for it"
            )
        return operation
