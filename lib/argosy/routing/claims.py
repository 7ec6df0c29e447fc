"""Pure. What only one service can have: a port of every machine, a TLS name on the shared port.

Who claimed first keeps it: the key that was put last loses, however old its service is. So nobody takes another's
route away by a wrong value. On equal terms the older service has it, then the first by name. Every router finds
the same, since all of them look at the same keys; only `taken_ports` is a machine's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from argosy.schema import Problem, Scheme, Service, service_key


@dataclass(frozen=True, slots=True)
class Claims:
    """`ports`: service -> its port; `sni`: service -> its TLS names. `local_problems`: what only this machine has."""

    ports: Mapping[str, int] = field(default_factory=dict)
    sni: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    local_problems: tuple[Problem, ...] = ()


def grant(services: Iterable[Service], reserved: Callable[[int], str], taken_ports: frozenset[int]) -> Claims:
    """Return who has which port and name. `reserved`: says what the routers use a port for, empty for nothing.

    `taken_ports`: what something else listens on, on this machine: its claimant keeps it everywhere else.
    """
    by_port: list[Service] = []
    by_sni: list[Service] = []
    for service in services:
        if service.scheme is None:
            continue
        if service.host_port:
            by_port.append(service)
        if service.sni and service.scheme is Scheme.TCP and not service.private:
            by_sni.append(service)
    ports, port_problems, local = _grant_ports(by_port, reserved, taken_ports)
    sni, sni_problems = _grant_sni(by_sni)
    return Claims(ports, sni, (*port_problems, *sni_problems), tuple(local))


def _grant_ports(
    services: list[Service], reserved: Callable[[int], str], taken_ports: frozenset[int]
) -> tuple[dict[str, int], list[Problem], list[Problem]]:
    owners: dict[int, str] = {}
    problems, local = [], []
    for service in sorted(services, key=lambda service: (service.host_port_revision, service.created, service.name)):
        port, key = service.host_port, service_key(service.name, "host_port")
        if use := reserved(port):
            problems.append(Problem(service.name, key, f"{port} is the routers' own: {use}"))
        elif owners.setdefault(port, service.name) != service.name:
            problems.append(Problem(service.name, key, f"{port} belongs to {owners[port]}, which claimed it first"))
        elif port in taken_ports:
            local.append(Problem(service.name, key, f"something else listens on {port} of this machine"))
    given = {name: port for port, name in owners.items() if port not in taken_ports}
    return given, problems, local


def _grant_sni(services: list[Service]) -> tuple[dict[str, tuple[str, ...]], list[Problem]]:
    owners: dict[str, str] = {}
    granted: dict[str, tuple[str, ...]] = {}
    problems = []
    for service in sorted(services, key=lambda service: (service.sni_revision, service.created, service.name)):
        granted[service.name] = tuple(
            name for name in service.sni if owners.setdefault(name, service.name) == service.name
        )
        problems += [
            Problem(
                service.name,
                service_key(service.name, "sni"),
                f"{name} belongs to {owners[name]}, which claimed it first",
            )
            for name in service.sni
            if owners[name] != service.name
        ]
    return granted, problems
