"""The machine that cluster tasks enter through: chosen once, kept, replaced when it is gone."""

from __future__ import annotations

from collections.abc import Sequence

from argosy.config.loading import Settings
from argosy.errors import ConfigError, Refused
from argosy.gce import pinning
from argosy.gce import record as gce_record
from argosy.gce.compute.client import Compute
from argosy.gce.listing import Listed, servers_of
from argosy.gce.observing import observe
from argosy.report import Report


def candidates(settings: Settings, servers: Sequence[Listed]) -> list[Listed]:
    """Return the machines of the cluster that can be entered through: running, with an external address."""
    types = {name for name, type_ in settings.gce.types.items() if type_.cluster}
    return [server for server in servers if server.type in types and server.running and server.external]


def choose(settings: Settings, servers: Sequence[Listed], wanted: str = "") -> Listed | None:
    """Return `wanted`, else the one that is kept while it can be entered through, else the first that can."""
    able = {candidate.name: candidate for candidate in candidates(settings, servers)}
    if wanted and wanted not in able:
        known = ", ".join(able) or "none is"
        raise ConfigError(f"not a running core machine with an external address; such are: {known}", wanted)
    kept = gce_record.load(settings).entry_node
    return able.get(wanted) or able.get(kept) or next(iter(able.values()), None)


def keep(settings: Settings, servers: Sequence[Listed], report: Report, wanted: str = "") -> Listed | None:
    """Choose the entry node and remember it. Idempotent; says so when it is another than before."""
    chosen = choose(settings, servers, wanted)
    name = chosen.name if chosen else ""
    if name != gce_record.load(settings).entry_node:
        with gce_record.changing(settings) as record:
            record.entry_node = name
        report("entry node", name or "none is left")
    return chosen


def entry_node(settings: Settings, report: Report, wanted: str = "", *, dry_run: bool = False) -> Listed:
    """Return the entry node, as `choose` and `keep` do. Raises Refused when there is none to be had."""
    with Compute.opened(settings) as compute:
        servers = servers_of(settings, observe(compute, settings, ("instances",)))
        chosen = choose(settings, servers, wanted)
        if chosen is None:
            raise Refused("no core machine runs that has an external address: inv gce.create core NAME")
        if not dry_run:
            pinning.pin_all(compute, settings, [chosen], report)
            keep(settings, servers, report, wanted)
        return chosen
