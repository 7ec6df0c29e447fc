"""A new etcd cluster out of a snapshot: every member is given the same data, and they begin anew together.

As etcd documents it (https://etcd.io/docs/v3.4/op-guide/recovery/#restoring-a-cluster): all members restore the same
file, with the same list of members and a token that no cluster had before, so that whoever is left of the old one is
not taken for one of them. What was there is set aside on each machine. Killed at any moment, it is simply run again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from argosy import etcd
from argosy.clock import retry_for
from argosy.cluster.opening import OpenCluster
from argosy.errors import EtcdError, HostUnreachable
from argosy.etcd.snapshots import Snapshot
from argosy.fanout import joined
from argosy.membership import endpoints, etcd_scripts
from argosy.model import Machine
from argosy.ssh.host import Host

HEALTHY_SECONDS = 60.0
UNPACKED_FACTOR = 3
"""The file, what is made of it, and the log that begins anew."""
UPLOADS_AT_ONCE = 4
MEGABYTE = 1024 * 1024
ASIDE = "of-the-old-cluster"


@dataclass(frozen=True, slots=True)
class Rebuilding:
    """`members` are the new cluster; `others`: machines whose etcd, if they run one, must not continue the old one."""

    cluster: OpenCluster
    snapshot: Snapshot
    members: Sequence[Machine]
    others: Sequence[Machine]

    def run(self) -> None:
        """Do it. Raises HostsFailed, before anything is stopped when a member lacks something, and EtcdError when the
        new cluster does not answer."""
        settings, hosts = self.cluster.settings, self.cluster.hosts
        system, machines = settings.system, [*self.members, *self.others]
        token = f"{system}-{settings.cluster}-{secrets.token_hex(4)}"
        megabytes = UNPACKED_FACTOR * self.snapshot.size_bytes // MEGABYTE + 1
        self._on_members("Preparing", lambda host: host.run(etcd_scripts.prepare(system, megabytes), sudo=True))
        self._on_members("Copying the snapshot", self._upload, UPLOADS_AT_ONCE)
        self._say("etcd", f"stopping it on {self._names(machines)}")
        self._on_members("Stopping etcd", lambda host: host.run(etcd_scripts.stop_etcd(system), sudo=True))
        joined(hosts.each(self._stop_other, self.others, what="Stopping etcd"))
        self._say("etcd", f"restoring {self.snapshot.path.name} on {self._names(self.members)}")
        self._on_members("Restoring etcd's data", lambda host: self._restore(host, token))
        self._on_members("Starting etcd", lambda host: host.run(etcd_scripts.use_restored(system, ASIDE), sudo=True))
        self._wait_until_healthy()
        endpoints.tell(self.cluster, machines, self.members)
        # One after the other; the routers serve on meanwhile.
        joined(hosts.each(self._restart_agent, machines, max_parallel=1, what="Restarting the agents"))

    def _upload(self, host: Host) -> None:
        host.put(self.snapshot.path, etcd_scripts.snapshot_path(self._system), mode=0o600, sudo=True)

    def _restore(self, host: Host, token: str) -> None:
        cluster = ",".join(f"{member.name}={self._peer_url(member)}" for member in self.members)
        script = etcd_scripts.restore(self._system, host.name, cluster, token, self._peer_url(host.machine))
        host.run(script, sudo=True)

    def _peer_url(self, machine: Machine) -> str:
        return f"https://{machine.address}:{self.cluster.settings.etcd.peer_port}"

    def _stop_other(self, host: Host) -> None:
        try:
            host.run(etcd_scripts.stop_etcd(self._system), sudo=True)
            host.run(etcd_scripts.set_aside(self._system, ASIDE), sudo=True)
        except HostUnreachable as error:
            self._say(host.name, f"not reached: should its etcd run, it belongs to no cluster any more ({error})")

    def _restart_agent(self, host: Host) -> None:
        try:
            host.run(etcd_scripts.restart_agent(self._system), sudo=True)
        except HostUnreachable as error:
            self._say(host.name, f"its agent was not restarted: {error}")

    def _wait_until_healthy(self) -> None:
        began = time.monotonic()
        with etcd.connect(self.cluster.settings, self.members, self.cluster.hosts) as store:
            revision = retry_for(HEALTHY_SECONDS, store.health, lambda error: isinstance(error, EtcdError))
        self._say("etcd", f"healthy after {time.monotonic() - began:.1f} s, at revision {revision}")

    def _on_members(self, what: str, function: Callable[[Host], object], max_parallel: int | None = None) -> None:
        joined(self.cluster.hosts.each(function, self.members, max_parallel, what))

    def _say(self, subject: str, message: str) -> None:
        self.cluster.report(subject, message)

    @property
    def _system(self) -> str:
        return self.cluster.settings.system

    @staticmethod
    def _names(machines: Sequence[Machine]) -> str:
        return ", ".join(machine.name for machine in machines)
