"""The real routers, asked through ssh: the seam `Routers`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

from argosy import update_scripts
from argosy.config import Settings
from argosy.console import Report
from argosy.errors import EngineError
from argosy.host import Host, Hosts
from argosy.machine_files import Names
from argosy.router_config import backend_name
from argosy.update_scripts import RouterServer

ASK_SECONDS = 30.0


class RemoteRouters:
    """`live`: returns the machines whose routers tell that they are there. Who can't be asked is told, once each time
    that the reason changes, and not waited for: what it sends where is in its agent's hands."""

    def __init__(
        self, settings: Settings, hosts: Hosts, service: str, live: Callable[[], Collection[str]], report: Report
    ) -> None:
        self._names = Names(settings.system)
        self._hosts = hosts
        self._backend = backend_name(service)
        self._live = live
        self._report = report
        self._told: dict[str, str] = {}

    def unready(self, servers: Collection[str]) -> Mapping[str, str]:
        found = {}
        for machine, told in self._ask(servers, 0).items():
            reasons = {it: told[it].reason if it in told else "not there yet" for it in servers}
            lacking = {it: reason for it, reason in reasons.items() if reason}
            if lacking:
                shown = "; ".join(sorted(set(lacking.values())))
                found[machine] = f"{len(lacking)} of {len(servers)} new instances are not up there: {shown}"
        return found

    def wait_until_idle(self, servers: Collection[str], seconds: float) -> Mapping[str, int]:
        told = self._ask(servers, seconds)
        left = {machine: sum(it.connections for it in found.values()) for machine, found in told.items()}
        return {machine: count for machine, count in left.items() if count}

    def _ask(self, servers: Collection[str], seconds: float) -> dict[str, Mapping[str, RouterServer]]:
        live = [name for name in self._live() if name in {host.name for host in self._hosts}]
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
        argv = update_scripts.servers(self._names, self._backend, servers, seconds)
        done = host.run(argv, sudo=True, check=False, timeout_seconds=seconds + ASK_SECONDS)
        try:
            return update_scripts.parse_servers(done.stdout)
        except ValueError:
            words = done.stderr.strip().rpartition("\n")[2] or f"it ended with {done.code}"
            raise EngineError(f"{host.name}: {words}") from None
