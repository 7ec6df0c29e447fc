"""`local.status`: what the host carries for the cluster - machines, balancer, registry, dependencies."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from argosy import engine, inventory
from argosy.addressing import host_address
from argosy.config import Settings
from argosy.engine_connection import connect, refusals
from argosy.local_names import container_name
from argosy.local_settings import localized
from argosy.operations.local import balancer, facts, preflight
from argosy.operations.local.work import provider_of
from argosy.providers.base import RUNNING

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
    preflight.refuse_other_provider(settings)
    settings = localized(settings)
    with connect() as client:
        with refusals("engine"):
            info = client.info()
        machines = inventory.load(settings)
        provider = provider_of(settings, client, facts.engine_facts(info, remote=False))
        states = provider.states(machines) if machines else {}
        seen = {server.name: server.status for server in balancer.servers(settings, client)}
        parts = [
            Part(machine.name, "machine", states[machine.name], machine.address, seen.get(machine.name, ""))
            for machine in machines
        ]
        host = host_address(settings)
        others = [
            *((part, container_name(settings, part), balancer.address(settings)) for part in balancer.parts(settings)),
            ("registry", container_name(settings, "registry"), settings.registry.address),
            *((name, container_name(settings, name), host) for name in settings.local.dependencies),
        ]
        with refusals("engine"):
            for name, container, address in others:
                found = engine.find_container(client, container)
                kind = "dependency" if name in settings.local.dependencies else name
                parts.append(Part(name, kind, found.status if found else "absent", address))
    return parts


def to_json(parts: list[Part]) -> list[dict[str, object]]:
    return [asdict(part) for part in parts]
