"""What an operator may change in discovery, decided from the keys that are there. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from argosy.discovery_report import registered_by
from argosy.errors import ConfigError, Refused, nearest
from argosy.model import MachineState, Step
from argosy.schema import (
    KeyValue,
    Problem,
    drain_key,
    instance_key,
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
from argosy.service_changes import check_text, plain

T = TypeVar("T")
Conflicts = Callable[[Sequence[KeyValue]], Iterable[Problem]]
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
        puts = [Step(plain(key), f"set to {plain(value)}") for key, value in self.put.items()]
        return puts + [Step(plain(key), "delete") for key in self.delete]


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
            raise ConfigError(reason, plain(self.service) or "name")
        endpoint = str(_parsed("endpoint", parse_endpoint, self.endpoint))
        name = _parsed("--id", parse_id, self.id or endpoint)
        if registered_by(name):
            raise ConfigError(
                f"{plain(name)} has the form MACHINE:CONTAINER, which agents alone register: choose another", "--id"
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


@dataclass(frozen=True, slots=True)
class _Planned:
    """A key as it will be; its revisions are those of the newest one."""

    key: str
    value: str
    create_revision: int
    mod_revision: int
    lease: int = 0


def plan_register(
    registration: Registration, entries: Iterable[KeyValue], conflicts: Conflicts = lambda _: ()
) -> KeyChange:
    """Return what registers the instance. `entries`: all that routers follow.

    Raises ConfigError for a bad word, and Refused when a router would not use what was asked for: another service has
    it, or the service's other keys don't go with it.
    """
    present = {entry.key: entry for entry in entries}
    wanted = registration.keys()
    put = {key: value for key, value in wanted.items() if not _is(present.get(key), value)}
    newest = 1 + max((entry.mod_revision for entry in present.values()), default=0)
    planned = [_planned(key, value, present.get(key), newest) for key, value in put.items()]
    after: list[KeyValue] = [*(entry for key, entry in present.items() if key not in put), *planned]
    problems = parse_directory(after).problems
    claims = set(conflicts(after)) - set(conflicts(list(present.values())))
    # What becomes of a scheme may depend on what is still to come, such as ssl_support; it takes nothing from anybody.
    scheme = service_key(registration.service, "scheme")
    refused = [*(it for it in claims if it.key != scheme), *(it for it in problems if it.key in wanted)]
    if refused:
        raise Refused(f"{'; '.join(sorted(map(str, refused)))}: nothing was written")
    own = {it for it in problems if it.service == registration.service} | claims
    relied = tuple(key for key in wanted if key not in put)
    return KeyChange(put, relied=relied, warnings=tuple(sorted(map(str, own))))


def refuse_claims(service: str, values: Mapping[str, str], entries: Iterable[KeyValue], conflicts: Conflicts) -> None:
    """Refuse what another service has already. `values`: what is going to be put, by attribute (host_port, sni, ...);
    `entries`: all that routers follow."""
    listed = {entry.key: entry for entry in entries}
    newest = 1 + max((entry.mod_revision for entry in listed.values()), default=0)
    put = {service_key(service, attribute): value for attribute, value in values.items()}
    planned = [_planned(key, value, listed.get(key), newest) for key, value in put.items()]
    after: list[KeyValue] = [*(entry for key, entry in listed.items() if key not in put), *planned]
    claims = set(conflicts(after)) - set(conflicts(list(listed.values())))
    taken = sorted(str(it) for it in claims if it.service == service)
    if taken:
        raise Refused(f"{'; '.join(taken)}: nothing was changed")


def plan_deregister(service: str, ids: Sequence[str], entries: Iterable[KeyValue], *, force: bool = False) -> KeyChange:
    """Return what deregisters these instances, or the whole service with all its keys when none is named.

    `entries`: those under /services/. Raises ConfigError for a word that can be no name, Refused for an instance that
    an agent would register again, unless `force`.
    """
    if not service or "/" in service:
        raise ConfigError("not a service's name", plain(service) or "name")
    for name in ids:
        _parsed("id", parse_id, name)
    listed = {entry.key: entry for entry in entries}
    own = [key for key in listed if service_of(key) == service]
    hosts = instance_key(service, "")
    known = [key.removeprefix(hosts) for key in own if key.startswith(hosts)]
    gone = [name for name in known if not ids or name in ids]
    _refuse_agents(service, [name for name in gone if registered_by(name)], force)
    if not ids:
        services = dict.fromkeys(plain(service_of(key)) for key in listed)
        missing = f"there is no service {plain(service)}{nearest(plain(service), services)}"
        return KeyChange({}, tuple(own), service_key(service, ""), warnings=() if own else (missing,))
    keys = [make(service, name) for name in dict.fromkeys(ids) for make in (instance_key, weight_key, drain_key)]
    unknown = [
        f"{plain(service)} has no instance {plain(name)}{nearest(name, dict.fromkeys(known))}"
        for name in ids
        if name not in known
    ]
    return KeyChange({}, delete=tuple(key for key in keys if key in listed), warnings=tuple(unknown))


def _refuse_agents(service: str, ids: Sequence[str], force: bool) -> None:
    if ids and not force:
        first = ids[0]
        others = f" (and {len(ids) - 1} more)" if len(ids) > 1 else ""
        raise Refused(
            f"{plain(service)}/{plain(first)}{others}: the agent of {registered_by(first)} registers it, and does so "
            f"again within seconds; use inv discovery.drain {plain(service)}/{plain(first)}, or stop its container "
            "(--force deletes the key all the same)"
        )


@dataclass(frozen=True, slots=True)
class Target:
    """What is drained: a machine, or (when `instance` is set) an instance of a service."""

    name: str
    instance: str = ""

    def __str__(self) -> str:
        return plain(f"{self.name}/{self.instance}" if self.instance else self.name)


def parse_target(word: str) -> Target:
    """Return the target of SERVICE/ID or MACHINE. Raises ConfigError for a word that is neither."""
    name, slash, instance = word.partition("/")
    if not name or (slash and not instance) or "/" in instance:
        raise ConfigError("neither a machine's name nor SERVICE/ID", plain(word) or "target")
    return Target(name, instance)


def plan_instance_drain(target: Target, entries: Iterable[KeyValue], drain: bool) -> KeyChange:
    """Return what begins or ends the draining of an instance. `entries`: those under /services/.

    Raises Refused for an instance that there is none of; one that is gone may be undrained all the same.
    """
    listed = {entry.key: entry for entry in entries}
    key, host = drain_key(target.name, target.instance), instance_key(target.name, target.instance)
    if not drain:
        return KeyChange({}, delete=(key,) if key in listed else ())
    if host not in listed:
        known = [_shown_instance(it) for it in listed if it.startswith(instance_key(service_of(it), ""))]
        raise Refused(
            f"there is no instance {target}{nearest(str(target), dict.fromkeys(known))}: see inv discovery.list"
        )
    return KeyChange({} if key in listed else {key: PRESENT}, relied=(host,))


def plan_machine_drain(target: Target, key: str, entries: Iterable[KeyValue], drain: bool) -> KeyChange:
    """Return what puts a machine's record under `key` into the state draining or active, and leaves the rest of it.

    `entries`: those under /machines/. Raises Refused for a machine that is unknown or down, or has a bad record.
    """
    listed = {entry.key: entry for entry in entries}
    entry = listed.get(key)
    if entry is None:
        known = {plain(it.rpartition("/")[2]): it for it in listed}
        words = ", ".join(sorted(known)) or "none"
        raise Refused(f"there is no machine {target}{nearest(str(target), known)}; known: {words}")
    record = _record(entry)
    state = record.get("state", MachineState.ACTIVE)
    wanted = MachineState.DRAINING if drain else MachineState.ACTIVE
    if state == MachineState.DOWN:
        raise Refused(f"{target} is down: no router sends anything to it")
    return KeyChange({} if state == wanted else {key: json.dumps({**record, "state": str(wanted)})})


def _record(entry: KeyValue) -> dict[str, object]:
    try:
        found = json.loads(entry.value)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Refused(f"{plain(entry.key)} is no JSON object: repair it first")
    return found


def _shown_instance(key: str) -> str:
    service = service_of(key)
    return plain(f"{service}/{key.removeprefix(instance_key(service, ''))}")


def _is(entry: KeyValue | None, value: str) -> bool:
    """Return whether the key has this value already, for good: a leased one goes with its lease."""
    return entry is not None and entry.value == value and not entry.lease


def _planned(key: str, value: str, present: KeyValue | None, revision: int) -> _Planned:
    return _Planned(key, value, present.create_revision if present else revision, revision)


def _parsed(option: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(str(error), option) from None
