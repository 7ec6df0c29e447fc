"""The machines of a cluster, as a rotation sees and changes them: through ssh, and etcd."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from operator import not_

from argosy.clock import wait_until
from argosy.cluster.opening import OpenCluster
from argosy.config.loading import Settings
from argosy.errors import Unhealthy
from argosy.etcd.quorum import Cluster, cluster_of
from argosy.fanout import joined
from argosy.membership.etcd_upgrading import give_way
from argosy.order import start_order
from argosy.pki import authority
from argosy.rendering.service_unit import unit_name
from argosy.rotation.plan import Act, Action, ObservedMachine
from argosy.secrets import upload
from argosy.secrets import uses as secret_uses
from argosy.secrets.transfer import plan_changes
from argosy.secrets.value import Secret
from argosy.ssh.host import Host
from argosy.status import observing


class RemoteMachines:
    """`files`: all secrets of each machine. Made anew for each phase, which has other files."""

    def __init__(self, cluster: OpenCluster, files: Mapping[str, Mapping[str, Secret]]) -> None:
        self._cluster = cluster
        self._settings = cluster.settings
        self._hosts = cluster.hosts
        self._store = cluster.store
        self._files = files
        self._report = cluster.report
        self._machines = [host.machine for host in cluster.hosts]
        self.authority = sha256(authority.authority_path(cluster.settings.secrets_path).read_bytes()).hexdigest()

    def look(self) -> Sequence[ObservedMachine]:
        cluster = self._members()
        troubles = problems_by_machine(observing.observe(self._settings, self._hosts).problems(), self._names())
        found = joined(
            self._hosts.each(lambda host: self._look(host, cluster, troubles.get(host.name, "")), what="Looking")
        )
        return list(found.values())

    def look_at(self, name: str) -> ObservedMachine:
        return self._look(self._hosts[name], self._members(), "")

    def do(self, name: str, action: Action) -> None:
        host, system = self._hosts[name], self._settings.system
        match action.act:
            case Act.UPLOAD:
                upload.bring(host, self._settings, self._files[name], self._report)
            case Act.TRUST_REGISTRY:
                host.run(secret_uses.trust_registry(system, registries(self._settings)), sudo=True)
            case Act.RESTART_ETCD:
                give_way(self._cluster, self._members(), name)
                host.run(secret_uses.restart_etcd(system), sudo=True)
            case Act.RESTART:
                host.run(secret_uses.restart(unit_name(system, action.what[0])), sudo=True)

    def wait_until_well(self, names: Collection[str]) -> None:
        others = [name for name in self._names() if name not in names]
        seconds = self._settings.rollout.check_seconds

        def problems() -> list[str]:
            found = observing.observe(self._settings, self._hosts).problems()
            return [line for line in found if not line.startswith(tuple(f"{name}: " for name in others))]

        if found := wait_until(problems, seconds, done=not_, every=1):
            raise Unhealthy(
                f"not healthy after {seconds:g} s: {'; '.join(found)}; machines that were not named yet are as they "
                "were. Run the same command to resume"
            )

    def _look(self, host: Host, cluster: Cluster, trouble: str) -> ObservedMachine:
        hashes = {name: file.sha256 for name, file in self._files[host.name].items()}
        changes = plan_changes(hashes, upload.observe(host, self._settings))
        used = look_at_uses(host, self._settings)
        return ObservedMachine(
            host.name,
            tuple(change.name for change in changes),
            tuple(used.stale),
            used.trusts,
            cluster.member(host.name) is not None,
            any(name != self.authority for name in used.registry),
            trouble,
        )

    def _members(self) -> Cluster:
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
