"""What on the host's engine is ours, and what other checkouts' clusters have: that is never touched, and told by path.

A cluster that is older than the identities of checkouts has no label that says whose it is. The checkout whose folders
its containers mount, or whose Vagrant wrote their ids down, adopts it once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container
from docker.models.networks import Network
from docker.models.volumes import Volume

from argosy.config.loading import Settings
from argosy.engine.checkout import checkout_of, save_record, stored_record
from argosy.engine.connection import refusals
from argosy.engine.containers import Kind, labelled, labels_on, remove_all
from argosy.engine.names import (
    CHECKOUT_LABEL,
    CLUSTER_LABEL,
    SYSTEM_LABEL,
    is_own,
    role_labels,
    unmarked_stem,
    whose,
)
from argosy.errors import Refused

EVERY_KIND: Sequence[Kind] = ("container", "network", "volume")
AGENT_OPTIONS = "ARGOSY_AGENT="
EVERYWHERE = ("", "0.0.0.0")  # noqa: S104


@dataclass(frozen=True, slots=True)
class Claim:
    """What another checkout's cluster has of this host. `subnet`: of a network; `listens`: (address, port) of a
    container."""

    whose: str
    subnet: str = ""
    listens: Sequence[tuple[str, int]] = ()

    def takes(self, address: str, port: int) -> bool:
        """Return whether nobody else can listen there, now or when the container is started again."""
        return any(
            port == taken and (where in (address, *EVERYWHERE) or address in EVERYWHERE)
            for where, taken in self.listens
        )


def own(
    client: docker.DockerClient, settings: Settings, role: str, kinds: Sequence[Kind] = EVERY_KIND
) -> dict[str, Container | Network | Volume]:
    """Return what this checkout's cluster has in this role, by `KIND NAME`."""
    found = labelled(client, role_labels(settings, role), kinds)
    return {name: thing for name, thing in found.items() if is_own(settings, labels_on(thing))}


def remove_own(client: docker.DockerClient, settings: Settings, role: str, kinds: Sequence[Kind]) -> list[str]:
    """Remove it; return `KIND NAME` of each. Volumes hold data: only when asked for."""
    with refusals("clean-up"):
        return remove_all(own(client, settings, role, kinds))


def claims_of_others(client: docker.DockerClient, settings: Settings) -> list[Claim]:
    """Return what clusters of other checkouts have of this host, running or not."""
    with refusals("engine"):
        networks = client.networks.list(filters={"label": CLUSTER_LABEL})
        containers = client.containers.list(all=True, filters={"label": CLUSTER_LABEL}, ignore_removed=True)
    claims = [
        Claim(whose(labels_on(network)), subnet=subnet)
        for network in networks
        if _is_others(settings, labels_on(network))
        for subnet in subnets_of(network)
    ]
    return claims + [
        Claim(whose(container.labels), listens=listens)
        for container in containers
        if _is_others(settings, container.labels) and (listens := _listens(container.attrs))
    ]


def refuse_claimed(claims: Iterable[Claim], address: str, port: int, key: str) -> None:
    """Raise Refused, with the path of its checkout, when another checkout's cluster has the port."""
    for claim in claims:
        if claim.takes(address, port):
            raise Refused(f"{key}: port {port} of {address} is taken by {claim.whose}: choose another {key}")


def subnets_of(network: Network) -> list[str]:
    """Return the network's IPv4 subnets."""
    pools = network.attrs["IPAM"]["Config"] or []
    return [str(pool["Subnet"]) for pool in pools if ":" not in pool.get("Subnet", ":")]


def adopt(client: docker.DockerClient, settings: Settings) -> None:
    """Remember a cluster that is older than the identities of checkouts as ours, if our folders show that it is.

    Idempotent; what is written down is only how its things are named. Raises Refused when some of its containers are
    this checkout's and others are another's.
    """
    if stored_record(settings).checkout:
        return
    chosen: dict[str, str | list[str] | bool] = {
        "label": [f"{SYSTEM_LABEL}={settings.system}", f"{CLUSTER_LABEL}={settings.cluster}"]
    }
    with refusals("engine"):
        found = client.containers.list(all=True, filters=chosen, ignore_removed=True)
    unmarked = [container for container in found if CHECKOUT_LABEL not in container.labels]
    ours = [container for container in unmarked if _is_known(settings, container)]
    if not ours:
        return
    for container in unmarked:
        if container not in ours and (path := _other_maker(settings, container)):
            raise Refused(
                f"{container.name} is of the checkout {path}, while {ours[0].name} is of this one: remove it there, or "
                f"with `docker rm -f {container.name}`"
            )
    save_record(settings, stem=unmarked_stem(settings))


def _is_others(settings: Settings, labels: Mapping[str, str]) -> bool:
    """Return whether it is of a cluster of another checkout; those of this one are told apart by their names."""
    if checkout := labels.get(CHECKOUT_LABEL):
        return checkout != checkout_of(settings).id
    return not is_own(settings, labels)


def _listens(attrs: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return where a container listens: the ports that it publishes, and, on the host's own network, those that its
    agent was told of."""
    bindings = (attrs["HostConfig"].get("PortBindings") or {}).values()
    published = [(pair["HostIp"], pair["HostPort"]) for pairs in bindings for pair in pairs or ()]
    balanced = [where.rpartition(":")[::2] for where in _agent_listens(attrs["Config"].get("Env") or ())]
    return [(address, int(port)) for address, port in (*published, *balanced) if port.isdecimal()]


def _agent_listens(env: Iterable[str]) -> Sequence[str]:
    for variable in env:
        if variable.startswith(AGENT_OPTIONS):
            listen = json.loads(variable.removeprefix(AGENT_OPTIONS)).get("listen", ())
            return [str(where) for where in listen]
    return ()


def _is_known(settings: Settings, container: Container) -> bool:
    """Return whether the checkout's folders show that it made the container."""
    folders = [folder.resolve() for folder in (settings.state_path, settings.secrets_path)]
    if any(source.is_relative_to(folder) for source in _mounted_files(container) for folder in folders):
        return True
    if _other_maker(settings, container):
        return False
    name = str(container.name).removeprefix(f"{unmarked_stem(settings)}-")
    record = settings.state_path / "vagrant" / "machines" / "machines" / name / "docker" / "id"
    return record.is_file() and record.read_text().strip() == container.id


def _other_maker(settings: Settings, container: Container) -> str:
    """Return the path of another checkout, one that is still there, whose state or secrets the container mounts."""
    for source in _mounted_files(container):
        for folder in (settings.state_dir, settings.secrets_dir):
            root, found, _ = str(source).partition(f"/{folder}/{settings.cluster}/")
            if found and Path(root) != settings.root.resolve() and Path(root).exists():
                return root
    return ""


def _mounted_files(container: Container) -> list[Path]:
    return [Path(mount["Source"]) for mount in container.attrs["Mounts"] if mount["Type"] == "bind"]
