"""Pure. Where on the host a local cluster is: as configured, or what is free next where another checkout's cluster is.

Chosen once, and kept in the cluster's host.json until `local.stop --all`. What anybody else has (a route of the host, a
network that is no cluster's, a port) is not avoided but refused, with the setting to change.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from argosy.config.loading import Settings
from argosy.config.ports import REGISTRY_PORT
from argosy.config.references import split_address
from argosy.errors import Refused
from argosy.local.addressing import LOOPBACK, host_address

if TYPE_CHECKING:
    from argosy.engine.checkout import Choice
    from argosy.engine.ownership import Claim

SUBNET, REGISTRY, BALANCER = "local.subnet", "registry.address", "local.balancer.port"
PORTS_TRIED = 200


@dataclass(frozen=True, slots=True)
class Place:
    """The settings that a place is made of, as the configuration spells them. `whose`: dotted path of each that was
    moved -> the cluster that has what is configured."""

    subnet: str
    registry: str
    balancer: str
    whose: Mapping[str, str] = field(default_factory=dict, compare=False)

    def differences(self, other: Place) -> dict[str, tuple[str, str]]:
        """Return dotted path -> (here, there) of what differs."""
        pairs = {
            SUBNET: (self.subnet, other.subnet),
            REGISTRY: (self.registry, other.registry),
            BALANCER: (self.balancer, other.balancer),
        }
        return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def place_of(settings: Settings) -> Place:
    """Return the place that the settings name."""
    host, port = split_address(settings.registry.address or f"{host_address(settings)}:{REGISTRY_PORT}")
    registry = f"{host}:{port}"
    return Place(settings.local.subnet, registry, str(settings.local.balancer.port))


def placed(settings: Settings, chosen: Mapping[str, Choice]) -> Settings:
    """Return the settings with what is `chosen` for this host, where they still say what it was chosen for."""
    configured = place_of(settings)

    def used(key: str, value: str) -> str:
        choice = chosen.get(key)
        return choice.used if choice and choice.configured == value else value

    balancer = settings.local.balancer.model_copy(update={"port": int(used(BALANCER, configured.balancer))})
    local = settings.local.model_copy(update={"subnet": used(SUBNET, configured.subnet), "balancer": balancer})
    registry = settings.registry.model_copy(update={"address": used(REGISTRY, configured.registry)})
    return settings.model_copy(update={"local": local, "registry": registry})


def choose_place(settings: Settings, claims: Sequence[Claim], taken: Iterable[str], ports: Iterable[int]) -> Place:
    """Return the place that the settings name, moved to what is free where another checkout's cluster has it.

    `taken`: all networks and routes of the host, as a.b.c.d/n; `ports`: those that nothing listens on now. Raises
    Refused when a setting that names an address holds the cluster where it can't be.
    """
    configured = place_of(settings)
    subnet = ipaddress.IPv4Network(configured.subnet)
    address, registry_port = split_address(configured.registry)
    host = host_address(settings)
    moved = host
    whose: dict[str, str] = {}
    clash = next((claim for claim in claims if claim.subnet and _overlap(subnet, claim.subnet)), None)
    if clash is not None and settings.local.provider == "docker":
        _refuse_fixed(settings, subnet, clash)
        subnet = _free_subnet(subnet, [*taken, *(claim.subnet for claim in claims if claim.subnet)], clash)
        moved = str(subnet[1])
        whose = dict.fromkeys((SUBNET, REGISTRY), clash.whose)
    where = moved if address == host else address
    free = _Ports(claims, set(ports), whose)
    port = free.take(registry_port, settings.registry.bind or [LOOPBACK, where], REGISTRY)
    balancer = int(configured.balancer)
    if settings.discovery.enabled:
        balancer = free.take(balancer, [LOOPBACK, moved], BALANCER)
    return Place(str(subnet), f"{where}:{port}", str(balancer), whose)


def said_of(settings: Settings, place: Place) -> list[str]:
    """Return a line for each setting that is not as configured, and which cluster has that."""
    return [
        f"{key} is {used} on this host instead of {configured}, taken by {place.whose.get(key, 'another cluster')}"
        for key, (configured, used) in place_of(settings).differences(place).items()
    ]


class _Ports:
    """Hands out ports, each once: the wanted one, or the next that is free where another checkout's cluster has it."""

    def __init__(self, claims: Sequence[Claim], free: set[int], whose: dict[str, str]) -> None:
        self._claims = claims
        self._free = free
        self._whose = whose
        self._given: set[int] = set()

    def take(self, wanted: int, addresses: Sequence[str], key: str) -> int:
        taken_by = self._holder(wanted, addresses)
        port = wanted
        if taken_by:
            self._whose[key] = taken_by
            port = next(self._others(wanted, addresses), 0)
        if not port:
            raise Refused(f"{key}: port {wanted} is taken by {taken_by}, and all after it, too: set it by hand")
        self._given.add(port)
        return port

    def _holder(self, port: int, addresses: Sequence[str]) -> str:
        return next((claim.whose for claim in self._claims for address in addresses if claim.takes(address, port)), "")

    def _others(self, wanted: int, addresses: Sequence[str]) -> Iterator[int]:
        for port in range(wanted + 1, wanted + PORTS_TRIED):
            if port in self._free and port not in self._given and not self._holder(port, addresses):
                yield port


def ports_to_try(settings: Settings) -> list[int]:
    """Return the ports that `choose_place` may want to know of."""
    place = place_of(settings)
    wanted = (split_address(place.registry)[1], int(place.balancer))
    return [port for first in wanted for port in range(first + 1, min(first + PORTS_TRIED, 65536))]


def _refuse_fixed(settings: Settings, subnet: ipaddress.IPv4Network, clash: Claim) -> None:
    fixed = [("local.host_address", settings.local.host_address), ("registry.bind", settings.registry.bind)]
    for key, value in fixed:
        if value:
            raise Refused(
                f"local.subnet {subnet} is taken by {clash.whose}: set another local.subnet, and {key} with it"
            )


def _free_subnet(subnet: ipaddress.IPv4Network, taken: Sequence[str], clash: Claim) -> ipaddress.IPv4Network:
    """Return the next subnet of this size, round about in the 256 around it, that overlaps none of `taken`."""
    around = list(subnet.supernet(new_prefix=max(subnet.prefixlen - 8, 0)).subnets(new_prefix=subnet.prefixlen))
    place = around.index(subnet)
    for candidate in (*around[place + 1 :], *around[:place]):
        if not any(_overlap(candidate, other) for other in taken):
            return candidate
    raise Refused(f"local.subnet {subnet} is taken by {clash.whose}, and all near it, too: set another local.subnet")


def _overlap(subnet: ipaddress.IPv4Network, other: str) -> bool:
    return subnet.overlaps(ipaddress.IPv4Network(other, strict=False))
