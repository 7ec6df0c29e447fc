"""What must hold of a machine before a rollout continues: each a check by its name, and why it does not pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from argosy.clock import Clock
from argosy.cluster.release import Release
from argosy.config.loading import Settings
from argosy.discovery.report import applied_revisions
from argosy.etcd import Entry, Etcd
from argosy.etcd.quorum import cluster_of
from argosy.machine import asking
from argosy.machine.facts import MachineFacts
from argosy.schema import ROUTERS, SERVICES, instance_key
from argosy.ssh.host import Host

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
        told = asking.ask(self._settings, (), host)
        self._told[host.name] = self._clock.elapsed(), told
        members = cluster_of([host.machine], self._store.members())
        routers = applied_revisions(self._store.get_prefix(ROUTERS).entries)
        gates = machine_gates(told, release)
        if member := members.member(host.name):
            gates["etcd"] = "" if member.healthy else "its member is not healthy"
        if self._settings.discovery.enabled and not told.reason:
            silent = "" if host.name in routers else "its agent does not tell what its router has applied"
            gates["router"] = told.router_reason or silent
        return gates

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
                told, asked = asking.ask(self._settings, (), host), self._clock.elapsed()
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
        differs = service.digest not in ("", service.release_digest)
        wrong = f"it runs {service.digest[:19]}, not what the release has" if differs else ""
        gates[name] = service.problem or wrong
    return gates


def instance_gates(told: MachineFacts, entries: Iterable[Entry], applied: Mapping[str, int]) -> dict[str, str]:
    """Return the checks of the machine's instances: registered, and applied by every live router. Pure."""
    if told.reason:
        return {"host": told.reason}
    present = {entry.key: entry.mod_revision for entry in entries}
    gates = {"host": ""}
    for labelled in told.labelled:
        revision = present.get(instance_key(labelled.service, labelled.instance))
        behind = [name for name, at in applied.items() if revision and at < revision]
        if revision is None:
            reason = labelled.reason or labelled.unwell or "not registered"
        else:
            reason = f"not yet applied by the router of {', '.join(behind)}" if behind else ""
        gates[f"instance {labelled.service}"] = reason
    return gates
