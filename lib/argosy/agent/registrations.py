"""Which instances of this machine shall stand in etcd, and which writes get there. Pure.

/services/NAME/hosts/MACHINE:CONTAINER     ip:port, leased
/services/NAME/weight/MACHINE:CONTAINER    leased, when a label says it
/services/NAME/{scheme,host_port,...}      not leased: other machines' instances need them, too
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from argosy.agent.inspection import Container
from argosy.agent.labels import ATTRIBUTES, Declaration
from argosy.container_labels import PORT
from argosy.etcd.values import Delete, Put
from argosy.model import Endpoint
from argosy.schema import KeyValue, drain_key, instance_key, service_key, weight_key
from argosy.schema.keys import SERVICES

MAX_DEEDS = 100
"""Writes in one transaction; etcd takes 128 (https://etcd.io/docs/v3.4/op-guide/configuration/, max-txn-ops)."""
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 (what Docker calls it)

Deed = Put | Delete


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance is. `probe`: where this machine checks it; `endpoint`: where the routers of all machines reach
    it, None when only through a forward to `probe`."""

    probe: Endpoint
    endpoint: Endpoint | None


@dataclass(frozen=True, slots=True)
class Registration:
    """An instance that shall be in etcd. `attributes`: of its service, None to leave those alone; `weight`: empty to
    leave it alone."""

    service: str
    instance: str
    endpoint: Endpoint
    weight: str = ""
    attributes: Mapping[str, str] | None = None

    @property
    def key(self) -> str:
        return instance_key(self.service, self.instance)


@dataclass(frozen=True, slots=True)
class Wanted:
    """`registered`: we have put it since its check passed; who took it away since then meant it if it drains.
    `declared`: its service's own keys were put with it; they are put once only, since the next version's container,
    on another machine, may have put others since."""

    registration: Registration
    registered: bool = False
    declared: bool = False


def instance_id(machine: str, container: str) -> str:
    return f"{machine}:{container}"


def is_own(key: str, machine: str) -> bool:
    """Return whether a key is about an instance that this machine's registrar made."""
    if not key.startswith(SERVICES):
        return False
    parts = key.removeprefix(SERVICES).split("/")
    return len(parts) == 3 and parts[1] in ("hosts", "weight", "drain") and parts[2].startswith(f"{machine}:")


def place_of(container: Container, declaration: Declaration, machine_address: str) -> Place:
    """Return where the container's instance is. Raises ValueError with the reason when it can't be known.

    A published port counts when it is published on all addresses or on the machine's own; others reach no other one.
    The probe goes to the container itself where the machine reaches it: Docker's proxy takes connections to published
    ports for containers that do not listen.
    """
    if container.shared:
        raise ValueError("it uses another container's network: label that one")
    port = declaration.port or _only_port(container)
    if container.host_network:
        endpoint = Endpoint(machine_address, port)
        return Place(endpoint, endpoint)
    published = _published(container, port, machine_address)
    if container.address:
        return Place(Endpoint(container.address, port), published)
    if published is None:
        raise ValueError(f"port {port} is not published, and it is on no bridge of this machine")
    return Place(published, published)


def _only_port(container: Container) -> int:
    ports = container.exposed
    if not ports:
        raise ValueError(f"it exposes no TCP port: say it by {PORT}")
    if len(ports) > 1:
        raise ValueError(f"it exposes the ports {', '.join(map(str, ports))}: choose one by {PORT}")
    return ports[0]


def _published(container: Container, port: int, machine_address: str) -> Endpoint | None:
    found = sorted(
        number for host, number in container.published.get(port, ()) if host in (*EVERYWHERE, machine_address)
    )
    return Endpoint(machine_address, found[0]) if found else None


def plan(
    present: Mapping[str, KeyValue], wanted: Sequence[Wanted], lease: int, schemes: Iterable[str]
) -> list[tuple[Deed, ...]]:
    """Return the transactions that lead from `present` to `wanted`, in order: what goes, goes first.

    `present`: this machine's keys by name, as `is_own` tells them; `lease`: 0 when there is none now, so nothing can be
    put; `schemes`: names of services that have a scheme. Keys without a lease are an operator's: of those only an
    endpoint is put over. Nothing is returned when all is as it shall be.
    """
    transactions: list[dict[str, Deed]] = [{}]
    for group in [*_departures(present, wanted), *_arrivals(present, wanted, lease, set(schemes))]:
        if len(transactions[-1]) + len(group) > MAX_DEEDS:
            transactions.append({})
        transactions[-1].update((deed.key, deed) for deed in group)
    return [tuple(it.values()) for it in transactions if it]


def _departures(present: Mapping[str, KeyValue], wanted: Sequence[Wanted]) -> Iterable[list[Deed]]:
    kept = {it.registration.key for it in wanted}
    kept |= {weight_key(it.registration.service, it.registration.instance) for it in wanted if it.registration.weight}
    for key, entry in present.items():
        if key not in kept and entry.lease:
            yield [Delete(key)]


def _arrivals(
    present: Mapping[str, KeyValue], wanted: Sequence[Wanted], lease: int, schemes: set[str]
) -> Iterable[list[Deed]]:
    for it in wanted if lease else ():
        deeds = [*_host(present, it, lease), *_weight(present, it, lease)]
        if not it.declared or (it.registered and it.registration.service not in schemes):
            deeds += _attributes(it.registration)
        if deeds:
            yield deeds


def _host(present: Mapping[str, KeyValue], it: Wanted, lease: int) -> list[Deed]:
    found = present.get(it.registration.key)
    endpoint = str(it.registration.endpoint)
    if found is not None and (found.value, found.lease) == (endpoint, lease):
        return []
    drained = drain_key(it.registration.service, it.registration.instance) in present
    if found is None and it.registered and drained:
        return []
    return [Put(it.registration.key, endpoint, lease)]


def _weight(present: Mapping[str, KeyValue], it: Wanted, lease: int) -> list[Deed]:
    key = weight_key(it.registration.service, it.registration.instance)
    found = present.get(key)
    if not it.registration.weight or (found is not None and (found.lease in (0, lease))):
        return []
    return [Put(key, it.registration.weight, lease)]


def _attributes(registration: Registration) -> list[Deed]:
    values = registration.attributes
    if values is None:
        return []
    name = registration.service
    return [
        Put(service_key(name, attribute), values[attribute])
        if attribute in values
        else Delete(service_key(name, attribute))
        for attribute in ATTRIBUTES
    ]
