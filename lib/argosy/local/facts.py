"""What is there on the host before a local cluster is touched: the engine, its networks, routes, ports."""

from __future__ import annotations

import ipaddress
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker

from argosy.config.loading import Settings
from argosy.engine.connection import is_here, is_local_address, refusals, try_port
from argosy.engine.containers import find_container
from argosy.engine.names import network_name
from argosy.engine.ownership import Claim, claims_of_others, refuse_claimed, subnets_of
from argosy.errors import EngineError, Refused
from argosy.local.addressing import host_address
from argosy.local.makers.container import EngineFacts

ROUTES = Path("/proc/net/route")
WILDCARD_PROBE = "127.55.55.55"
"""A loopback address that nobody listens on by itself: only a listener on all addresses keeps a port of it."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A port that a container of ours is to listen on. `subject`: who; `container`: its name on the engine."""

    subject: str
    container: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class HostFacts:
    """`network`: the name of the cluster's own; `networks`: name -> IPv4 subnets of the engine's networks; `routes`:
    the host's own, without the default one; `taken`: why each listener that is not ours yet can't have its port;
    `claims`: what clusters of other checkouts have; `has_host_address`: the host has the address by which machines
    reach it."""

    engine: EngineFacts
    network: str
    networks: Mapping[str, Sequence[str]]
    routes: Sequence[str]
    taken: Sequence[str]
    claims: Sequence[Claim] = ()
    has_host_address: bool = False

    def others(self) -> dict[str, str]:
        """Return subnet -> whose it is, for all but the cluster's own network."""
        own = set(self.networks.get(self.network, ()))
        found = {route: "a route of this host" for route in self.routes if route not in own}
        for name, subnets in self.networks.items():
            if name != self.network:
                found.update(dict.fromkeys(subnets, f"the engine's network {name}"))
        found.update({claim.subnet: claim.whose for claim in self.claims if claim.subnet})
        return found


def observe(settings: Settings, client: docker.DockerClient, listeners: Sequence[Listener]) -> HostFacts:
    """Read the facts; change nothing."""
    with refusals("engine"):
        info = client.info()
        networks = {str(network.name): subnets_of(network) for network in client.networks.list()}
        routes = parse_routes(ROUTES.read_text()) if ROUTES.exists() else []
        claims = claims_of_others(client, settings)
        taken = [reason for listener in listeners if (reason := _taken(client, listener, claims))]
    return HostFacts(
        engine=engine_facts(info, remote=not is_here()),
        network=network_name(settings),
        networks=networks,
        routes=_only_foreign(routes, networks, settings),
        taken=taken,
        claims=claims,
        has_host_address=is_local_address(host_address(settings)),
    )


def engine_facts(info: Mapping[str, object], remote: bool) -> EngineFacts:
    """Read the facts from what the engine says of itself (GET /info)."""
    options = info.get("SecurityOptions") or []
    assert isinstance(options, list)
    data = Path(str(info.get("DockerRootDir") or "/nonexistent"))
    return EngineFacts(
        rootless=any("rootless" in str(option) for option in options),
        desktop="Docker Desktop" in str(info.get("OperatingSystem")),
        remote=remote,
        free_bytes=shutil.disk_usage(data).free if data.exists() and not remote else None,
    )


def parse_routes(text: str) -> list[str]:
    """Return the networks of /proc/net/route (little-endian hexadecimal), without default routes."""
    rows = [line.split() for line in text.splitlines()[1:]]
    pairs = [(_address(row[1]), _address(row[7])) for row in rows if len(row) > 7]
    return [f"{ipaddress.IPv4Network(f'{destination}/{mask}')}" for destination, mask in pairs if int(mask)]


def _address(word: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(bytes.fromhex(word)[::-1])


def _only_foreign(routes: Sequence[str], networks: Mapping[str, Sequence[str]], settings: Settings) -> list[str]:
    """Drop the routes that are there because the engine has a network: those are told by the network's name."""
    known = {subnet for subnets in networks.values() for subnet in subnets}
    own = set(networks.get(network_name(settings), ()))
    return [route for route in routes if route not in known - own]


def _taken(client: docker.DockerClient, listener: Listener, claims: Sequence[Claim]) -> str:
    container = find_container(client, listener.container)
    if container is not None and container.status == "running":
        return ""
    try:
        refuse_claimed(claims, listener.address, listener.port, listener.subject)
        try_port(listener.subject, _probe(listener.address), listener.port)
    except (EngineError, Refused) as error:
        return str(error)
    return ""


def _probe(address: str) -> str:
    """Return `address`, or, when this host does not have it yet, one that only a listener on all addresses keeps."""
    return address if is_local_address(address) else WILDCARD_PROBE
