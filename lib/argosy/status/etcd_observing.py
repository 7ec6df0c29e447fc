"""See what etcd says of a cluster: as much as can be had, and why it is not all."""

from __future__ import annotations

from collections.abc import Sequence

from argosy import etcd
from argosy.config.loading import Settings
from argosy.discovery import keys
from argosy.discovery.rendering import conflicts
from argosy.discovery.report import discovery_report, newest_revision
from argosy.discovery.routers import follow_up
from argosy.errors import ArgosyError
from argosy.etcd import Entry
from argosy.etcd.alarms import reason_of
from argosy.model import Machine
from argosy.schema import MACHINES, ROUTERS, parse_directory
from argosy.ssh.host import Hosts
from argosy.status.report import EtcdObserved


def observe_etcd(settings: Settings, machines: Sequence[Machine], hosts: Hosts | None = None) -> EtcdObserved:
    """Return what the etcd of `machines` says; nothing of it raises."""
    try:
        with etcd.connect(settings, machines, hosts) as store:
            return _observe(settings, store)
    except ArgosyError as error:
        return EtcdObserved(reason=str(error))


def _observe(settings: Settings, store: etcd.Etcd) -> EtcdObserved:
    statuses = store.statuses()
    reasons = {name: status.reason for name, status in statuses.items() if status.reason}
    if not any(status.reachable for status in statuses.values()):
        told = "; ".join(f"{name}: {reason}" for name, reason in sorted(reasons.items()))
        return EtcdObserved(reason=f"etcd does not answer on any machine ({told})", member_reasons=reasons)
    # A member that is there and does not read may be about to elect a leader: it is asked once more.
    electing = any(status.reachable and not status.healthy for status in statuses.values())
    members = store.members(None if electing else statuses)
    try:
        alarmed = reason_of(store.alarms())
        entries = _entries(settings, store)
    except ArgosyError as error:
        return EtcdObserved(members, reason=str(error), member_reasons=reasons)
    records = parse_directory(entry for entry in entries if entry.key.startswith(MACHINES)).machines
    found = discovery_report(entries, (), conflicts(settings, entries)) if settings.discovery.enabled else None
    return EtcdObserved(members, records, alarmed, member_reasons=reasons, discovery=found)


def _entries(settings: Settings, store: etcd.Etcd) -> list[Entry]:
    """Return the entries that a status is made of; routers that are about to apply them are waited for."""
    if not settings.discovery.enabled:
        return keys.read(store, (MACHINES,))
    entries = keys.read(store)
    follow_up(store, newest_revision(entries))
    routers = keys.read(store, (ROUTERS,))
    return [entry for entry in entries if not entry.key.startswith(ROUTERS)] + routers
