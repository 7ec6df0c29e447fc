"""Pure. What a machine tells for a verification, `SYSTEM facts HOST...` run on it: two lines of JSON.

{"machine": "air-01", "release": "0.1.3", "release_image": "HOST:PORT/air/installer/test@sha256:...", "cluster": "test",
 "services": [{"name": "web", "unit": "active", "check": "passing", "reason": "", "version": "0.1.2",
               "digest": "sha256:...", "release_digest": "sha256:...", "since": "..."}],
 "elsewhere": ["db"], "containers": [as `docker inspect`, in part], "bridge": "172.17.42.1",
 "router": {"servers": what HAProxy's `show servers state` prints} or {"reason": "..."}}
{"names": {"web.local": ["172.17.42.1"]}}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from argosy.machine.report import ServiceStatus, parse
from argosy.model import Endpoint, Machine
from argosy.routing.changes import ActualServer, parse_servers_state


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


class ServiceFacts(ServiceStatus):
    """A service of the machine's release: how it is, and the digest that the release pins."""

    release_digest: str = ""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What one machine tells. `reason`: why it tells nothing; `image`: of its release, by digest; `bridge`: its address
    for containers; `servers`: of its router, by backend and name, or `router_reason` why there are none; `names`: host
    name -> addresses, as the machine resolves them; `cluster`: that its release names, empty for one of before releases
    did; `elsewhere`: the release's services that only other machines run."""

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
    cluster: str = ""
    elsewhere: frozenset[str] = frozenset()


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    release: str
    release_image: str = ""
    cluster: str = ""
    services: list[ServiceFacts] = []
    elsewhere: frozenset[str] = frozenset()
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
    facts, names = parse(_Facts, first), parse(_Names, second)
    servers, router_reason = _router(facts.router)
    return MachineFacts(
        machine.name,
        machine.address,
        release=facts.release,
        image=facts.release_image,
        cluster=facts.cluster,
        elsewhere=facts.elsewhere,
        services={service.name: service for service in facts.services},
        labelled=tuple(read(container) for container in facts.containers),
        bridge=facts.bridge,
        servers=servers,
        router_reason=router_reason,
        names=names.names,
    )


def _router(told: Mapping[str, str]) -> tuple[dict[str, dict[str, ActualServer]], str]:
    if "servers" not in told:
        return {}, told.get("reason", "it reports nothing of its router")
    try:
        return parse_servers_state(told["servers"]), ""
    except ValueError as error:
        return {}, str(error)
