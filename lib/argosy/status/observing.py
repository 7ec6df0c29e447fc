"""See a cluster as it is: its machines, etcd and Swarm asked at the same time, in bounded time, changing nothing.

What only the answers of etcd and Swarm take is imported where these are asked: it is a tenth of a second, in which the
machines answer already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from argosy.config.loading import Settings
from argosy.fanout import fan_out, joined
from argosy.machine import asking
from argosy.model import Machine
from argosy.ssh.host import Hosts

if TYPE_CHECKING:
    from argosy.status.report import ClusterStatus, EtcdObserved
    from argosy.swarm.observed import ObservedSwarm
    from argosy.swarm.report import SwarmReport


def observe(settings: Settings, hosts: Hosts) -> ClusterStatus:
    """Return the status of all machines of `hosts`, of their etcd and of their Swarm.

    What can't be reached is part of the answer, with the reason; nothing of it raises.
    """
    machines = [host.machine for host in hosts]
    looks: dict[str, Callable[[], Any]] = {
        "machines": partial(asking.statuses, settings, hosts),
        "etcd": partial(_look_at_etcd, settings, machines, hosts),
    }
    if settings.swarm.enabled:
        looks["swarm"] = partial(_look_at_swarm, settings, hosts)
    found = joined(fan_out(looks, lambda look: look(), max_parallel=len(looks), what="Status", cancel=hosts.cancel))

    from argosy.status.report import cluster_status

    swarm = _swarm(found["swarm"], found["etcd"]) if "swarm" in found else None
    return cluster_status(settings.cluster, settings.system, machines, found["machines"], found["etcd"], swarm)


def _look_at_etcd(settings: Settings, machines: Sequence[Machine], hosts: Hosts) -> EtcdObserved:
    from argosy.status.etcd_observing import observe_etcd

    return observe_etcd(settings, machines, hosts)


def _look_at_swarm(settings: Settings, hosts: Hosts) -> ObservedSwarm:
    from argosy.swarm.observing import observe as observe_swarm

    return observe_swarm(settings, hosts, ())


def _swarm(observed: ObservedSwarm, store: EtcdObserved) -> SwarmReport | None:
    """Return how the Swarm is; None while it is not known who votes in etcd, and so who must manage it."""
    from argosy.swarm.observing import voters
    from argosy.swarm.report import swarm_report

    if not store.members:
        return None
    states = {name: record.state for name, record in store.records.items()}
    return swarm_report(replace(observed, voters=voters(observed.machines, store.members)), states)
