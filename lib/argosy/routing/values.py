"""Pure. The values that a plan of a router is made of; see `argosy.routing.plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from argosy.model import Endpoint
from argosy.routing.haproxy import map_files, map_texts
from argosy.schema import Problem, Service

STRUCTURE = "@STRUCTURE@"
"""Stands in a plan's head for its structure, which is known only afterwards."""


@dataclass(frozen=True, slots=True)
class RouterPorts:
    """Where a router listens. `forward_ports`: the first and the last of the ports set apart for containers on the
    bridge. `bind_address`: empty for all of the machine's IPv4 addresses. `listen` (addresses as ip:port),
    `machine_port` (of the routers, by the PROXY protocol): for the balancer only.
    """

    bind_address: str = ""
    http_port: int = 80
    proxy_port: int = 81
    https_port: int = 443
    https_proxy_port: int = 444
    tls_port: int = 8443
    tls_proxy_port: int = 8444
    forward_ports: tuple[int, int] = (20000, 20999)
    listen: tuple[str, ...] = ()
    machine_port: int = 81


@dataclass(frozen=True, slots=True)
class RouterOptions(RouterPorts):
    """What a router is told beside the directory.

    `forwards`: port of `machine_address` -> a container on the bridge. `taken_ports`:
    what others listen on. `certificates`: whether any stand in `certs` of the configuration's folder.
    `hard_stop_seconds`: how long a worker of an older configuration may serve its open connections.
    """

    machine_address: str = ""
    forwards: Mapping[int, Endpoint] = field(default_factory=dict)
    taken_ports: frozenset[int] = frozenset()
    certificates: bool = False
    draining: bool = False
    check_seconds: float = 2.0
    hard_stop_seconds: int = 3600
    run_folder: str = "/run/router"
    config_folder: str = "/var/lib/router"

    @property
    def admin_socket(self) -> str:
        return f"{self.run_folder}/admin.sock"

    @property
    def certificates_folder(self) -> str:
        return f"{self.config_folder}/certs"

    def reserved(self, port: int) -> str:
        """Return what the routers use `port` for, empty for nothing."""
        first, last = self.forward_ports
        if first <= port <= last:
            return "for containers on the bridge"
        return {
            self.http_port: "http",
            self.proxy_port: "http from the balancer",
            self.https_port: "https",
            self.https_proxy_port: "https from the balancer",
            self.tls_port: "tcp by TLS name",
            self.tls_proxy_port: "tcp by TLS name from the balancer",
        }.get(port, "")


@dataclass(frozen=True, slots=True)
class Server:
    """An instance, or a machine, in a backend. `words`: the rest of its line; `checked`: HAProxy checks it."""

    name: str
    endpoint: Endpoint
    weight: int
    words: str = ""

    @property
    def checked(self) -> bool:
        return self.words.startswith("check ")

    @property
    def line(self) -> str:
        """What follows `server` in the configuration, and `add server BACKEND/` in the runtime API. The latter takes
        nothing from default-server, so every word is here (https://docs.haproxy.org/2.6/management.html#9.3)."""
        return f"{self.name} {self.endpoint} weight {self.weight} {self.words}".rstrip()


@dataclass(frozen=True, slots=True)
class Backend:
    """`cuts`: HAProxy cuts a server's open connections when it goes down, or into maintenance."""

    name: str
    mode: Literal["http", "tcp"]
    servers: Mapping[str, Server]
    cuts: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """The text of a backend, and of the frontend that leads to it alone: all but the servers. `words`: of each server,
    which can't be changed while the server is there."""

    text: str
    words: str
    backend: Backend

    @property
    def structure(self) -> str:
        return f"{self.text}{self.words}"

    def lines(self) -> str:
        return self.text + "".join([f"    server {server.line}\n" for server in self.backend.servers.values()])


@dataclass(frozen=True, slots=True)
class Named:
    """A service that has a backend. `sni`: the TLS names, and `port` the port, that it was granted."""

    service: Service
    port: int
    sni: tuple[str, ...]
    section: Section
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Routing:
    """A plan. `structure`: the same for two plans that differ in servers alone. `problems`: what stands in the way of
    one service or another, beside those of the directory; `local_problems`: what only this machine has.

    The rest is what it was made from, so that the next plan can take over what did not change. `basis`, `head_basis`:
    what the sections, and the head, depend on.
    """

    structure: str
    backends: Mapping[str, Backend]
    problems: tuple[Problem, ...] = ()
    local_problems: tuple[Problem, ...] = ()
    head: str = field(default="", repr=False, compare=False)
    sections: tuple[Section, ...] = field(default=(), repr=False, compare=False)
    named: Mapping[str, Named] | None = field(default=None, repr=False, compare=False)
    basis: object = field(default=None, repr=False, compare=False)
    head_basis: object = field(default=None, repr=False, compare=False)

    def files(self) -> dict[str, str]:
        """Return haproxy.cfg, and the maps that it names, by their paths in the configuration's folder.

        They are ASCII: other bytes have been escaped, or were refused.
        """
        config = self.head.replace(STRUCTURE, self.structure) + "".join([section.lines() for section in self.sections])
        if self.named is None:
            return {"haproxy.cfg": config}
        maps = map_texts([(named.service, named.sni) for named in self.named.values()])
        paths = map_files(maps, self.structure)
        return {"haproxy.cfg": config} | {paths[name]: text for name, text in maps.items()}
