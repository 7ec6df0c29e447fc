"""Ask every machine for the facts that a verification, or a look at what routers think, is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from argosy.agent.inspection import parse_container
from argosy.agent.labels import parse_labels
from argosy.agent.registrations import instance_id, place_of
from argosy.config import Settings
from argosy.container_labels import SERVICE
from argosy.fanout import Outcome
from argosy.host import Host, Hosts
from argosy.machine_facts import Labelled, MachineFacts, parse_facts
from argosy.machine_files import Names
from argosy.model import Machine

FACTS_SECONDS = 60.0
"""How long a machine may take to tell: its checks have deadlines of their own, and it resolves many names."""
UNWELL = ("unhealthy", "starting")


def gather(settings: Settings, hosts: Hosts, names: Sequence[str] = ()) -> list[MachineFacts]:
    """Return what each machine of `hosts` tells, all asked at the same time, each by one command.

    `names`: host names that each resolves. Who does not tell is part of the answer, with the reason.
    """
    outcomes = hosts.each(partial(ask, settings, names), what="Facts")
    return [_facts(host.machine, outcomes[host.name]) for host in hosts]


def ask(settings: Settings, names: Sequence[str], host: Host) -> MachineFacts:
    """Return what one machine tells. Raises HostUnreachable and its kin."""
    program = f"{Names(settings.system).programs}/{settings.system}"
    result = host.run([program, "facts", *names], sudo=True, check=False, timeout_seconds=FACTS_SECONDS)
    try:
        return parse_facts(host.machine, result.stdout, partial(_labelled, host.machine))
    except ValueError as error:
        words = result.stderr.strip().rpartition("\n")[2] or str(error)
        reason = f"{program} facts ended with {result.code}: {words}"
        return MachineFacts(host.name, host.machine.address, reason=reason)


def _facts(machine: Machine, outcome: Outcome[MachineFacts]) -> MachineFacts:
    if outcome.error is None:
        return outcome.get()
    return MachineFacts(machine.name, machine.address, reason=str(outcome.error).removeprefix(f"{machine.name}: "))


def _labelled(machine: Machine, inspected: Mapping[str, Any]) -> Labelled:
    """Return what a container declares, read as the machine's agent reads it. Raises ValueError for what is no answer
    of Docker's."""
    container = parse_container(inspected)
    instance = instance_id(machine.name, container.name)
    declaration, problems = parse_labels(container.name, container.labels)
    service = declaration.service if declaration else container.labels[SERVICE]
    unwell = f"its health check says {container.health}" if container.health in UNWELL else ""
    if declaration is None:
        return Labelled(container.name, service, instance, reason="; ".join(map(str, problems)), unwell=unwell)
    try:
        place = place_of(container, declaration, machine.address)
    except ValueError as error:
        return Labelled(container.name, service, instance, reason=str(error), unwell=unwell)
    return Labelled(container.name, service, instance, place.endpoint, unwell=unwell)
