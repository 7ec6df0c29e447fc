"""See what discovery knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from argosy.config import Settings
from argosy.discovery_report import DiscoveryReport, discovery_report, instance_health
from argosy.errors import ConfigError, nearest
from argosy.etcd import Etcd
from argosy.host import Hosts
from argosy.operations import facts
from argosy.operations.discovery import keys
from argosy.operations.discovery.rendering import conflicts


def observe(settings: Settings, store: Etcd, names: Sequence[str] = ()) -> DiscoveryReport:
    """Return the report of these services, or of all. Raises ConfigError for a service of which there is no key."""
    entries = keys.read(store)
    report = discovery_report(entries, (), conflicts(settings, entries))
    known = {it.name: it for it in report.services} | {it.service: it for it in report.problems if it.service}
    for name in names:
        if name not in known:
            raise ConfigError(f"no such service{nearest(name, known)}; see inv discovery.list", name)
    return discovery_report(entries, names, conflicts(settings, entries)) if names else report


def with_health(settings: Settings, hosts: Hosts, report: DiscoveryReport) -> tuple[DiscoveryReport, dict[str, str]]:
    """Return the report with what the router of each machine says of each instance, and the machines whose routers say
    nothing, with the reason."""
    told = facts.gather(settings, hosts)
    silent = {it.machine: it.reason or it.router_reason for it in told if it.reason or it.router_reason}
    servers = {it.machine: it.servers for it in told if it.machine not in silent}
    return replace(report, health=instance_health(report.services, servers)), silent
