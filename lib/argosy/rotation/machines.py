"""The machines of a cluster, as a rotation sees and changes them: through ssh, and etcd."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256

from argosy import pki, secret_uses
from argosy.config import Settings
from argosy.console import Report
from argosy.errors import Unhealthy
from argosy.etcd import Etcd
from argosy.fanout import joined
from argosy.host import Host, Hosts
from argosy.membership import Cluster, Upgrade, cluster_of, plan_membership
from argosy.operations import secrets, status
from argosy.order import start_order
from argosy.rotation import Act, Deed, Seen
from argosy.secret import Secret
from argosy.secret_transfer import plan_changes
from argosy.service_unit import unit_name

POLL_SECONDS = 1.0
LEAD_SECONDS = 10.0


class RemoteMachines:
    """`files`: all secrets of each machine. Made anew for each phase, which has other files."""

    def __init__(
        self, settings: Settings, hosts: Hosts, store: Etcd, files: Mapping[str, Mapping[str, Secret]], report: Report
    ) -> None:
        self._settings = settings
        self._hosts = hosts
        self._store = store
        self._files = files
        self._report = report
        self._machines = [host.machine for host in hosts]
        self.authority = sha256(pki.authority_path(settings.secrets_path).read_bytes()).hexdigest()

    def look(self) -> Sequence[Seen]:
        cluster = self._cluster()
        troubles = problems_by_machine(status.observe(self._settings, self._hosts).problems(), self._names())
        found = joined(
            self._hosts.each(lambda host: self._look(host, cluster, troubles.get(host.name, "")), what="Looking")
        )
        return list(found.values())

    def look_at(self, name: str) -> Seen:
        return self._look(self._hosts[name], self._cluster(), "")

    def do(self, name: str, deed: Deed) -> None:
        host, system = self._hosts[name], self._settings.system
        match deed.act:
            case Act.UPLOAD:
                secrets.bring(host, self._settings, self._files[name], self._report)
            case Act.TRUST_REGISTRY:
                host.run(secret_uses.trust_registry(system, registries(self._settings)), sudo=True)
            case Act.RESTART_ETCD:
                self._give_way(name)
                host.run(secret_uses.restart_etcd(system), sudo=True)
            case Act.RESTART:
                host.run(secret_uses.restart(unit_name(system, deed.what[0])), sudo=True)

    def wait_until_well(self, names: Collection[str]) -> None:
        others = [name for name in self._names() if name not in names]
        deadline = time.monotonic() + self._settings.rollout.check_seconds
        while True:
            found = status.observe(self._settings, self._hosts).problems()
            problems = [line for line in found if not line.startswith(tuple(f"{name}: " for name in others))]
            if not problems:
                return
            if time.monotonic() >= deadline:
                raise Unhealthy(
                    f"not well after {self._settings.rollout.check_seconds:g} s: {'; '.join(problems)}; machines that "
                    "were not named yet are as they were. The same command again goes on"
                )
            threading.Event().wait(POLL_SECONDS)

    def _look(self, host: Host, cluster: Cluster, trouble: str) -> Seen:
        hashes = {name: it.sha256 for name, it in self._files[host.name].items()}
        changes = plan_changes(hashes, secrets.observe(host, self._settings))
        used = look_at_uses(host, self._settings)
        return Seen(
            host.name,
            tuple(change.name for change in changes),
            tuple(used.stale),
            used.trusts,
            cluster.member(host.name) is not None,
            any(it != self.authority for it in used.registry),
            trouble,
        )

    def _give_way(self, name: str) -> None:
        """Let another member lead. Raises QuorumAtRisk when etcd could not bear that the machine's member is away."""
        cluster = self._cluster()
        plan_membership(cluster, Upgrade((name,)), self._settings.etcd.max_members)
        own = cluster.member(name)
        others = [it for it in cluster.voters if it.healthy and it.name != name]
        if own is not None and own.leader and others:
            self._store.move_leader(others[0].id, seconds=LEAD_SECONDS)

    def _cluster(self) -> Cluster:
        return cluster_of(self._machines, self._store.members())

    def _names(self) -> list[str]:
        return [machine.name for machine in self._machines]


def registries(settings: Settings) -> list[str]:
    """Return the names by which machines know the cluster's registry."""
    return [name for name in (settings.registry.address, settings.discovered_registry) if name]


def uses(settings: Settings) -> dict[str, list[str]]:
    """Return the secrets of each service that has some, services in the order of their starts."""
    order = start_order({name: entry.requires for name, entry in settings.services.items()})
    return {name: settings.services[name].secrets for name in order if settings.services[name].secrets}


def look_at_uses(host: Host, settings: Settings) -> secret_uses.Used:
    """Return what on the machine uses which secrets."""
    script = secret_uses.look(settings.system, registries(settings), uses(settings))
    return secret_uses.parse_used(host.run(script, sudo=True).stdout)


def problems_by_machine(lines: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Return which machines the lines of a status speak of, with the first line of each."""
    found: dict[str, str] = {}
    for line in lines:
        name, colon, reason = line.partition(": ")
        if colon and name in names:
            found.setdefault(name, reason)
    return found
