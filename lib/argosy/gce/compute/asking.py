"""Sending requests to the API: which one, by whom, how often, and what their answers are."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from argosy.clock import retry
from argosy.config.loading import Settings
from argosy.gce.compute.failures import passes, told
from argosy.gce.compute.kinds import KINDS, REGION, ZONE, Kind
from argosy.gce.compute.rights import Credentials

T = TypeVar("T")
Document = dict[str, Any]

LONGEST_WAIT_SECONDS = 10.0


class Asking:
    """One client of Google's for each service of the API, made when first needed. May be used by several threads."""

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self.settings = settings.gce
        self._credentials = credentials
        self._clients: dict[str, Any] = {}
        self._making = threading.Lock()

    def close(self) -> None:
        with self._making:
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.transport.close()

    def _action(
        self, kind: str, name: str, method: str, body: Mapping[str, Any] | None = None, **values: object
    ) -> Any:
        """Call a method of one resource, such as getHealth, which changes nothing."""
        known = KINDS[kind]
        singular = "InstanceGroups" if method == "listInstances" else known.singular
        request = request_of(method, singular)
        return self._ask(known.client, snake(method), request, {own_parameter(known): name, **values}, body=body)

    def _ask(
        self,
        client: str,
        method: str,
        request: str,
        values: Mapping[str, Any] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        request_id: str = "",
    ) -> Any:
        from google.cloud import compute_v1

        message: Any = getattr(compute_v1, request)
        fields = message.meta.fields
        own = {
            "project": self.settings.project,
            ZONE: self.settings.zone,
            REGION: self.settings.region_of_zone,
            "request_id": request_id,
        }
        filled = {name: value for name, value in own.items() if name in fields and value} | dict(values or {})
        if body is not None:
            (field,) = [name for name in fields if name.endswith("_resource")]
            filled[field] = fields[field].message.from_json(json.dumps(body))
        ask: Callable[..., Any] = getattr(self._client(client), method)
        return ask(request=message(filled), retry=None, timeout=self.settings.request_timeout_seconds)

    def _client(self, name: str) -> Any:
        from google.api_core.client_options import ClientOptions
        from google.cloud import compute_v1

        with self._making:
            if name not in self._clients:
                options = ClientOptions(api_endpoint=self.settings.emulator) if self.settings.emulator else None
                self._clients[name] = getattr(compute_v1, name)(
                    credentials=self._credentials.value, client_options=options
                )
            return self._clients[name]

    def _read(self, what: str, ask: Callable[[], T], absent: Any = ...) -> T:
        """Ask until there is an answer. `absent`: the answer when there is no such thing, where that is none."""
        from google.api_core.exceptions import NotFound

        with told(what):
            try:
                return self._retrying(ask)
            except NotFound:
                if absent is ...:
                    raise
                return absent  # type: ignore[no-any-return]

    def _get(self, what: str, ask: Callable[[], Any]) -> Document | None:
        found = self._read(what, ask, absent=None)
        return None if found is None else as_document(found)

    def _retrying(self, ask: Callable[[], T]) -> T:
        return retry(self.settings.attempts, ask, passes, longest_seconds=LONGEST_WAIT_SECONDS)


def own_parameter(kind: Kind) -> str:
    """Return the parameter that names a resource of `kind`: instance, target_tcp_proxy, address, forwarding_rule."""
    return snake(kind.singular.removeprefix("Global"))


def request_of(method: str, singular: str) -> str:
    return f"{method[0].upper()}{method[1:]}{singular}Request"


def snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")


def as_document(message: Any) -> Document:
    made: Document = json.loads(
        type(message).to_json(
            message,
            always_print_fields_with_no_presence=False,
            preserving_proto_field_name=False,
            use_integers_for_enums=False,
            indent=None,
        )
    )
    return made
