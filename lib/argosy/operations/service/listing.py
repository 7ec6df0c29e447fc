"""See scheduled services: all of them, or one with its instances."""

from __future__ import annotations

from argosy.discovery_report import discovery_report, instance_health
from argosy.errors import ConfigError, nearest
from argosy.operations import facts
from argosy.operations.service.work import Work
from argosy.scheduled_report import ServicesReport


def observe(work: Work, *, health: bool = False) -> ServicesReport:
    """Return what is seen. `health`: ask every machine's router, too; which of them say nothing is reported."""
    fleet = work.look()
    report = ServicesReport(fleet, work.settings.scheduled)
    if not health or work.hosts is None:
        return report
    told = facts.gather(work.settings, work.hosts)
    for it in told:
        if it.reason or it.router_reason:
            work.report(it.machine, f"its router was not asked: {it.reason or it.router_reason}")
    servers = {it.machine: it.servers for it in told if not (it.reason or it.router_reason)}
    found = instance_health(discovery_report(fleet.entries).services, servers)
    return ServicesReport(fleet, work.settings.scheduled, {instance: it for (_, instance), it in found.items()})


def required(report: ServicesReport, name: str) -> str:
    """Return the name. Raises ConfigError for a service that nobody knows."""
    if name not in report.names:
        known = dict.fromkeys(report.names)
        raise ConfigError(f"no scheduled service{nearest(name, known)}; known: {', '.join(known) or 'none'}", name)
    return name
