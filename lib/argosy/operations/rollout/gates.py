"""What must hold of a machine before a rollout goes on: each a check by its name, and why it does not pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from argosy.config import Settings
from argosy.discovery_report import applied_revisions
from argosy.etcd import Entry, Etcd
from argosy.host import Host
from argosy.machine_facts import MachineFacts
from argosy.membership import MemberState, cluster_of
from argosy.operations import facts
from argosy.rollout_record import Release
from argosy.schema import ROUTERS, SERVICES, instance_key

LOOKS_AT_ETCD = 20
"""For registrations that don't come, before the machine is asked once more."""


class Gates:
    """Asks, and changes nothing. Every call returns check -> reason, which is empty for what passes."""

    def __init__(self, settings: Settings, store: Etcd) -> None:
        self._settings = settings
        self._store = store

    def of_machine(self, host: Host, release: Release) -> dict[str, str]:
        """Return the checks of a machine that may be out of service: it runs the release, and its services are well."""
        told = facts.ask(self._settings, (), host)
        members = cluster_of([host.machine], self._store.members())
        routers = applied_revisions(self._store.get_prefix(ROUTERS).entries)
        found = {**machine_gates(told, release), **member_gate(members.member(host.name))}
        return found | (router_gates(host.name, told, routers) if self._settings.discovery.enabled else {})

    def of_service(self, host: Host) -> Callable[[], dict[str, str]]:
        """Return what tells the checks of a machine that comes back into service: all its instances are known to every
        live router. Which ones there are the machine is asked once; again only when they don't come."""
        told: MachineFacts | None = None
        looks = 0

        def look() -> dict[str, str]:
            nonlocal told, looks
            if told is None or told.reason or looks % LOOKS_AT_ETCD == 0:
                told = facts.ask(self._settings, (), host)
            looks += 1
            routers = applied_revisions(self._store.get_prefix(ROUTERS).entries)
            return instance_gates(told, self._store.get_prefix(SERVICES).entries, routers)

        return look


def machine_gates(told: MachineFacts, release: Release) -> dict[str, str]:
    """Return the checks of what the machine tells. Pure."""
    if told.reason:
        return {"host": told.reason}
    other = f"it runs {told.release} ({told.image or 'unknown bytes'})"
    gates = {"host": "", "release": "" if told.image == release.image else other}
    for name, service in told.services.items():
        digest = service.status.digest
        wrong = f"it runs {digest[:19]}, not what the release has" if digest and digest != service.pinned else ""
        gates[name] = service.status.problem or wrong
    return gates


def member_gate(member: MemberState | None) -> dict[str, str]:
    """Return the check of the machine's etcd member; none for a client. Pure."""
    if member is None:
        return {}
    return {"etcd": "" if member.healthy else "its member is not healthy"}


def router_gates(name: str, told: MachineFacts, applied: Mapping[str, int]) -> dict[str, str]:
    """Return the check of the machine's own router: it answers, and its agent tells what it has applied. Pure."""
    if told.reason:
        return {}
    silent = "" if name in applied else "its agent does not tell what its router has applied"
    return {"router": told.router_reason or silent}


def instance_gates(told: MachineFacts, entries: Iterable[Entry], applied: Mapping[str, int]) -> dict[str, str]:
    """Return the checks of the machine's instances: registered, and applied by every live router. Pure."""
    if told.reason:
        return {"host": told.reason}
    present = {entry.key: entry.mod_revision for entry in entries}
    gates = {"host": ""}
    for it in told.labelled:
        revision = present.get(instance_key(it.service, it.instance))
        behind = [name for name, at in applied.items() if revision and at < revision]
        if revision is None:
            reason = it.reason or it.unwell or "not registered"
        else:
            reason = f"not yet applied by the router of {', '.join(behind)}" if behind else ""
        gates[f"instance {it.service}"] = reason
    return gates
