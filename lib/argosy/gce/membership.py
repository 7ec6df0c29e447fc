"""How a core machine joins and leaves the cluster: the cluster's own doing, behind a small seam."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from argosy import inventory
from argosy.cloudconfig import writing
from argosy.config.loading import Settings
from argosy.errors import Refused
from argosy.membership import adding, removing
from argosy.model import Machine
from argosy.report import Report
from argosy.ssh import pins


class Membership(Protocol):
    """Both are idempotent, and refuse what etcd would not survive."""

    def join(self, settings: Settings, machine: Machine, format: str, report: Report) -> Path:
        """Tell the cluster of a machine that will come, and return the cloud-config file that it boots with."""

    def may_leave(self, settings: Settings, machine: Machine, report: Report) -> None:
        """Raise what `leave` refuses, with nothing changed."""

    def leave(self, settings: Settings, machine: Machine, report: Report) -> None:
        """Drain the machine, stop its services, take it out of etcd, and forget it."""


class ClusterMembership:
    """cluster.add-machine and cluster.remove-machine."""

    def __init__(self, *, lose_volumes: bool = False) -> None:
        self._lose_volumes = lose_volumes

    def join(self, settings: Settings, machine: Machine, format: str, report: Report) -> Path:
        options = adding.Options(format=format)
        own_os = settings.model_copy(update={"machine": settings.machine.model_copy(update={"os": machine.os})})
        word = f"{machine.name}={machine.address}"
        added = adding.add(own_os, _existing(settings, machine), word, report, options)
        return added.cloud_config

    def may_leave(self, settings: Settings, machine: Machine, report: Report) -> None:
        existing = _existing(settings, machine)
        removing.plan(settings, existing, machine.name, report, lose_volumes=self._lose_volumes)

    def leave(self, settings: Settings, machine: Machine, report: Report) -> None:
        existing = _existing(settings, machine)
        removing.remove(settings, existing, machine.name, report, lose_volumes=self._lose_volumes)


class PretendedMembership:
    """For an emulator: its machines don't exist, so there is nobody to be told."""

    def join(self, settings: Settings, machine: Machine, format: str, report: Report) -> Path:
        report(machine.name, "no cluster is told of it: the API is an emulator's")
        inventory.remember(settings, [machine])
        written = writing.write(settings, [machine], report, format, initial_state="existing")
        return written[machine.name]

    def may_leave(self, settings: Settings, machine: Machine, report: Report) -> None:
        pass

    def leave(self, settings: Settings, machine: Machine, report: Report) -> None:
        report(machine.name, "no cluster is left: the API is an emulator's")
        forget(settings, machine)


def membership_of(settings: Settings, *, lose_volumes: bool = False) -> Membership:
    return PretendedMembership() if settings.gce.emulator else ClusterMembership(lose_volumes=lose_volumes)


def forget(settings: Settings, machine: Machine) -> None:
    """Drop the machine from the inventory and from known_hosts. Idempotent."""
    inventory.forget(settings, [machine.name])
    pins.forget(settings, machine)


def _existing(settings: Settings, machine: Machine) -> str:
    """Return a machine of the cluster to ask."""
    for other in inventory.load(settings):
        if other.name != machine.name:
            return other.name
    raise Refused(f"{machine.name}: the cluster {settings.cluster!r} has no other machine that could be told")
