"""From what etcd says, and what only this machine knows, to what its router must do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, Protocol

from argosy.agent.mirror import Batch
from argosy.agent.options import Options
from argosy.etcd.values import Entry
from argosy.model import Endpoint, MachineState
from argosy.routing.plan import plan_balancer, plan_routing
from argosy.routing.values import RouterOptions, RouterPorts, Routing
from argosy.schema import FOLLOWED, SSL_SUPPORT, Catalog, Directory, Problem, service_key


class Mirror(Protocol):
    """What of `argosy.agent.mirror.Mirror` this needs."""

    def subscribe(self, callback: Callable[[Batch], None]) -> None: ...
    def current(self, keys: Iterable[str]) -> tuple[list[Entry], list[str]]: ...


class Plans:
    """Notes what changes, from the mirror's thread, and plans, in the router's."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._base = router_options(options)
        self._turn = threading.Lock()
        self._changed: set[str] = set()
        self._noted = 0
        self._since = 0.0
        self._mirror: Mirror | None = None
        self._on_change: Callable[[], None] | None = None
        self._catalog = Catalog()
        self._directory = Directory()
        self._inputs: tuple[Directory, RouterOptions] | None = None
        self._port_problems: tuple[Problem, ...] = ()
        self._routing: Routing | None = None
        self.revision = 0
        """Everything that we follow is in the plan up to this revision. 0: nothing was ever listed."""

    def follow(self, mirror: Mirror, on_change: Callable[[], None]) -> None:
        """Note what changes; `on_change` is called by the mirror's thread whenever there is something to plan."""
        self._mirror, self._on_change = mirror, on_change
        mirror.subscribe(self._note)

    def _note(self, batch: Batch) -> None:
        changed = [key for key in batch.changed if key.startswith(FOLLOWED)]
        if not changed and not batch.full:
            return
        with self._turn:
            self._changed.update(changed)
            self._noted = batch.revision
            self._since = self._since or time.monotonic()
        if self._on_change is not None:
            self._on_change()

    @property
    def waiting_seconds(self) -> float:
        """Return how long the oldest change that no plan has taken in has waited."""
        since = self._since
        return time.monotonic() - since if since else 0.0

    def take_in(self) -> bool:
        """Take in what changed by now; return whether anything did."""
        with self._turn:
            if self._noted == 0 or self._mirror is None:
                return False
            changed, self._changed = self._changed, set()
            # Read after the revision: what is read may be newer than it, never older.
            revision, self._noted, self._since = self._noted, 0, 0.0
        there, gone = self._mirror.current(changed)
        self._catalog.apply(there, gone)
        self._directory = self._catalog.directory()
        self.revision = revision
        return True

    def plan(
        self,
        certificates: bool = False,
        taken: frozenset[int] = frozenset(),
        forwards: Mapping[int, Endpoint] = MappingProxyType({}),
    ) -> Routing:
        """Return what the router must do; the very same object as before if nothing is different.

        What only this machine knows: `certificates`: it has some; `taken`: ports that other programs hold; `forwards`:
        its ports that lead to containers on its bridge.
        """
        machine = self._directory.machines.get(self._options.machine)
        options = replace(
            self._base,
            certificates=certificates and not self._tls_ports & taken,
            taken_ports=taken,
            forwards={port: target for port, target in forwards.items() if port not in taken},
            draining=machine is not None and machine.state == MachineState.DRAINING,
        )
        before = self._inputs
        if self._routing is None or before is None or before[0] is not self._directory or before[1] != options:
            make: Any = plan_balancer if self._options.balancer else plan_routing
            self._routing = make(self._without_taken(taken), options, self._routing)
            self._inputs = (self._directory, options)
        return self._routing

    @property
    def _tls_ports(self) -> frozenset[int]:
        return frozenset({self._base.https_port, self._base.https_proxy_port})

    def _without_taken(self, taken: frozenset[int]) -> Directory:
        """Return the directory without what our own taken ports were to serve, and note that as problems."""
        directory, problems = self._directory, []
        if directory.ssl_support:
            problems += [Problem("", SSL_SUPPORT, _taken_words(port)) for port in self._tls_ports & taken]
        lost = sorted({self._base.tls_port, self._base.tls_proxy_port} & taken)
        if lost:
            named = [service for service in directory.services.values() if service.sni]
            problems += [
                Problem(service.name, service_key(service.name, "sni"), _taken_words(lost[0])) for service in named
            ]
            without = {service.name: replace(service, sni=()) for service in named}
            directory = replace(directory, services={**directory.services, **without})
        self._port_problems = tuple(problems)
        return directory

    @property
    def local_problems(self) -> tuple[Problem, ...]:
        """What only this machine's router can't do."""
        return (*self._port_problems, *(self._routing.local_problems if self._routing else ()))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with what stands in etcd; every machine finds the same."""
        return (*self._directory.problems, *(self._routing.problems if self._routing else ()))

    def counts(self) -> tuple[int, int]:
        """Return how many services, and how many of their instances, there are."""
        services = self._directory.services.values()
        return len(services), sum(len(service.instances) for service in services)


def _taken_words(port: int) -> str:
    return f"not served: something else listens on {port} of this machine"


def router_options(options: Options) -> RouterOptions:
    """Return the router's options as the agent's own environment gives them."""
    tunables, paths = options.tunables, options.paths
    ports: dict[str, Any] = {field.name: getattr(tunables, field.name) for field in fields(RouterPorts)}
    return RouterOptions(
        **ports,
        machine_address=options.address,
        check_seconds=tunables.check_seconds,
        hard_stop_seconds=max(1, round(tunables.drain_seconds)),
        run_folder=str(paths.admin_socket.parent),
        config_folder=str(paths.router),
    )
