"""Pure. One service: what its keys say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from argosy.etcd.values import Entry
from argosy.model import Endpoint
from argosy.schema.keys import GENERATION, service_key
from argosy.schema.values import (
    DEFAULT_CHECK,
    DEFAULT_WEIGHT,
    Check,
    Scheme,
    parse_check,
    parse_endpoint,
    parse_generation,
    parse_id,
    parse_port,
    parse_scheme,
    parse_sni,
    parse_weight,
    shown,
    valid_name,
)

MAX_INSTANCES = 4000
"""HAProxy's roundrobin, the one that lets servers come and go, takes 4095 in a backend."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of a service. `draining`: it gets no new connections; `lease`: 0 for one without."""

    id: str
    endpoint: Endpoint
    weight: int = DEFAULT_WEIGHT
    draining: bool = False
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Service:
    """`instances`: sorted by id; `host_port`: 0 for none; `created`: the create revision of its oldest key.

    `host_port_revision`, `sni_revision`: when that key was last put. Who claims something that is taken, however old
    his service may be, must not take it away: so these decide between two claims.
    """

    name: str
    scheme: Scheme | None
    instances: tuple[Instance, ...] = ()
    host_port: int = 0
    private: bool = False
    sni: tuple[str, ...] = ()
    check: Check = DEFAULT_CHECK
    created: int = 0
    host_port_revision: int = 0
    sni_revision: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """Data that is not used, and why. `service`: empty where it belongs to none. Names and keys are raw: any bytes."""

    service: str
    key: str
    reason: str

    def __str__(self) -> str:
        return f"{shown(self.key)[1:-1]}: {self.reason}"


class _Reading:
    """The entries of one service while they are parsed."""

    def __init__(self, name: str, entries: Iterable[Entry]) -> None:
        self.name = name
        prefix = len(service_key(name, ""))
        self.entries = {entry.key[prefix:]: entry for entry in entries}
        self.problems: list[Problem] = []

    def report(self, attribute: str, reason: str) -> None:
        self.problems.append(Problem(self.name, service_key(self.name, attribute), reason))

    def read(self, attribute: str, parse: Callable[[str], T], otherwise: T) -> T:
        """Return the parsed value of `attribute`; `otherwise` when there is none or a bad one, which is reported."""
        entry = self.entries.get(attribute)
        if entry is None:
            return otherwise
        try:
            return parse(entry.value)
        except ValueError as error:
            self.report(attribute, str(error))
            return otherwise

    def revision(self, attribute: str) -> int:
        return self.entries[attribute].mod_revision if attribute in self.entries else 0

    def instance(self, entry: Entry) -> Instance | None:
        """Return the instance of a key hosts/ID, or None for a bad one."""
        attribute = entry.key.removeprefix(service_key(self.name, ""))
        try:
            name = parse_id(attribute.removeprefix("hosts/"))
            endpoint = parse_endpoint(entry.value)
        except ValueError as error:
            self.report(attribute, str(error))
            return None
        weight = self.read(f"weight/{name}", parse_weight, DEFAULT_WEIGHT)
        return Instance(name, endpoint, weight, f"drain/{name}" in self.entries, entry.lease)

    def instances(self) -> tuple[Instance, ...]:
        """Return the good instances, sorted by id; the oldest ones if there are too many."""
        hosts = [entry for attribute, entry in self.entries.items() if attribute.startswith("hosts/")]
        hosts.sort(key=lambda entry: (entry.create_revision, entry.key))
        found = [instance for instance in map(self.instance, hosts) if instance is not None]
        if len(found) > MAX_INSTANCES:
            self.report("hosts/", f"{len(found)} instances: only the {MAX_INSTANCES} oldest are used")
        return tuple(sorted(found[:MAX_INSTANCES], key=lambda instance: instance.id))


_SINGLE = frozenset({"scheme", "host_port", "private", "sni", "check"})
_MANY = ("hosts/", "weight/", "drain/", GENERATION)


def parse_service(name: str, entries: Iterable[Entry]) -> tuple[Service | None, tuple[Problem, ...]]:
    """Return the service of the keys under /services/NAME, and what is wrong with them. None only for a bad name."""
    reading = _Reading(name, entries)
    if not valid_name(name):
        reason = "not a service's name: lower-case labels of a-z 0-9 _ - joined by dots, at most 200 characters"
        return None, (Problem(name, service_key(name, ""), reason),)
    service = Service(
        name,
        scheme=reading.read("scheme", parse_scheme, None),
        instances=reading.instances(),
        host_port=reading.read("host_port", parse_port, 0),
        private="private" in reading.entries,
        sni=reading.read("sni", parse_sni, ()),
        check=reading.read("check", parse_check, DEFAULT_CHECK),
        created=min((entry.create_revision for entry in reading.entries.values()), default=0),
        host_port_revision=reading.revision("host_port"),
        sni_revision=reading.revision("sni"),
    )
    _report_generations(reading)
    _report_unrouted(service, reading)
    return service, tuple(sorted(reading.problems, key=lambda problem: (problem.key, problem.reason)))


def _report_generations(reading: _Reading) -> None:
    """Report bad weights of generations: the registrars, which alone read them, leave these out."""
    for attribute in reading.entries:
        if not attribute.startswith(GENERATION):
            continue
        try:
            parse_generation(attribute.removeprefix(GENERATION))
        except ValueError as error:
            reading.report(attribute, f"not used: {error}")
        else:
            reading.read(attribute, parse_weight, 0)


def _report_unrouted(service: Service, reading: _Reading) -> None:
    """Report what is right by itself and yet leads to no route, and keys that we don't know."""
    for attribute in reading.entries:
        if attribute not in _SINGLE and not attribute.startswith(_MANY):
            known = ", ".join(sorted(_SINGLE))
            reading.report(attribute, f"unknown: one of {known} or hosts/, weight/, drain/ID, generation/GEN")
    if service.scheme is None:
        if "scheme" not in reading.entries:
            reading.report("scheme", "not set, so the service is not routed")
        return
    if not service.instances:
        reading.report("hosts/", "no instance")
    if service.sni and service.scheme is not Scheme.TCP:
        reading.report("sni", f"not used: the scheme is {service.scheme}, not tcp")
    elif service.sni and service.private:
        reading.report("sni", "not used: the service is private")
    by_name = not service.private and (service.scheme is not Scheme.TCP or service.sni)
    if not by_name and not service.host_port:
        reading.report("host_port", "not set, and nothing else leads to the service")
