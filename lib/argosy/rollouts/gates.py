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
from argosy.operations.clock import Clock
from argosy.rollout_record import Release
from argosy.schema import ROUTERS, SERVICES, instance_key

AGAIN_SECONDS = 2.0
"""For registrations that don't come, before the machine is asked once more what there should be."""
FRESH_SECONDS = 10.0
"""How old what a machine told may be, for who only wants to know which instances it has."""


class Gates:
    """Asks, and changes nothing. Every call returns check -> reason, which is empty for what passes."""

    def __init__(self, settings: Settings, store: Etcd, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._told: dict[str, tuple[float, MachineFacts]] = {}

    def of_machine(self, host: Host, release: Release) -> dict[str, str]:
        """Return the checks of a machine that may be out of service: it runs the release, and its services are well."""
        told = facts.ask(self._settings, (), host)
        self._told[host.name] = self._clock.elapsed(), told
        members = cluster_of([host.machine], self._store.members())
        routers = applied_revisions(self._store.get_prefix(ROUTERS).entries)
        found = {**machine_gates(told, release), **member_gate(members.member(host.name))}
        return found | (router_gates(host.name, told, routers) if self._settings.discovery.enabled else {})

    def of_service(self, host: Host) -> Callable[[], dict[str, str]]:
        """Return what tells the checks of a machine that comes back into service: all its instances are known to every
        live router. Which ones there are the machine has just told, or is asked; again when they don't come."""
        asked = self._clock.elapsed()
        at, told = self._told.pop(host.name, (asked, None))
        if asked - at > FRESH_SECONDS:
            told = None

        def look() -> dict[str, str]:
            nonlocal asked, told
            if told is None or told.reason or self._clock.elapsed() - asked >= AGAIN_SECONDS:
                told, asked = facts.ask(self._settings, (), host), self._clock.elapsed()
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
