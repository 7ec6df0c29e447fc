"""Prove that every machine runs, and every router reaches, what the release and etcd say. Changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from argosy import etcd
from argosy.agent.inspection import parse_container
from argosy.agent.labels import SERVICE, parse_labels
from argosy.agent.registrations import instance_id, place_of
from argosy.config import Settings
from argosy.console import Report
from argosy.discovery_report import newest_revision
from argosy.dns import REVERSE_NAME
from argosy.etcd import Entry, Etcd
from argosy.fanout import Outcome
from argosy.host import Host, Hosts
from argosy.machine_facts import Labelled, MachineFacts, parse_facts
from argosy.machine_files import Names
from argosy.model import Machine
from argosy.operations.discovery import keys
from argosy.operations.discovery.rendering import router_options
from argosy.operations.discovery.routers import follow_up
from argosy.routing import plan_routing
from argosy.schema import Directory, MachineRecord, parse_directory
from argosy.verification import Verification, verify

FACTS_SECONDS = 60.0
"""How long a machine may take to tell: its checks have deadlines of their own, and it resolves many names."""
LOOKS = 3
"""A change under way is no difference: what differs at first is looked at again."""
PAUSE_SECONDS = 2.0
UNHEALTHY = ("unhealthy", "starting")


def observe(settings: Settings, hosts: Hosts, report: Report) -> Verification:
    """Compare all machines of `hosts` with their etcd, and again while something differs, LOOKS times at most.

    What a machine does not tell differs, with the reason. Raises EtcdError when etcd does not answer.
    """
    with etcd.connect(settings, [host.machine for host in hosts], hosts) as store:
        for look in range(1, LOOKS + 1):
            found = _look(settings, hosts, store)
            if not found.differing or look == LOOKS:
                break
            report("verify", f"{len(found.differing)} chains differ; looking again in {PAUSE_SECONDS:g} s")
            threading.Event().wait(PAUSE_SECONDS)
    return found


def _look(settings: Settings, hosts: Hosts, store: Etcd) -> Verification:
    entries: list[Entry] = keys.read(store)
    follow_up(store, newest_revision(entries))
    directory = parse_directory(entries)
    names = _names(settings, directory)
    outcomes = hosts.each(partial(_ask, settings, names), what="Facts")
    facts = [_facts(host.machine, outcomes[host.name]) for host in hosts]
    routing = plan_routing(directory, router_options(settings, MachineRecord("")))
    domain = settings.discovery.domain if settings.discovery.enabled else ""
    return verify(settings.system, domain, newest_revision(entries), facts, directory, routing)


def _names(settings: Settings, directory: Directory) -> list[str]:
    """Return the host names that each machine is asked for: every service's, and the resolver's own."""
    if not settings.discovery.enabled:
        return []
    services = [name for name, it in sorted(directory.services.items()) if it.scheme is not None]
    return [f"{name}.{settings.discovery.domain}" for name in (REVERSE_NAME, *services)]


def _ask(settings: Settings, names: Sequence[str], host: Host) -> MachineFacts:
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
    unwell = f"its health check says {container.health}" if container.health in UNHEALTHY else ""
    if declaration is None:
        return Labelled(container.name, service, instance, reason="; ".join(map(str, problems)), unwell=unwell)
    try:
        place = place_of(container, declaration, machine.address)
    except ValueError as error:
        return Labelled(container.name, service, instance, reason=str(error), unwell=unwell)
    return Labelled(container.name, service, instance, place.endpoint, unwell=unwell)
