"""Pure. Which instances of this machine must be in etcd, and which writes get there.

/services/NAME/hosts/MACHINE:CONTAINER     ip:port, leased
/services/NAME/weight/MACHINE:CONTAINER    leased, when a label says it, or the key generation/GEN
/services/NAME/{scheme,host_port,...}      not leased: other machines' instances need them, too

A generation of a scheduled service that has a weight of its own, by the key generation/GEN, is not in charge: its
instances leave the service's own keys alone, which another generation has put, until that key goes. What puts such an
instance depends on that key being what we have seen of it, so that a mirror that is late does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from argosy.etcd.values import MAX_WRITES, Compare, Delete, Entry, Put, Target
from argosy.model import Endpoint
from argosy.schema import (
    drain_key,
    generation_key,
    instance_key,
    parse_weight,
    service_key,
    service_of,
    weight_key,
)
from argosy.schema.declared import ATTRIBUTES, Declaration
from argosy.schema.inspection import Container
from argosy.schema.keys import GENERATION, SERVICES
from argosy.schema.labels import PORT

EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 (what Docker calls it)

Write = Put | Delete


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance is. `probe`: where this machine checks it; `endpoint`: where the routers of all machines reach
    it, None when only through a forward to `probe`."""

    probe: Endpoint
    endpoint: Endpoint | None


@dataclass(frozen=True, slots=True)
class Registration:
    """An instance that must be in etcd. `attributes`: of its service, None to leave those alone; `weight`: empty to
    leave it alone. `generation`: 0 for none; `weighed`: the mod revision of the key that gives this generation a weight
    of its own, 0 when there is none."""

    service: str
    instance: str
    endpoint: Endpoint
    weight: str = ""
    attributes: Mapping[str, str] | None = None
    generation: int = 0
    weighed: int = 0

    @property
    def key(self) -> str:
        return instance_key(self.service, self.instance)

    def guard(self) -> Compare:
        """Return the condition that its generation's weight is the one that we have seen."""
        return Compare(generation_key(self.service, self.generation), Target.MOD_REVISION, self.weighed)


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


def is_generation(key: str) -> bool:
    """Return whether a key is the weight of a generation, of whichever service."""
    return key.startswith(SERVICES) and key.removeprefix(SERVICES).partition("/")[2].startswith(GENERATION)


def weight_of(label: str, own: Entry | None) -> str:
    """Return an instance's weight, empty for none. `label`: what its label says; `own`: its generation's, a bad value
    of which does not count (argosy.schema reports it)."""
    try:
        return str(parse_weight(own.value)) if own is not None else label
    except ValueError:
        return label


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
    present: Mapping[str, Entry], wanted: Sequence[Wanted], lease: int, schemes: Iterable[str]
) -> list[tuple[Write, ...]]:
    """Return the transactions that lead from `present` to `wanted`, in order: what goes, goes first. What comes of
    generations is left to `plan_generations`.

    `present`: this machine's keys by name, as `is_own` tells them; `lease`: 0 when there is none now, so nothing can be
    put; `schemes`: names of services that have a scheme. Keys without a lease are an operator's: of those only an
    endpoint is put over. Nothing is returned when all is as it must be.
    """
    arriving = [want for want in wanted if not want.registration.generation]
    return _packed([*_departures(present, wanted), *_arrivals(present, arriving, lease, set(schemes))])


def plan_generations(
    present: Mapping[str, Entry], wanted: Sequence[Wanted], lease: int, schemes: Iterable[str]
) -> list[tuple[Write, ...]]:
    """Return the transactions that come after those of `plan`, each to be done on the conditions that `guards` returns.

    They are apart, so that nobody else waits where a condition does not hold.
    """
    arriving = [want for want in wanted if want.registration.generation]
    return _packed(_arrivals(present, arriving, lease, set(schemes)))


def guards(writes: Iterable[Write], wanted: Iterable[Wanted]) -> list[Compare]:
    """Return the conditions of a transaction of `plan_generations`: of the generations of each service in it."""
    put = {service_of(write.key) for write in writes if isinstance(write, Put)}
    found = [want.registration for want in wanted if want.registration.generation]
    return list(dict.fromkeys(registration.guard() for registration in found if registration.service in put))


def _packed(groups: Iterable[list[Write]]) -> list[tuple[Write, ...]]:
    transactions: list[dict[str, Write]] = [{}]
    for group in groups:
        if len(transactions[-1]) + len(group) > MAX_WRITES:
            transactions.append({})
        transactions[-1].update((write.key, write) for write in group)
    return [tuple(transaction.values()) for transaction in transactions if transaction]


def _departures(present: Mapping[str, Entry], wanted: Sequence[Wanted]) -> Iterable[list[Write]]:
    kept = {want.registration.key for want in wanted}
    kept |= {
        weight_key(want.registration.service, want.registration.instance) for want in wanted if want.registration.weight
    }
    for key, entry in present.items():
        if key not in kept and entry.lease:
            yield [Delete(key)]


def _arrivals(
    present: Mapping[str, Entry], wanted: Sequence[Wanted], lease: int, schemes: set[str]
) -> Iterable[list[Write]]:
    for want in wanted if lease else ():
        writes = [*_host(present, want, lease), *_weight(present, want, lease)]
        if not want.declared or (want.registered and want.registration.service not in schemes):
            writes += _attributes(want.registration)
        if writes:
            yield writes


def _host(present: Mapping[str, Entry], want: Wanted, lease: int) -> list[Write]:
    found = present.get(want.registration.key)
    endpoint = str(want.registration.endpoint)
    if found is not None and (found.value, found.lease) == (endpoint, lease):
        return []
    drained = drain_key(want.registration.service, want.registration.instance) in present
    if found is None and want.registered and drained:
        return []
    return [Put(want.registration.key, endpoint, lease)]


def _weight(present: Mapping[str, Entry], want: Wanted, lease: int) -> list[Write]:
    key, weight = weight_key(want.registration.service, want.registration.instance), want.registration.weight
    found = present.get(key)
    if not weight or (found is not None and (not found.lease or (found.value, found.lease) == (weight, lease))):
        return []
    return [Put(key, weight, lease)]


def _attributes(registration: Registration) -> list[Write]:
    values = registration.attributes
    if values is None or registration.weighed:
        return []
    name = registration.service
    return [
        Put(service_key(name, attribute), values[attribute])
        if attribute in values
        else Delete(service_key(name, attribute))
        for attribute in ATTRIBUTES
    ]
