"""`local.status`: what the host carries for the cluster - machines, balancer, registry, dependencies."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from argosy import inventory
from argosy.config.loading import Settings
from argosy.engine import containers as engine
from argosy.engine.connection import refusals
from argosy.engine.names import container_name
from argosy.local import balancer, preparing
from argosy.local.addressing import host_address
from argosy.local.makers.base import ENGINE, RUNNING
from argosy.local.work import maker_of

COLUMNS = ("what", "kind", "state", "address")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the cluster on the host. `state`: running, stopped, absent; a machine's with the balancer's view."""

    name: str
    kind: str
    state: str
    address: str
    balanced: str = ""

    @property
    def fine(self) -> bool:
        return self.state == RUNNING and self.balanced in ("", "UP")

    def row(self) -> tuple[str, str, str, str]:
        seen = f", balancer: {self.balanced}" if self.balanced else ""
        return self.name, self.kind, f"{self.state}{seen}", self.address


def observe(settings: Settings) -> list[Part]:
    """Return every part of the cluster that should be there; machines first. Changes nothing."""
    with preparing.opened(settings) as (here, client):
        machines = inventory.load(here)
        states = maker_of(here, client, ENGINE).states(machines) if machines else {}
        seen = {server.name: server.status for server in balancer.servers(here, client)}
        parts = [
            Part(machine.name, "machine", states[machine.name], machine.address, seen.get(machine.name, ""))
            for machine in machines
        ]
        host = host_address(here)
        others = [
            *((part, container_name(here, part), balancer.address(here)) for part in balancer.parts(here)),
            ("registry", container_name(here, "registry"), here.registry.address),
            *((name, container_name(here, name), host) for name in here.local.dependencies),
        ]
        with refusals("engine"):
            for name, container, address in others:
                found = engine.find_container(client, container)
                kind = "dependency" if name in here.local.dependencies else name
                parts.append(Part(name, kind, found.status if found else "absent", address))
    return parts


def to_json(parts: list[Part]) -> list[dict[str, object]]:
    return [asdict(part) for part in parts]
