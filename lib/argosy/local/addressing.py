"""Pure. The addresses of a local cluster: its machines', the host's, the inner Docker engines' range."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from argosy.config.loading import Settings
from argosy.errors import Refused
from argosy.model import Machine

LOOPBACK = "127.0.0.1"
FIRST_MACHINE = 101
DYNAMIC_BITS = 27
"""Containers of the host that join the machines' network get addresses from its last /27, clear of .101 to .199."""


def host_address(settings: Settings) -> str:
    """Return the host's address on the machines' network: `local.host_address`, else the first one of the subnet."""
    return settings.local.host_address or str(_subnet(settings)[1])


def dynamic_range(settings: Settings) -> str:
    """Return the part of the subnet from which the engine gives addresses by itself."""
    return str(list(_subnet(settings).subnets(new_prefix=DYNAMIC_BITS))[-1])


def machines_wanted(settings: Settings, count: int) -> list[Machine]:
    """Return the machines SYSTEM-01.. at the subnet's addresses .101.. Raises Refused unless 1 <= count <= the most."""
    most = settings.local.max_machines
    if not 1 <= count <= most:
        raise Refused(
            f"{count} machines: a local cluster has 1 to {most}; give such a number, or raise local.max_machines"
        )
    return [machine_numbered(settings, number) for number in range(1, count + 1)]


def machine_numbered(settings: Settings, number: int) -> Machine:
    """Return SYSTEM-NN, from 1, at its address."""
    address = _subnet(settings)[0] + FIRST_MACHINE + number - 1
    return Machine(f"{settings.system}-{number:02}", str(address), settings.machine.os)


def choose_bip(wanted: str, taken: Iterable[str]) -> str:
    """Return the address, with its prefix, of the bridge of the engine inside each machine (dockerd --bip).

    `wanted`: the setting `docker.bip`; when empty, the first range that overlaps none of `taken` (networks as
    a.b.c.d/n: those of the host's engine and the host's routes). Raises Refused when `wanted` overlaps, or all do.
    """
    networks = [ipaddress.IPv4Network(network, strict=False) for network in taken]
    if wanted:
        clash = next((network for network in networks if network.overlaps(_range(wanted))), None)
        if clash is not None:
            raise Refused(
                f"docker.bip {wanted} overlaps the network {clash} of this host: choose another, or leave it empty"
            )
        return wanted
    for candidate in _bip_candidates():
        if not any(network.overlaps(_range(candidate)) for network in networks):
            return candidate
    raise Refused("docker.bip: every private range that was tried is taken on this host: set one by hand")


def _bip_candidates() -> Iterable[str]:
    """The seed's 172.17.42.1/16 first, then its neighbours, then smaller ranges."""
    yield from (f"172.{second}.42.1/16" for second in range(17, 32))
    yield from (f"10.{second}.42.1/24" for second in range(170, 250))
    yield from (f"192.168.{third}.1/24" for third in range(200, 250))


def _range(interface: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Interface(interface).network


def _subnet(settings: Settings) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(settings.local.subnet)
