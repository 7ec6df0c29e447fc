"""Pure. Which machines have the volumes of scheduled services, and what keeps instances there.

A service with a named volume is placed by Swarm once, anywhere that fits. From then on its homes are recorded, their
nodes have a label, and its services in Swarm a constraint on that label: so no instance begins elsewhere, with an empty
volume.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from argosy.engine.swarm_model import Node
from argosy.errors import Refused
from argosy.schema.labels import HOME_LABEL
from argosy.services.spec import at_home
from argosy.services.state import Running, ServicesState, ServiceState, machine_of

LOSE = "--lose-volumes"


@dataclass(frozen=True, slots=True)
class Kept:
    """What the data of a service on a machine is in. `volumes`: empty when it can't be known."""

    service: str
    volumes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.volumes) or 'perhaps volumes'} of {self.service}"


def volumes_on(state: ServicesState, machine: str) -> list[Kept]:
    """Return what would be lost with the machine, also of services that are stopped, or have one there as on every
    machine. A service whose record can't be read may have some."""
    found = []
    for service in state.services.values():
        if service.problem:
            found.append(Kept(service.name, ()))
        elif service.record and machine in _holders(service):
            found.append(Kept(service.name, tuple(service.record.definition.kept_volumes)))
    return found


def _holders(service: ServiceState) -> tuple[str, ...]:
    """Return the machines that have volumes of a service; of a global one, where it runs."""
    if not service.record or not service.record.definition.kept_volumes:
        return ()
    return (service.keeps_home and service.homes) or service.placed


def may_keep(service: ServiceState) -> bool:
    """Return whether a service may have volumes somewhere."""
    return bool(service.problem) or bool(service.record and service.record.definition.kept_volumes)


def refuse_loss(kept: Iterable[Kept], machine: str) -> None:
    """Raises Refused, naming what would be lost with the machine."""
    if words := "; ".join(map(str, kept)):
        raise Refused(f"{machine} has the volumes {words}, lost with it: {LOSE} says that you know")


def homes_left(service: ServiceState, machine: str) -> tuple[str, ...]:
    """Return the homes of a service without a machine that goes for good."""
    return tuple(home for home in service.homes or service.placed if home != machine)


def labels_with(node: Node, name: str, homes: Iterable[str]) -> dict[str, str]:
    """Return the labels of a node by which it is a home of the service, or is none."""
    label = f"{HOME_LABEL}{name}"
    others = {key: value for key, value in node.labels.items() if key != label}
    return others | ({label: "true"} if machine_of(node) in homes else {})


def spec_at_home(service: ServiceState, running: Running, homes: Iterable[str]) -> dict[str, Any] | None:
    """Return the spec of a generation that stays on `homes`; None when it is so already."""
    if service.record is None:
        return None
    present = running.service.spec
    wanted = at_home(present, service.name, service.record.definition, tuple(homes))
    return wanted if _placement(wanted) != _placement(present) else None


def _placement(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the placement of a spec without what is empty."""
    placement = spec["TaskTemplate"].get("Placement") or {}
    return {key: found for key, found in placement.items() if found}


def unsettled(state: ServicesState) -> Iterator[str]:
    """Yield the services whose homes are not recorded though they are placed, or are not kept to in Swarm."""
    for service in state.services.values():
        homes = service.homes or service.placed
        if service.problem or not service.keeps_home:
            continue
        labels = any(labels_with(node, service.name, homes) != dict(node.labels) for node in state.nodes)
        placed = any(spec_at_home(service, running, homes) for running in service.generations.values())
        if labels or placed or homes != service.homes:
            yield service.name
