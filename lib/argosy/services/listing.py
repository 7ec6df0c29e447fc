"""See scheduled services: all of them, or one with its instances."""

from __future__ import annotations

from argosy.discovery.observing import router_servers
from argosy.discovery.report import discovery_report, instance_health
from argosy.services.report import ServicesReport
from argosy.services.work import ServicesCluster


def observe(work: ServicesCluster, *, health: bool = False) -> ServicesReport:
    """Return what is seen. `health`: ask every machine's router, too; which of them say nothing is reported."""
    state = work.look()
    if not health:
        return ServicesReport(state, work.settings.scheduled)
    told = instance_health(discovery_report(state.entries).services, router_servers(work))
    return ServicesReport(state, work.settings.scheduled, {instance: found for (_, instance), found in told.items()})
