"""The routers of a cluster's machines, asked through ssh."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from argosy.config.loading import Settings
from argosy.discovery.report import applied_revisions
from argosy.errors import EngineError
from argosy.etcd.values import Reader
from argosy.paths import Names
from argosy.report import Report
from argosy.routing.haproxy import backend_name
from argosy.schema import ROUTERS
from argosy.services import router_scripts
from argosy.services.router_scripts import RouterServer
from argosy.ssh.host import Host, Hosts

ASK_SECONDS = 30.0


class Routers:
    """Those of live machines, about one service. Who can't be asked is told, once each time that the reason changes,
    and not waited for: what it sends where is in its agent's hands."""

    def __init__(self, settings: Settings, hosts: Hosts, store: Reader, report: Report, service: str) -> None:
        self._names = Names(settings.system)
        self._hosts = hosts
        self._store = store
        self._report = report
        self._backend = backend_name(service)
        self._told: dict[str, str] = {}

    def unready(self, servers: Collection[str]) -> Mapping[str, str]:
        """Return the machines whose routers' own checks of these servers do not all pass, and why."""
        found = {}
        for machine, told in self._ask(servers, 0).items():
            reasons = {server: told[server].reason if server in told else "not there yet" for server in servers}
            lacking = {server: reason for server, reason in reasons.items() if reason}
            if lacking:
                shown = "; ".join(sorted(set(lacking.values())))
                found[machine] = f"{len(lacking)} of {len(servers)} new instances are not up there: {shown}"
        return found

    def wait_until_idle(self, servers: Collection[str], seconds: float) -> Mapping[str, int]:
        """Wait until no router has connections to these servers, or `seconds` are over; return how many are left, by
        machine."""
        told = self._ask(servers, seconds)
        left = {machine: sum(server.connections for server in found.values()) for machine, found in told.items()}
        return {machine: count for machine, count in left.items() if count}

    def _ask(self, servers: Collection[str], seconds: float) -> dict[str, Mapping[str, RouterServer]]:
        telling = applied_revisions(self._store.get_prefix(ROUTERS).entries)
        live = [host.name for host in self._hosts if host.name in telling]
        work = partial(self._of, servers=servers, seconds=seconds)
        outcomes = self._hosts.each(work, live, what="Asking the routers") if live else {}
        found = {}
        for machine, outcome in outcomes.items():
            reason = str(outcome.error).removeprefix(f"{machine}: ") if outcome.error is not None else ""
            if reason and self._told.get(machine) != reason:
                self._report(machine, f"its router does not tell ({reason}): not waited for")
            self._told[machine] = reason
            if not reason:
                found[machine] = outcome.get()
        return found

    def _of(self, host: Host, *, servers: Collection[str], seconds: float) -> Mapping[str, RouterServer]:
        argv = router_scripts.servers(self._names, self._backend, servers, seconds)
        done = host.run(argv, sudo=True, check=False, timeout_seconds=seconds + ASK_SECONDS)
        try:
            return router_scripts.parse_servers(done.stdout)
        except ValueError:
            words = done.stderr.strip().rpartition("\n")[2] or f"it ended with {done.code}"
            raise EngineError(f"{host.name}: {words}") from None
