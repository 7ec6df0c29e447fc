"""Prove that every machine runs, and every router reaches, what the release and etcd say. Changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from argosy import etcd
from argosy.cluster.opening import OpenCluster
from argosy.config.dns import REVERSE_NAME
from argosy.config.loading import Settings
from argosy.discovery import keys
from argosy.discovery.rendering import router_options
from argosy.discovery.report import newest_revision
from argosy.discovery.routers import follow_up
from argosy.errors import DeadlineExceeded, EngineError, HostUnreachable, Refused
from argosy.etcd import Etcd
from argosy.machine import asking
from argosy.report import Report
from argosy.routing.plan import plan_routing
from argosy.schema import Directory, MachineRecord, parse_directory
from argosy.services.record import PREFIX
from argosy.services.work import working
from argosy.ssh.host import Hosts
from argosy.status.scheduled import scheduled_chains, unknown_chains
from argosy.status.verification import Chain, Verification, alarm_chains, verify

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
    found = asking.gather(settings, hosts, names)
    routing = plan_routing(directory, router_options(settings, MachineRecord("")))
    domain = settings.discovery.domain if settings.discovery.enabled else ""
    cluster = settings.system, settings.cluster
    verified = verify(cluster, domain, newest_revision(entries), found, directory, routing)
    chains = _with_scheduled(settings, hosts, store, verified.chains)
    return replace(verified, chains=(*alarm_chains(store.alarms()), *chains))


def _with_scheduled(settings: Settings, hosts: Hosts, store: Etcd, chains: Sequence[Chain]) -> tuple[Chain, ...]:
    """Return the chains with what is wanted of scheduled services, if there are any."""
    names = [entry.key.removeprefix(PREFIX) for entry in store.get_prefix(PREFIX).entries]
    if not settings.swarm.enabled or not names:
        return tuple(chains)
    try:
        with working(OpenCluster(settings, hosts=hosts, store=store)) as work:
            return scheduled_chains(work.look(), chains)
    except (Refused, HostUnreachable, EngineError, DeadlineExceeded) as error:
        return (*chains, *unknown_chains(names, str(error)))


def _names(settings: Settings, directory: Directory) -> list[str]:
    """Return the host names that each machine is asked for: every service's, and the resolver's own."""
    if not settings.discovery.enabled:
        return []
    services = [name for name, service in sorted(directory.services.items()) if service.scheme is not None]
    return [f"{name}.{settings.discovery.domain}" for name in (REVERSE_NAME, *services)]
