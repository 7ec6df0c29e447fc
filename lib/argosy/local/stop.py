"""`local.stop`: a local cluster goes, whole or half-made, with its data; the registry and the images may stay."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import docker

from argosy import engine, inventory
from argosy.config import Settings
from argosy.console import Report
from argosy.engine_connection import connect, refusals
from argosy.local_names import container_name, labels_of, network_name
from argosy.local_settings import localized
from argosy.model import Step
from argosy.operations import registry
from argosy.operations.local import facts, lock, preflight
from argosy.operations.local.work import provider_of
from argosy.providers.base import ABSENT, Provider

ROLES = ("machine", "balancer", "dependency")
FILES = ("machines.json", "local.json", "known_hosts", "cloud-config", "vagrant", "balancer")
"""What a cluster leaves under STATE; the memory of image contents beside them is worth keeping."""


def plan_stop(settings: Settings, everything: bool) -> list[Step]:
    """Return what `stop` would remove; nothing when nothing is there."""
    preflight.refuse_other_provider(settings)
    settings = localized(settings)
    with connect() as client:
        states = _provider(settings, client).states(inventory.load(settings))
        steps = [Step(name, f"destroy it with its disk ({state})") for name, state in states.items() if state != ABSENT]
        steps += [Step(name, "remove it") for name in _on_engine(settings, client, everything)]
        steps += [Step(str(path), "remove it") for path in _paths(settings, everything) if path.exists()]
    return steps


def stop(settings: Settings, report: Report, everything: bool = False) -> list[Step]:
    """Destroy machines and their disks, balancer, dependencies and their data, and forget them; return what was done.

    `everything`: the registry with its images, the network and the cluster's secrets too. Idempotent; clears what a
    killed `start` left.
    """
    steps = plan_stop(settings, everything)
    if not steps:
        return []
    settings = localized(settings)
    with lock.held(settings, "local.stop"), connect() as client:
        for name in _provider(settings, client).destroy(inventory.load(settings)):
            _removed(report, name)
        for role in ROLES:
            for name in engine.remove_labelled(client, labels_of(settings, role), ("container", "volume")):
                _removed(report, name)
        if everything:
            registry.stop(settings, report, remove_data=True)
            registry.distrust_registry(settings)
            for name in engine.remove_labelled(client, labels_of(settings, "network"), ("network",)):
                _removed(report, name)
        for path in _paths(settings, everything):
            _remove(path)
    return steps


def _removed(report: Report, what: str) -> None:
    kind, _, name = what.partition(" ")
    report(name, f"{kind} removed")


def _provider(settings: Settings, client: docker.DockerClient) -> Provider:
    with refusals("engine"):
        info = client.info()
    return provider_of(settings, client, facts.engine_facts(info, remote=False))


def _on_engine(settings: Settings, client: docker.DockerClient, everything: bool) -> list[str]:
    """Return what else carries the cluster's labels, without the containers of known machines."""
    known = {container_name(settings, machine.name) for machine in inventory.load(settings)}
    found = []
    with refusals("engine"):
        for role in ROLES:
            chosen: dict[str, str | list[str] | bool] = {
                "label": [f"{key}={value}" for key, value in labels_of(settings, role).items()]
            }
            containers = client.containers.list(all=True, filters=chosen)
            found += [f"container {it.name}" for it in containers if it.name not in known]
            found += [f"volume {volume.name}" for volume in client.volumes.list(filters=chosen)]
        if everything:
            name = container_name(settings, "registry")
            found += [f"container {name}"] if engine.find_container(client, name) else []
            volumes = client.volumes.list(filters={"name": name})
            found += [f"volume {volume.name}" for volume in volumes if volume.name == name]
            networks = client.networks.list(names=[network_name(settings)])
            found += [f"network {network.name}" for network in networks]
    return found


def _paths(settings: Settings, everything: bool) -> Sequence[Path]:
    if everything:
        return [settings.state_path, settings.secrets_path]
    return [settings.state_path / name for name in FILES]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
