"""What every change of a local cluster begins with: look at the host, the machines, and what is remembered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import docker

from argosy.addressing import choose_bip, host_address
from argosy.config import Settings
from argosy.console import Report
from argosy.local_names import container_name, network_name
from argosy.local_settings import localized
from argosy.model import Machine
from argosy.operations.local import balancer, dependencies, facts, record
from argosy.operations.local.work import Work, provider_of


def look(settings: Settings, client: docker.DockerClient, machines: Iterable[Machine], report: Report) -> Work:
    """Return what the phases work with, for `machines`; whoever calls says which of them it is about. Changes nothing.

    `settings`: localized.
    """
    chosen = list({machine.name: machine for machine in machines}.values())
    observed = facts.observe(settings, client, _listeners(settings))
    states = provider_of(settings, client, observed.engine).states(chosen)
    return Work(settings, chosen, client, observed, states, record.load(settings), report)


def complete(work: Work) -> None:
    """Choose the range of the machines' own engines once: it stays as long as the cluster."""
    taken = [*work.facts.others(network_name(work.settings)), work.settings.local.subnet]
    bip = work.record.bip or choose_bip(work.settings.docker.bip, taken)
    work.record = replace(work.record, bip=bip)
    work.settings = localized(work.settings, bip)


def _listeners(settings: Settings) -> list[facts.Listener]:
    port = int(settings.registry.address.rpartition(":")[2])
    name = container_name(settings, "registry")
    addresses = settings.registry.bind or [balancer.LOOPBACK, host_address(settings)]
    own = [facts.Listener("registry.address", name, address, port) for address in addresses]
    return [*own, *balancer.listeners(settings), *dependencies.listeners(settings)]
