"""Pure. Who listens where: the ports of a machine, and those of this host, belong to one each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from argosy.config import dns
from argosy.config.settings import Settings
from argosy.errors import ConfigError

REGISTRY_PORT = 5000
"""Where the registry of a local cluster listens on this host, unless registry.address says otherwise."""
DNS_PORT = 53
GOSSIP_PORT, OVERLAY_PORT = 7946, 4789
"""Swarm's own beside its managers' (https://docs.docker.com/engine/swarm/swarm-tutorial/#open-protocols-and-ports)."""
HIGHEST = 65535


@dataclass(frozen=True, slots=True)
class Claim:
    """Ports, `first` to `last`, that somebody listens on. `address`: empty for all; `path`: of the setting
    that says so, or what they are for."""

    who: str
    path: str
    first: int
    last: int
    protocol: str = "tcp"
    address: str = ""

    def meets(self, other: Claim) -> bool:
        """Return whether both can't be had."""
        apart = self.last < other.first or other.last < self.first or self.protocol != other.protocol
        return not apart and (not self.address or not other.address or self.address == other.address)


def check_ports(settings: Settings) -> None:
    """Refuse a port that two would listen on. Raises ConfigError, which names both."""
    of_machines = machine_claims(settings)
    _refuse_shared(of_machines)
    for name, scheduled in settings.scheduled.items():
        # Two scheduled services may have one: Swarm places them on different machines.
        for claim in _published(f"scheduled service {name}", f"scheduled.{name}.ports", scheduled.ports):
            _refuse_shared([*of_machines, claim])
    of_this_host = list(_of_this_host(settings))
    for name, dependency in settings.local.dependencies.items():
        of_this_host += _published(f"dependency {name}", f"local.dependencies.{name}.ports", dependency.ports)
    _refuse_shared(of_this_host)


def machine_claims(settings: Settings) -> list[Claim]:
    """Return who listens on each machine: Argosy, and the services that run on all or some of them."""
    claims = [*_own(settings), *_host_ports(settings)]
    for name, service in settings.services.items():
        claims += _published(f"service {name}", f"services.{name}.ports", service.ports)
    return claims


def _refuse_shared(claims: Iterable[Claim]) -> None:
    seen: list[Claim] = []
    for claim in claims:
        for other in seen:
            if claim.meets(other):
                port = max(claim.first, other.first)
                own = other.path.removesuffix("discovery.host_port") == claim.path.removesuffix("ports")
                hint = ": leave it out, the router needs no port of the service" if own else ""
                text = f"port {port}/{claim.protocol} is that of {other.who} ({other.path}){hint}"
                raise ConfigError(text, claim.path)
        seen.append(claim)


def _own(settings: Settings) -> Iterator[Claim]:
    """Yield what Argosy listens on, on each machine."""
    for key in ("client_port", "peer_port"):
        port = getattr(settings.etcd, key)
        yield Claim("etcd", f"etcd.{key}", port, port)
    if settings.swarm.enabled:
        yield Claim("Swarm", "swarm.port", settings.swarm.port, settings.swarm.port)
        yield Claim("Swarm", "between machines", GOSSIP_PORT, GOSSIP_PORT)
        yield Claim("Swarm", "between machines", GOSSIP_PORT, GOSSIP_PORT, "udp")
        yield Claim("Swarm", "between machines", OVERLAY_PORT, OVERLAY_PORT, "udp")
    if settings.discovery.enabled:
        for protocol in ("tcp", "udp"):
            yield Claim("the machine's DNS", "discovery", DNS_PORT, DNS_PORT, protocol, dns.LOOPBACK_ADDRESS)
        for name, port in settings.discovery.ports:
            if isinstance(port, int):
                yield Claim("the router", f"discovery.ports.{name}", port, port)
            else:
                yield Claim("the router", f"discovery.ports.{name}", port.first, port.last)


def _host_ports(settings: Settings) -> Iterator[Claim]:
    """Yield what the router listens on for a service alone."""
    routed = {f"services.{name}": service.discovery for name, service in settings.services.items()}
    routed |= {f"scheduled.{name}": service.discovery for name, service in settings.scheduled.items()}
    for where, endpoint in routed.items():
        if endpoint is not None and endpoint.scheme and endpoint.host_port and settings.discovery.enabled:
            path = f"{where}.discovery.host_port"
            yield Claim("the router", path, endpoint.host_port, endpoint.host_port)


def _published(who: str, path: str, ports: Iterable[str]) -> Iterator[Claim]:
    for text in ports:
        outside, _, protocol = text.partition("/")
        *address, port, inside = outside.split(":")
        if not (1 <= int(port) <= HIGHEST and 1 <= int(inside) <= HIGHEST):
            raise ConfigError(f"{text}: ports are 1 to {HIGHEST}", path)
        yield Claim(who, path, int(port), int(port), protocol or "tcp", "".join(address).removeprefix("0.0.0.0"))  # noqa: S104


def _of_this_host(settings: Settings) -> Iterator[Claim]:
    """Yield what Argosy listens on where the local cluster's dependencies run."""
    if not settings.registry.address:
        yield Claim("the registry", "registry.address", REGISTRY_PORT, REGISTRY_PORT)
    if settings.discovery.enabled:
        port = settings.local.balancer.port
        yield Claim("the balancer", "local.balancer.port", port, port)
