"""Pure. What a router must do, decided from the directory.

A plan falls into two parts. Its *structure*, frontends, backends, maps and all they are made of, takes a reload to
change; the *servers* of its backends come and go through HAProxy's runtime API (`argosy.routing.changes`).
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from argosy.model import Endpoint, MachineState
from argosy.rendering.rendering import render
from argosy.routing.claims import grant
from argosy.routing.haproxy import (
    MACHINES_BACKEND,
    MAPS,
    backend_lines,
    backend_name,
    check_words,
    machines_lines,
    map_files,
    port_lines,
    quote_path,
    server_name,
)
from argosy.routing.values import STRUCTURE, Backend, Named, RouterOptions, Routing, Section, Server
from argosy.schema import (
    DEFAULT_SERVICE,
    SSL_SUPPORT,
    Directory,
    MachineRecord,
    Problem,
    Scheme,
    Service,
    instance_key,
    machine_key,
    parse_port,
    service_key,
)

IN_SERVICE = "in-service"
"""A backend whose only server, which nobody sends to, has no weight while the machine drains. So the two paths below
change their answers without a reload."""
HEALTH_PATH = "/_argosy/health"
"""On the http ports: 200 while this router serves, 503 when its machine is draining."""
BALANCER_HEALTH_PATH = "/_argosy/balancer"
"""The same for our balancer: 404 when draining. To HAProxy that says: no new connections, the open ones
continue (`http-check disable-on-404`); a 503 would cut them."""


def _in_service(weight: int) -> Section:
    server = Server("machine", Endpoint("127.0.0.1", 1), weight)
    return Section(f"\nbackend {IN_SERVICE} from http-mode\n", "", Backend(IN_SERVICE, "http", {server.name: server}))


_SERVES, _DRAINS = _in_service(1), _in_service(0)


@dataclass(frozen=True, slots=True)
class _Basis:
    """What a service's share of the plan depends on beside the service itself.

    `tls`: TLS ends here; `own`: addresses of this router; `everywhere`: it listens on loopback, too; `bound`: the
    ports that it listens on for services; `routers`: the other machines' addresses; `fixed`: the ports that each of
    them listens on.
    """

    address: str
    tls: bool
    certificates: bool
    tls_words: str
    check_words: str
    own: frozenset[str]
    everywhere: bool
    bound: frozenset[int]
    routers: frozenset[str]
    fixed: frozenset[int]


@dataclass(frozen=True, slots=True)
class _HeadBasis:
    options: RouterOptions
    tls: bool
    sni: bool
    default: str


def plan_routing(directory: Directory, options: RouterOptions, previous: Routing | None = None) -> Routing:
    """Return what a machine's router must do.

    `previous`: an earlier plan, from which is taken over what did not change; it has no influence on the result.
    """
    claims = grant(directory.services.values(), options.reserved, options.taken_ports)
    sni = any(claims.sni.values())
    basis = _basis(directory, options, sni, claims.ports)
    kept = previous.named or {} if previous is not None and previous.basis == basis else {}
    named: dict[str, Named] = {}
    for name in sorted(directory.services):
        service, old = directory.services[name], kept.get(name)
        if service.scheme is None:
            continue
        port, names = claims.ports.get(name, 0), claims.sni.get(name, ())
        same = old is not None and old.service is service and old.port == port and old.sni == names
        named[name] = old if old is not None and same else _named(service, port, names, basis)
    default, default_problems = _default(directory)
    head_basis = _HeadBasis(replace(options, draining=False), basis.tls, sni, default)
    old_head = previous.head if previous is not None and previous.head_basis == head_basis else ""
    head = old_head or _head(head_basis, basis)
    sections = (_DRAINS if options.draining else _SERVES, *(one.section for one in named.values()))
    every = [problem for one in named.values() for problem in one.problems]
    without_tls, local = _tls_problems(directory, options, named.values())
    return Routing(
        _structure(head, named.values()),
        {section.backend.name: section.backend for section in sections},
        (*default_problems, *claims.problems, *without_tls, *every),
        (*claims.local_problems, *local),
        head,
        sections,
        named,
        basis,
        head_basis,
    )


def _basis(directory: Directory, options: RouterOptions, sni: bool, ports: Mapping[str, int]) -> _Basis:
    tls = directory.ssl_support and options.certificates
    fixed = {options.http_port, options.proxy_port}
    fixed |= {options.https_port, options.https_proxy_port} if tls else set()
    fixed |= {options.tls_port, options.tls_proxy_port} if sni else set()
    listens = {
        port
        for name, port in ports.items()
        if options.certificates or directory.services[name].scheme is not Scheme.HTTPS
    }
    own = options.bind_address or options.machine_address
    others = {machine.address for machine in directory.machines.values()} - {own, ""}
    return _Basis(
        address=options.bind_address,
        tls=tls,
        certificates=options.certificates,
        tls_words=_tls_words(options),
        check_words=check_words(options.check_seconds),
        own=frozenset({own}),
        everywhere=not options.bind_address,
        bound=frozenset(fixed | listens),
        routers=frozenset(others),
        fixed=frozenset(fixed),
    )


def _tls_words(options: RouterOptions) -> str:
    return f"ssl crt {quote_path(options.certificates_folder)} alpn h2,http/1.1"


def _head(basis: _HeadBasis, sections: _Basis) -> str:
    """Return what stands before the services, with `STRUCTURE` where that belongs."""
    options = basis.options
    return render(
        "haproxy/router.cfg.j2",
        options=options,
        structure=STRUCTURE,
        socket=quote_path(options.admin_socket),
        address=options.bind_address,
        maps=map_files(MAPS, STRUCTURE),
        in_service=IN_SERVICE,
        health_path=HEALTH_PATH,
        balancer_path=BALANCER_HEALTH_PATH,
        default=basis.default and backend_name(basis.default),
        tls=basis.tls,
        tls_words=sections.tls_words,
        https_suffix="" if options.https_port == 443 else f":{options.https_port}",
        sni=basis.sni,
        forwards=sorted(options.forwards.items()),
    )


def _structure(head: str, named: Iterable[Named]) -> str:
    """Return the hash of everything but the servers. The maps follow from these attributes of the services."""
    parts = [head]
    for one in named:
        service = one.service
        parts += [service.name, str(service.scheme), str(service.private), *one.sni, one.section.structure, "\0"]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


# One service


def _named(service: Service, port: int, sni: tuple[str, ...], basis: _Basis) -> Named:
    text, problems = backend_lines(service), []
    listens = port and (service.scheme is not Scheme.HTTPS or basis.certificates)
    own_port = port_lines(service, port, basis.address, basis.tls_words) if listens else ""
    words = "" if service.check.kind == "none" else basis.check_words
    servers = {}
    for instance in service.instances:
        if _is_router(instance.endpoint, basis):
            key = instance_key(service.name, instance.id)
            problems.append(Problem(service.name, key, f"{instance.endpoint} is a router's own: not used"))
            continue
        name = server_name(instance.id, instance.endpoint)
        servers[name] = Server(name, instance.endpoint, 0 if instance.draining else instance.weight, words)
    mode: Literal["http", "tcp"] = "tcp" if service.scheme is Scheme.TCP else "http"
    backend = Backend(backend_name(service.name), mode, servers)
    return Named(service, port, sni, Section(own_port + text, words, backend), tuple(problems))


def _is_router(endpoint: Endpoint, basis: _Basis) -> bool:
    """Say whether requests to `endpoint` would come back to this router, or go in a circle through another's."""
    if endpoint.address in basis.own or (basis.everywhere and endpoint.address.startswith("127.")):
        return endpoint.port in basis.bound
    return endpoint.address in basis.routers and endpoint.port in basis.fixed


def _default(directory: Directory) -> tuple[str, list[Problem]]:
    """Return the service that unnamed requests go to, empty for none."""
    name = directory.default_service
    service = directory.services.get(name)
    if not name or (service is not None and service.scheme not in (None, Scheme.TCP) and not service.private):
        return name, []
    return "", [Problem("", DEFAULT_SERVICE, f"{name} is no service that http requests may go to")]


def _tls_problems(
    directory: Directory, options: RouterOptions, named: Iterable[Named]
) -> tuple[list[Problem], list[Problem]]:
    """Return what comes of TLS that is off, for all routers and for this one."""
    if directory.ssl_support and options.certificates:
        return [], []
    everywhere, here = [], []
    missing = "this machine's router has no certificate"
    if directory.ssl_support:
        here.append(Problem("", SSL_SUPPORT, f"not in effect: {missing}"))
    for one in named:
        if one.service.scheme is not Scheme.HTTPS:
            continue
        if one.service.host_port and not options.certificates:
            here.append(Problem(one.service.name, service_key(one.service.name, "host_port"), f"not served: {missing}"))
        if not directory.ssl_support and not one.service.private:
            reason = "redirected to https, which is not served: ssl_support is not true"
            everywhere.append(Problem(one.service.name, service_key(one.service.name, "scheme"), reason))
    return everywhere, here


# The balancer


def plan_balancer(directory: Directory, options: RouterOptions, _previous: Routing | None = None) -> Routing:
    """Return what the balancer before the machines must do: TCP on `options.listen` to every machine in etcd.

    A machine that is not active keeps its open connections and gets no new ones. It learns the client's address by
    the PROXY protocol (https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt). Raises ValueError for a `listen`
    that is none.
    """
    problems = [
        Problem("", machine_key(machine.name), "it has no address, so it gets no requests")
        for machine in directory.machines.values()
        if not machine.address
    ]
    words = f"{check_words(options.check_seconds)} check-send-proxy send-proxy-v2 on-marked-down shutdown-sessions"
    servers = [
        _machine(machine, options.machine_port, words)
        for _, machine in sorted(directory.machines.items())
        if machine.address
    ]
    backend = Backend(MACHINES_BACKEND, "tcp", {server.name: server for server in servers}, cuts=True)
    head = render(
        "haproxy/router-balancer.cfg.j2",
        options=options,
        structure=STRUCTURE,
        socket=quote_path(options.admin_socket),
        listen=[_bound(name) for name in options.listen],
    )
    section = Section(machines_lines(BALANCER_HEALTH_PATH), words, backend)
    structure = hashlib.sha256((head + section.structure).encode()).hexdigest()[:16]
    return Routing(structure, {backend.name: backend}, tuple(problems), (), head, (section,))


def _bound(listen: str) -> Endpoint:
    """Return the address of a `bind`: unlike an instance's it may be 0.0.0.0."""
    address, _, port = listen.rpartition(":")
    return Endpoint(str(ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))), parse_port(port))


def _machine(machine: MachineRecord, port: int, words: str) -> Server:
    endpoint = Endpoint(machine.address, port)
    weight = 100 if machine.state == MachineState.ACTIVE else 0
    return Server(server_name(machine.name, endpoint), endpoint, weight, words)
