"""The servers that there are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from argosy.config.loading import Settings
from argosy.gce.compute.client import Compute
from argosy.gce.observing import observe
from argosy.gce.plan.actions import Project
from argosy.gce.plan.names import Document, is_ours, type_of
from argosy.model import Machine
from argosy.ssh.host import Host, Hosts

COLUMNS = ["NAME", "TYPE", "STATE", "INTERNAL", "EXTERNAL", "RELEASE"]
ASK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Listed:
    """`state`: the API's own word in lower case, such as running. `release`: of a core machine, as it says itself, or
    else (`asked` is False) the one that it was made with."""

    name: str
    type: str
    state: str
    address: str
    external: str
    id: str
    release: str = ""
    asked: bool = False

    @property
    def running(self) -> bool:
        return self.state == "running"

    def row(self) -> list[str]:
        release = self.release if self.asked or not self.release else f"({self.release})"
        return [self.name, self.type, self.state, self.address, self.external, release]

    def to_json(self) -> dict[str, Any]:
        """Return {"name", "type", "state", "address", "external", "id", "release", "asked"}."""
        return asdict(self)


def servers_of(settings: Settings, project: Project) -> list[Listed]:
    """Return our servers in what was observed, sorted by type and name."""
    found = [listed(entry) for entry in project.all("instances").values() if is_ours(settings, entry)]
    return sorted(found, key=lambda listed: (listed.type, listed.name))


def list_servers(settings: Settings, *, ask: bool = True) -> list[Listed]:
    """Return our servers. `ask`: core machines by ssh for their release, in a few seconds or not at all."""
    with Compute.opened(settings) as compute:
        found = servers_of(settings, observe(compute, settings, ("instances",)))
    return asked(settings, found) if ask and not settings.gce.emulator else found


def listed(instance: Document) -> Listed:
    interface = (instance.get("networkInterfaces") or [{}])[0]
    configs: Sequence[Document] = interface.get("accessConfigs") or ()
    items = {item["key"]: item.get("value", "") for item in instance.get("metadata", {}).get("items", ())}
    return Listed(
        name=str(instance["name"]),
        type=type_of(instance),
        state=str(instance.get("status", "")).lower(),
        address=str(interface.get("networkIP", "")),
        external=str(configs[0].get("natIP", "")) if configs else "",
        id=str(instance.get("id", "")),
        release=items.get("argosy-release", ""),
    )


def asked(settings: Settings, servers: Iterable[Listed]) -> list[Listed]:
    """Return the servers with what core machines say of their release; one that does not answer says nothing."""
    known = list(servers)
    core = [
        listed
        for listed in known
        if listed.running and listed.type in settings.gce.types and settings.gce.types[listed.type].cluster
    ]
    quick = settings.ssh.model_copy(update={"connect_attempts": 1, "connect_timeout_seconds": ASK_SECONDS})
    command = [f"/opt/{settings.system}/bin/{settings.system}", "status", "--json"]

    def one(host: Host) -> str:
        answer = host.run(command, timeout_seconds=ASK_SECONDS, check=False)
        return str(json.loads(answer.stdout).get("release", "")) if answer.ok else ""

    machines = [Machine(listed.name, listed.address) for listed in core]
    with Hosts(settings.model_copy(update={"ssh": quick}), machines) as hosts:
        outcomes = hosts.each(one, what="Asking for the release")
    said = {name: outcome.get() for name, outcome in outcomes.items() if outcome.ok}
    return [
        replace(listed, release=said[listed.name], asked=True) if said.get(listed.name) else listed for listed in known
    ]
