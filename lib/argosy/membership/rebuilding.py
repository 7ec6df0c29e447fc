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

import tenacity

from argosy import etcd, machine_etcd
from argosy.config import Settings
from argosy.console import Report
from argosy.errors import EtcdError, HostUnreachable
from argosy.etcd.snapshots import Snapshot
from argosy.host import Host, Hosts, joined
from argosy.model import Machine
from argosy.operations.membership import endpoints

HEALTHY_SECONDS = 60.0
POLL_SECONDS = 0.5
UNPACKED_FACTOR = 3
"""The file, what is made of it, and the log that begins anew."""
UPLOADS_AT_ONCE = 4
MEGABYTE = 1024 * 1024
ASIDE = "of-the-old-cluster"


@dataclass(frozen=True, slots=True)
class Rebuilding:
    """`members` are the new cluster; `others`: machines whose etcd, if they run one, must not go on with the old one;
    `token`: that no cluster had before."""

    settings: Settings
    hosts: Hosts
    snapshot: Snapshot
    members: Sequence[Machine]
    others: Sequence[Machine]
    report: Report
    token: str

    def run(self) -> None:
        """Do it. Raises HostsFailed, before anything is stopped when a member lacks something, and EtcdError when the
        new cluster does not answer."""
        system = self.settings.system
        megabytes = UNPACKED_FACTOR * self.snapshot.size_bytes // MEGABYTE + 1
        self._on_members("Preparing", lambda host: host.run(machine_etcd.prepare(system, megabytes), sudo=True))
        self._on_members("Copying the snapshot", self._upload, UPLOADS_AT_ONCE)
        self._say("etcd", f"stopping it on {self._names([*self.members, *self.others])}")
        self._on_members("Stopping etcd", lambda host: host.run(machine_etcd.stop_etcd(system), sudo=True))
        joined(self.hosts.each(self._stop_other, self.others, what="Stopping etcd"))
        self._say("etcd", f"restoring {self.snapshot.path.name} on {self._names(self.members)}")
        self._on_members("Restoring etcd's data", self._restore)
        self._on_members("Starting etcd", lambda host: host.run(machine_etcd.use_restored(system, ASIDE), sudo=True))
        self._wait_until_healthy()
        self._tell()
        self._restart_agents()

    def _upload(self, host: Host) -> None:
        host.put(self.snapshot.path, machine_etcd.snapshot_path(self.settings.system), mode=0o600, sudo=True)

    def _restore(self, host: Host) -> None:
        cluster = ",".join(f"{it.name}={self._peer_url(it)}" for it in self.members)
        script = machine_etcd.restore(
            self.settings.system, host.name, cluster, self.token, self._peer_url(host.machine)
        )
        host.run(script, sudo=True)

    def _peer_url(self, machine: Machine) -> str:
        return f"https://{machine.address}:{self.settings.etcd.peer_port}"

    def _stop_other(self, host: Host) -> None:
        system = self.settings.system
        try:
            host.run(machine_etcd.stop_etcd(system), sudo=True)
            host.run(machine_etcd.set_aside(system, ASIDE), sudo=True)
        except HostUnreachable as error:
            self._say(host.name, f"not reached: should its etcd run, it belongs to no cluster any more ({error})")

    def _wait_until_healthy(self) -> None:
        began = time.monotonic()
        with etcd.connect(self.settings, self.members, self.hosts) as store:
            for attempt in tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(EtcdError),
                wait=tenacity.wait_fixed(POLL_SECONDS),
                stop=tenacity.stop_after_delay(HEALTHY_SECONDS),
                reraise=True,
            ):
                with attempt:
                    revision = store.health()
        self._say("etcd", f"healthy after {time.monotonic() - began:.1f} s, at revision {revision}")

    def _tell(self) -> None:
        wanted = endpoints.text(self.settings, self.members)
        endpoints.tell(self.hosts, self.settings, [*self.members, *self.others], wanted, self.report)

    def _restart_agents(self) -> None:
        """One after the other; the routers serve on meanwhile."""

        def restart(host: Host) -> None:
            try:
                host.run(machine_etcd.restart_agent(self.settings.system), sudo=True)
            except HostUnreachable as error:
                self._say(host.name, f"its agent was not restarted: {error}")

        machines = [*self.members, *self.others]
        joined(self.hosts.each(restart, machines, max_parallel=1, what="Restarting the agents"))

    def _on_members(self, what: str, function: Callable[[Host], object], max_parallel: int | None = None) -> None:
        joined(self.hosts.each(function, self.members, max_parallel, what))

    def _say(self, subject: str, message: str) -> None:
        self.report(subject, message)

    @staticmethod
    def _names(machines: Sequence[Machine]) -> str:
        return ", ".join(it.name for it in machines)


def new_token(settings: Settings) -> str:
    """Return a token for a cluster of this name that no other had."""
    return f"{settings.system}-{settings.cluster}-{secrets.token_hex(4)}"
