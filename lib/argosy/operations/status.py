"""See a cluster as it is: every machine and etcd asked at the same time, in bounded time, changing nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from argosy import etcd
from argosy.cluster_status import ClusterStatus, MachineRecord, Seen, Store, cluster_status, parse_record, parse_report
from argosy.config import Settings
from argosy.discovery_report import discovery_report, newest_revision
from argosy.errors import ArgosyError, HostUnreachable
from argosy.etcd import Entry
from argosy.fanout import Outcome
from argosy.host import Host, Hosts
from argosy.machine_files import Names
from argosy.model import Machine
from argosy.operations.discovery import keys
from argosy.operations.discovery.rendering import conflicts
from argosy.operations.discovery.routers import follow_up
from argosy.operations.swarm.observing import observe as observe_swarm
from argosy.operations.swarm.observing import voters
from argosy.schema import MACHINES, ROUTERS
from argosy.swarm_report import SwarmReport, swarm_report

STATUS_SECONDS = 30.0
"""How long a machine may take to tell: its checks have deadlines of their own, mostly of 5 s."""


def observe(settings: Settings, hosts: Hosts) -> ClusterStatus:
    """Return the status of all machines of `hosts` and of their etcd.

    What can't be reached is part of the answer, with the reason; nothing of it raises.
    """
    machines = [host.machine for host in hosts]
    with ThreadPoolExecutor(1, thread_name_prefix="etcd-status") as pool:
        store = pool.submit(observe_store, settings, machines, hosts)
        outcomes = hosts.each(partial(_ask, settings), what="Status")
        seen = {name: _seen(name, outcome) for name, outcome in outcomes.items()}
        known = store.result()
        swarm = _swarm(settings, hosts, seen, known) if settings.swarm.enabled else None
        return cluster_status(settings.cluster, settings.system, machines, seen, known, swarm)


def _swarm(settings: Settings, hosts: Hosts, seen: Mapping[str, Seen], store: Store) -> SwarmReport | None:
    """Return how the Swarm is; None while it is not known who votes in etcd, and so who shall manage it."""
    if not store.members:
        return None
    voting = voters([host.machine for host in hosts], store.members)
    silent = {name: it.reason for name, it in seen.items() if not it.reached}
    states = {name: record.state for name, record in store.records.items()}
    return swarm_report(observe_swarm(settings, hosts, voting, silent), states)


def observe_store(settings: Settings, machines: Sequence[Machine], hosts: Hosts | None = None) -> Store:
    """Return what etcd says: as much as can be had, and why it is not all."""
    try:
        with etcd.connect(settings, machines, hosts) as store:
            return _observe_store(settings, store)
    except ArgosyError as error:
        return Store(reason=str(error))


def _observe_store(settings: Settings, store: etcd.Etcd) -> Store:
    statuses = store.statuses()
    reasons = {name: status.reason for name, status in statuses.items() if status.reason}
    if not any(status.reachable for status in statuses.values()):
        told = "; ".join(f"{name}: {reason}" for name, reason in sorted(reasons.items()))
        return Store(reason=f"etcd does not answer on any machine ({told})", member_reasons=reasons)
    members = store.members()
    try:
        entries = _entries(settings, store)
    except ArgosyError as error:
        return Store(members, reason=str(error), member_reasons=reasons)
    records = {it.key.removeprefix(MACHINES): _record(it.value) for it in entries if it.key.startswith(MACHINES)}
    found = discovery_report(entries, (), conflicts(settings, entries)) if settings.discovery.enabled else None
    return Store(members, {name: it for name, it in records.items() if it}, member_reasons=reasons, discovery=found)


def _entries(settings: Settings, store: etcd.Etcd) -> list[Entry]:
    """Return the entries that a status is made of; routers that are about to apply them are waited for."""
    if not settings.discovery.enabled:
        return keys.read(store, (MACHINES,))
    entries = keys.read(store)
    follow_up(store, newest_revision(entries))
    routers = keys.read(store, (ROUTERS,))
    return [it for it in entries if not it.key.startswith(ROUTERS)] + routers


def _record(value: str) -> MachineRecord | None:
    try:
        return parse_record(value)
    except ValueError:
        # Not ours to repair: the machine then stands there as one without a record.
        return None


def _ask(settings: Settings, host: Host) -> Seen:
    program = f"{Names(settings.system).programs}/{settings.system}"
    result = host.run([program, "status", "--json"], sudo=True, check=False, timeout_seconds=STATUS_SECONDS)
    lines = result.stdout.strip().splitlines()
    try:
        return Seen(parse_report(lines[-1] if lines else ""), reached=True)
    except ValueError as error:
        words = result.stderr.strip().rpartition("\n")[2] or str(error)
        return Seen(reason=f"{program} status ended with {result.code}: {words}", reached=True)


def _seen(name: str, outcome: Outcome[Seen]) -> Seen:
    if outcome.error is None:
        return outcome.get()
    reason = str(outcome.error).removeprefix(f"{name}: ")
    return Seen(reason=reason, reached=not isinstance(outcome.error, HostUnreachable))
