"""Pure. What an operator may change in discovery, decided from the keys that are there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from argosy.discovery.differences import check_text
from argosy.discovery.report import registered_by
from argosy.errors import ConfigError, Refused, nearest
from argosy.etcd.values import Entry
from argosy.model import MachineState, Step
from argosy.schema import (
    MACHINES,
    SERVICES,
    Problem,
    drain_key,
    instance_key,
    machine_key,
    parse_check,
    parse_directory,
    parse_endpoint,
    parse_id,
    parse_port,
    parse_scheme,
    parse_sni,
    parse_weight,
    service_key,
    service_of,
    valid_name,
    weight_key,
)
from argosy.text import json_object, printable

T = TypeVar("T")
Conflicts = Callable[[Sequence[Entry]], Iterable[Problem]]
"""Says what of these keys a router would not use, since somebody else claims the same."""
PRESENT = "true"
"""The value of a key that only has to be there."""


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What is to be written, as one transaction. `put`: key -> value, without a lease; `delete`: keys, `prefix`: all
    those are, so that new ones go, too; `relied`: keys that must stay as they were read; `warnings`: what to tell
    beside it. Nothing to write means: already so."""

    put: Mapping[str, str]
    delete: tuple[str, ...] = ()
    prefix: str = ""
    relied: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        return not self.put and not self.delete

    def steps(self) -> list[Step]:
        """Return the change as `--dry-run` prints it."""
        puts = [Step(printable(key), f"set to {printable(value)}") for key, value in self.put.items()]
        return puts + [Step(printable(key), "delete") for key in self.delete]


@dataclass(frozen=True, slots=True)
class Registration:
    """An instance to be registered by hand, in an operator's words. What is empty is left as it is."""

    service: str
    endpoint: str
    id: str = ""
    scheme: str = ""
    host_port: str = ""
    private: bool = False
    sni: str = ""
    weight: str = ""
    check: str = ""

    def keys(self) -> dict[str, str]:
        """Return the keys and their values, as plainly written as they can be. Raises ConfigError for a bad word."""
        if not valid_name(self.service):
            reason = "not a service's name: lower-case labels of a-z 0-9 _ - joined by dots, at most 200 characters"
            raise ConfigError(reason, printable(self.service) or "name")
        endpoint = str(_parsed("endpoint", parse_endpoint, self.endpoint))
        name = _parsed("--id", parse_id, self.id or endpoint)
        if registered_by(name):
            raise ConfigError(
                f"{printable(name)} has the form MACHINE:CONTAINER, which agents alone register: choose another", "--id"
            )
        values = {
            service_key(self.service, "scheme"): self.scheme and _parsed("--scheme", parse_scheme, self.scheme),
            instance_key(self.service, name): endpoint,
            service_key(self.service, "host_port"): self.host_port
            and str(_parsed("--host-port", parse_port, self.host_port)),
            service_key(self.service, "private"): PRESENT if self.private else "",
            service_key(self.service, "sni"): self.sni and " ".join(_parsed("--sni", parse_sni, self.sni)),
            weight_key(self.service, name): self.weight and str(_parsed("--weight", parse_weight, self.weight)),
            service_key(self.service, "check"): self.check and check_text(_parsed("--check", parse_check, self.check)),
        }
        return {key: str(value) for key, value in values.items() if value}


def plan_register(
    registration: Registration, entries: Iterable[Entry], conflicts: Conflicts = lambda _: ()
) -> KeyChange:
    """Return what registers the instance. `entries`: all that routers follow.

    Raises ConfigError for a bad word, and Refused when a router would not use what was asked for: another service has
    it, or the service's other keys don't go with it.
    """
    present = {entry.key: entry for entry in entries}
    wanted = registration.keys()
    put = {key: value for key, value in wanted.items() if not _is(present.get(key), value)}
    after = _after(present, put)
    problems = parse_directory(after).problems
    claims = set(conflicts(after)) - set(conflicts(list(present.values())))
    # What becomes of a scheme may depend on what is still to come, such as ssl_support; it takes nothing from anybody.
    scheme = service_key(registration.service, "scheme")
    refused = [
        *(claim for claim in claims if claim.key != scheme),
        *(problem for problem in problems if problem.key in wanted),
    ]
    if refused:
        raise Refused(f"{'; '.join(sorted(map(str, refused)))}: nothing was written")
    own = {problem for problem in problems if problem.service == registration.service} | claims
    relied = tuple(key for key in wanted if key not in put)
    return KeyChange(put, relied=relied, warnings=tuple(sorted(map(str, own))))


def refuse_claims(service: str, values: Mapping[str, str], entries: Iterable[Entry], conflicts: Conflicts) -> None:
    """Refuse what another service has already. `values`: what is going to be put, by attribute (host_port, sni, ...);
    `entries`: all that routers follow."""
    listed = {entry.key: entry for entry in entries}
    after = _after(listed, {service_key(service, attribute): value for attribute, value in values.items()})
    claims = set(conflicts(after)) - set(conflicts(list(listed.values())))
    taken = sorted(str(claim) for claim in claims if claim.service == service)
    if taken:
        raise Refused(f"{'; '.join(taken)}: nothing was changed")


def plan_deregister(service: str, ids: Sequence[str], entries: Iterable[Entry], *, force: bool = False) -> KeyChange:
    """Return what deregisters these instances, or the whole service with all its keys when none is named.

    `entries`: those under /services/. Raises ConfigError for a word that can be no name, Refused for an instance that
    an agent would register again, unless `force`.
    """
    if not service or "/" in service:
        raise ConfigError("not a service's name", printable(service) or "name")
    for name in ids:
        _parsed("id", parse_id, name)
    listed = {entry.key: entry for entry in entries}
    own = [key for key in listed if service_of(key) == service]
    hosts = instance_key(service, "")
    known = [key.removeprefix(hosts) for key in own if key.startswith(hosts)]
    gone = [name for name in known if not ids or name in ids]
    _refuse_agents(service, [name for name in gone if registered_by(name)], force)
    if not ids:
        services = dict.fromkeys(printable(service_of(key)) for key in listed)
        missing = f"there is no service {printable(service)}{nearest(printable(service), services)}"
        return KeyChange({}, tuple(own), service_key(service, ""), warnings=() if own else (missing,))
    keys = [make(service, name) for name in dict.fromkeys(ids) for make in (instance_key, weight_key, drain_key)]
    unknown = [
        f"{printable(service)} has no instance {printable(name)}{nearest(name, dict.fromkeys(known))}"
        for name in ids
        if name not in known
    ]
    return KeyChange({}, delete=tuple(key for key in keys if key in listed), warnings=tuple(unknown))


def _refuse_agents(service: str, ids: Sequence[str], force: bool) -> None:
    if ids and not force:
        first = f"{printable(service)}/{printable(ids[0])}"
        others = f" (and {len(ids) - 1} more)" if len(ids) > 1 else ""
        raise Refused(
            f"{first}{others}: the agent of {registered_by(ids[0])} registers it and does so again within seconds; use "
            f"inv discovery.drain {first}, or stop its container (--force deletes the key all the same)"
        )


@dataclass(frozen=True, slots=True)
class Target:
    """What is drained: a machine, or (when `instance` is set) an instance of a service."""

    name: str
    instance: str = ""

    def __str__(self) -> str:
        return printable(f"{self.name}/{self.instance}" if self.instance else self.name)

    @property
    def prefix(self) -> str:
        """The keys that its draining is decided on."""
        return SERVICES if self.instance else MACHINES


def parse_target(word: str) -> Target:
    """Return the target of SERVICE/ID or MACHINE. Raises ConfigError for a word that is neither."""
    name, slash, instance = word.partition("/")
    if not name or (slash and not instance) or "/" in instance:
        raise ConfigError("neither a machine's name nor SERVICE/ID", printable(word) or "target")
    return Target(name, instance)


def plan_drain(target: Target, entries: Iterable[Entry], drain: bool) -> KeyChange:
    """Return what begins or ends the draining of the target. `entries`: those under its `prefix`."""
    if target.instance:
        return plan_instance_drain(target, entries, drain)
    return plan_machine_drain(target, machine_key(target.name), entries, drain)


def plan_instance_drain(target: Target, entries: Iterable[Entry], drain: bool) -> KeyChange:
    """Return what begins or ends the draining of an instance. `entries`: those under /services/.

    Raises Refused for an instance that there is none of; one that is gone may be undrained all the same.
    """
    listed = {entry.key: entry for entry in entries}
    key, host = drain_key(target.name, target.instance), instance_key(target.name, target.instance)
    if not drain:
        return KeyChange({}, delete=(key,) if key in listed else ())
    if host not in listed:
        known = [_shown_instance(name) for name in listed if name.startswith(instance_key(service_of(name), ""))]
        raise Refused(
            f"there is no instance {target}{nearest(str(target), dict.fromkeys(known))}: see inv discovery.list"
        )
    return KeyChange({} if key in listed else {key: PRESENT}, relied=(host,))


def plan_machine_drain(target: Target, key: str, entries: Iterable[Entry], drain: bool) -> KeyChange:
    """Return what puts a machine's record under `key` into the state draining or active, and leaves the rest of it.

    `entries`: those under /machines/. Raises Refused for a machine that is unknown or down, or has a bad record.
    """
    listed = {entry.key: entry for entry in entries}
    entry = listed.get(key)
    if entry is None:
        known = {printable(name.rpartition("/")[2]): name for name in listed}
        words = ", ".join(sorted(known)) or "none"
        raise Refused(f"there is no machine {target}{nearest(str(target), known)}; known: {words}")
    record = _record(entry)
    state = record.get("state", MachineState.ACTIVE)
    wanted = MachineState.DRAINING if drain else MachineState.ACTIVE
    if state == MachineState.DOWN:
        raise Refused(f"{target} is down: no router sends anything to it")
    return KeyChange({} if state == wanted else {key: json.dumps({**record, "state": str(wanted)})})


def _record(entry: Entry) -> dict[str, object]:
    found = json_object(entry.value)
    if found is None:
        raise Refused(f"{printable(entry.key)} is no JSON object: repair it first")
    return found


def _shown_instance(key: str) -> str:
    service = service_of(key)
    return printable(f"{service}/{key.removeprefix(instance_key(service, ''))}")


def _is(entry: Entry | None, value: str) -> bool:
    """Return whether the key has this value already, for good: a leased one goes with its lease."""
    return entry is not None and entry.value == value and not entry.lease


def _after(present: Mapping[str, Entry], put: Mapping[str, str]) -> list[Entry]:
    """Return all entries as they are when these are put; each keeps the revision that created it."""
    newest = 1 + max((entry.mod_revision for entry in present.values()), default=0)
    created = {key: present[key].create_revision if key in present else newest for key in put}
    kept = [entry for key, entry in present.items() if key not in put]
    return [*kept, *(Entry(key, value, created[key], newest) for key, value in put.items())]


def _parsed(option: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(str(error), option) from None
