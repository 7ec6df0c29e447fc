"""Prove that every machine runs, and every router reaches, what the release and etcd say. Changes nothing."""

from __future__ import annotations

import threading

from argosy import etcd
from argosy.config import Settings
from argosy.console import Report
from argosy.discovery_report import newest_revision
from argosy.dns import REVERSE_NAME
from argosy.etcd import Etcd
from argosy.host import Hosts
from argosy.operations import facts
from argosy.operations.discovery import keys
from argosy.operations.discovery.rendering import router_options
from argosy.operations.discovery.routers import follow_up
from argosy.routing import plan_routing
from argosy.schema import Directory, MachineRecord, parse_directory
from argosy.verification import Verification, verify

LOOKS = 3
"""A change under way is no difference: what differs at first is looked at again."""
PAUSE_SECONDS = 2.0


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
    entries = keys.read(store)
    follow_up(store, newest_revision(entries))
    directory = parse_directory(entries)
    names = _names(settings, directory)
    found = facts.gather(settings, hosts, names)
    routing = plan_routing(directory, router_options(settings, MachineRecord("")))
    domain = settings.discovery.domain if settings.discovery.enabled else ""
    return verify(settings.system, domain, newest_revision(entries), found, directory, routing)


def _names(settings: Settings, directory: Directory) -> list[str]:
    """Return the host names that each machine is asked for: every service's, and the resolver's own."""
    if not settings.discovery.enabled:
        return []
    services = [name for name, it in sorted(directory.services.items()) if it.scheme is not None]
    return [f"{name}.{settings.discovery.domain}" for name in (REVERSE_NAME, *services)]
