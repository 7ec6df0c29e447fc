"""See what discovery knows, and what becomes of it, live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from typing import NoReturn

from argosy.clock import retry_for
from argosy.cluster.opening import OpenCluster
from argosy.discovery import keys
from argosy.discovery.differences import ServiceChange, service_changes
from argosy.discovery.rendering import conflicts
from argosy.discovery.report import DiscoveryReport, Servers, discovery_report, instance_health
from argosy.errors import ConfigError, EtcdError, nearest
from argosy.etcd.values import EventKind
from argosy.machine import asking
from argosy.schema import SERVICES, Catalog

Show = Callable[[int, ServiceChange], None]
"""Is called with the revision of each change, and the change."""


def observe(cluster: OpenCluster, names: Sequence[str] = (), *, health: bool = False) -> DiscoveryReport:
    """Return the report of these services, or of all. Raises ConfigError for a service of which there is no key.

    `health`: with what the router of each machine says of each instance; which of them say nothing is reported.
    """
    entries = keys.read(cluster.store)
    problems = conflicts(cluster.settings, entries)
    found = discovery_report(entries, (), problems)
    known = {service.name: service for service in found.services} | {
        problem.service: problem for problem in found.problems if problem.service
    }
    for name in names:
        if name not in known:
            raise ConfigError(f"no such service{nearest(name, known)}; see inv discovery.list", name)
    if names:
        found = discovery_report(entries, names, problems)
    return replace(found, health=instance_health(found.services, router_servers(cluster))) if health else found


def router_servers(cluster: OpenCluster) -> dict[str, Servers]:
    """Return what each machine's router has; which of them say nothing is reported."""
    found = {}
    for facts in asking.gather(cluster.settings, cluster.hosts):
        if facts.reason or facts.router_reason:
            cluster.report(facts.machine, f"its router was not asked: {facts.reason or facts.router_reason}")
        else:
            found[facts.machine] = facts.servers
    return found


def follow(cluster: OpenCluster, names: Sequence[str], show: Show) -> NoReturn:
    """Show every change of these services (of all when none is named) from now on; ends by an exception, as of Ctrl-C.

    Outlives members, and all of etcd for a while: then what changed meanwhile is shown as one step. Raises EtcdError
    only when etcd does not answer at first.
    """
    store, report = cluster.store, cluster.report
    listing = store.get_prefix(SERVICES)
    catalog = Catalog(listing.entries)
    seen = catalog.directory()
    report("discovery", f"watching {len(seen.services)} services from revision {listing.revision} on")

    def tell(revision: int) -> None:
        nonlocal seen
        before, seen = seen, catalog.directory()
        for change in service_changes(before, seen, names):
            show(revision, change)

    def watch(revision: int) -> None:
        with store.watch(SERVICES, revision) as changes:
            for change in changes:
                put = [event.entry for event in change.events if event.kind is EventKind.PUT]
                deleted = [event.entry.key for event in change.events if event.kind is EventKind.DELETE]
                catalog.apply(put, deleted)
                tell(change.revision)

    while True:
        try:
            watch(listing.revision + 1)
        except EtcdError as error:
            report("discovery", f"{error}; waiting for it")
            # Said once already; it may take hours.
            listing = retry_for(
                inf, lambda: store.get_prefix(SERVICES), lambda raised: isinstance(raised, EtcdError), every=1
            )
            report("discovery", f"continuing from revision {listing.revision}")
            catalog.replace(listing.entries)
            tell(listing.revision)
