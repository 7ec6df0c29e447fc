"""What a machine tells for a verification, `SYSTEM facts HOST...` run on it: two lines of JSON. Pure.

{"machine": "air-01", "release": "0.1.3", "release_image": "HOST:PORT/air/installer@sha256:...",
 "services": [{"name": "web", "unit": "active", "check": "passing", "reason": "", "version": "0.1.2",
               "digest": "sha256:...", "release_digest": "sha256:...", "since": "..."}],
 "containers": [as `docker inspect`, in part], "bridge": "172.17.42.1",
 "router": {"servers": what HAProxy's `show servers state` prints} or {"reason": "..."}}
{"names": {"web.local": ["172.17.42.1"]}}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from argosy.cluster_status import ServiceStatus
from argosy.model import Endpoint, Machine
from argosy.routing_changes import ActualServer, parse_servers_state

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A running container that declares an instance. `endpoint`: None when it is one of the machine's ports for
    containers on its bridge; `reason`: why it can't be registered; `unwell`: why it is not, or not yet."""

    container: str
    service: str
    instance: str
    endpoint: Endpoint | None = None
    reason: str = ""
    unwell: str = ""


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """A service of the machine's release: how it is, and what that release pins."""

    status: ServiceStatus
    pinned: str


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What one machine tells. `reason`: why it tells nothing; `image`: of its release, by digest; `bridge`: its address
    for containers; `servers`: of its router, by backend and name, or `router_reason` why there are none; `names`: host
    name -> addresses, as the machine resolves them."""

    machine: str
    address: str
    reason: str = ""
    release: str = ""
    image: str = ""
    services: Mapping[str, ServiceFacts] = field(default_factory=dict)
    labelled: tuple[Labelled, ...] = ()
    bridge: str = ""
    servers: Mapping[str, Mapping[str, ActualServer]] = field(default_factory=dict)
    router_reason: str = ""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class _Service(ServiceStatus):
    release_digest: str = ""


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    release: str
    release_image: str = ""
    services: list[_Service] = []
    containers: list[dict[str, Any]] = []
    bridge: str = ""
    router: dict[str, str] = {}


class _Names(BaseModel):
    names: dict[str, tuple[str, ...]]


def parse_facts(machine: Machine, text: str, read: Callable[[Mapping[str, Any]], Labelled]) -> MachineFacts:
    """Return what the machine tells. `read`: what a container declares, from what Docker says of it.

    Raises ValueError with one line that says what is wrong with the text.
    """
    first, _, second = text.strip().partition("\n")
    facts, names = _parsed(_Facts, first), _parsed(_Names, second)
    servers, router_reason = _router(facts.router)
    return MachineFacts(
        machine.name,
        machine.address,
        release=facts.release,
        image=facts.release_image,
        services={it.name: ServiceFacts(it, it.release_digest) for it in facts.services},
        labelled=tuple(read(it) for it in facts.containers),
        bridge=facts.bridge,
        servers=servers,
        router_reason=router_reason,
        names=names.names,
    )


def _router(told: Mapping[str, str]) -> tuple[dict[str, dict[str, ActualServer]], str]:
    if "servers" not in told:
        return {}, told.get("reason", "it tells nothing of its router")
    try:
        return parse_servers_state(told["servers"]), ""
    except ValueError as error:
        return {}, str(error)


def _parsed(model: type[T], text: str) -> T:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip()) from None
