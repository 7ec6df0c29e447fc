"""`local.stop`: a local cluster goes, whole or half-made, with its data; the registry and the images may stay."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import docker

from argosy import inventory
from argosy.config.loading import Settings
from argosy.engine import containers as engine
from argosy.engine.connection import refusals
from argosy.engine.names import container_name
from argosy.engine.ownership import own, remove_own
from argosy.errors import ConfigError
from argosy.local import preparing, record
from argosy.local.makers.base import ABSENT, ENGINE, VAGRANT
from argosy.local.work import Maker, maker_of
from argosy.model import Step
from argosy.registry import container
from argosy.report import Report

ROLES = ("machine", "balancer", "dependency")
KINDS: Sequence[engine.Kind] = ("container", "volume")
FILES = ("machines.json", "local.json", "known_hosts", "cloud-config", VAGRANT, ENGINE, "balancer")
"""What a cluster leaves under STATE; the memory of image contents beside them is worth keeping."""


def plan_stop(settings: Settings, everything: bool) -> list[Step]:
    """Return what `stop` would remove; nothing when nothing is there."""
    with preparing.opened(settings) as (here, client):
        states = _maker(here, client).states(inventory.load(here))
        steps = [Step(name, f"destroy it with its disk ({state})") for name, state in states.items() if state != ABSENT]
        steps += [Step(name, "remove it") for name in _on_engine(here, client, everything)]
        steps += [Step(str(path), "remove it") for path in _paths(here, everything) if path.exists()]
    return steps


def stop(settings: Settings, report: Report, everything: bool = False) -> list[Step]:
    """Destroy machines and their disks, balancer, dependencies and their data, and forget them; return what was done.

    `everything`: the registry with its images, the network and the cluster's secrets too. Idempotent; clears what a
    killed `start` left.
    """
    steps = plan_stop(settings, everything)
    if not steps:
        return []
    with preparing.opened(settings, "local.stop") as (here, client):
        for name in _maker(here, client).destroy(inventory.load(here)):
            _removed(report, name)
        for role in ROLES:
            for name in remove_own(client, here, role, KINDS):
                _removed(report, name)
        if everything:
            container.stop(here, report, remove_data=True)
            for name in remove_own(client, here, "network", ("network",)):
                _removed(report, name)
        for path in _paths(here, everything):
            _remove(path)
    return steps


def _maker(settings: Settings, client: docker.DockerClient) -> Maker:
    """Return what made the machines. Where that is not known any more, the engine removes them."""
    try:
        made = record.load(settings).maker
    except ConfigError:
        made = ENGINE
    return maker_of(settings, client, made)


def _removed(report: Report, what: str) -> None:
    kind, _, name = what.partition(" ")
    report(name, f"{kind} removed")


def _on_engine(settings: Settings, client: docker.DockerClient, everything: bool) -> list[str]:
    """Return what else carries the cluster's labels, without the containers of known machines."""
    known = {f"container {container_name(settings, machine.name)}" for machine in inventory.load(settings)}
    found: list[str] = []
    with refusals("engine"):
        for role in ROLES:
            found += [name for name in own(client, settings, role, KINDS) if name not in known]
        if everything:
            found += list(own(client, settings, "registry", KINDS))
            found += list(own(client, settings, "network", ("network",)))
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
