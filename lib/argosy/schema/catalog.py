"""Pure. Everything that a router follows, and how it changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from argosy.etcd.values import Entry
from argosy.schema.keys import (
    CONFIG,
    DEFAULT_SERVICE,
    MACHINES,
    SERVICES,
    SSL_SUPPORT,
    machine_key,
    service_key,
    service_of,
)
from argosy.schema.machines import MachineRecord, parse_machine
from argosy.schema.services import Problem, Service, parse_service
from argosy.schema.values import shown, valid_name

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Directory:
    """Everything that a router follows, at one moment."""

    services: Mapping[str, Service] = field(default_factory=dict)
    machines: Mapping[str, MachineRecord] = field(default_factory=dict)
    ssl_support: bool = False
    default_service: str = ""
    problems: tuple[Problem, ...] = ()


class Catalog:
    """A `Directory` that follows changes: a change costs its own service, not the thousand others.

    What is not under /services/, /config/services/ or /machines/ is ignored. Not for several threads at once.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: dict[str, dict[str, Entry]] = {}
        self._services: dict[str, Service] = {}
        self._machines: dict[str, MachineRecord] = {}
        self._config: dict[str, Entry] = {}
        self._problems: dict[str, tuple[Problem, ...]] = {}
        self.apply(entries)

    def apply(self, put: Iterable[Entry], deleted: Iterable[str] = ()) -> None:
        """Take in the entries that were put, and the keys that were deleted (after the puts)."""
        touched: set[str] = set()
        for entry in put:
            self._put(entry.key, entry, touched)
        for key in deleted:
            self._put(key, None, touched)
        for name in touched:
            self._parse(name)

    def replace(self, entries: Iterable[Entry]) -> None:
        """Forget everything and take in `entries`; what did not change keeps its identity."""
        listed = list(entries)
        keys = {entry.key for entry in listed}
        old = [key for held in self._entries.values() for key in held]
        old += [*self._config, *(machine_key(name) for name in self._machines)]
        old += [key for key in self._problems if key.startswith(MACHINES)]
        self.apply(listed, [key for key in old if key not in keys])

    def directory(self) -> Directory:
        """Return how things stand now. Services that did not change are the very objects of the last time."""
        ssl_support, default, problems = _parse_config(self._config)
        every = [problem for owner in sorted(self._problems) for problem in self._problems[owner]]
        return Directory(dict(self._services), dict(self._machines), ssl_support, default, (*every, *problems))

    def _put(self, key: str, entry: Entry | None, touched: set[str]) -> None:
        if key.startswith(SERVICES):
            name = service_of(key)
            held = self._entries.setdefault(name, {})
            if entry is not None and held.get(key) == entry:  # as a new listing brings most of them
                return
            touched.add(name)
            set_or_drop(held, key, entry)
        elif key.startswith(CONFIG):
            set_or_drop(self._config, key, entry)
        elif key.startswith(MACHINES):
            self._put_machine(key, entry)

    def _put_machine(self, key: str, entry: Entry | None) -> None:
        name = key.removeprefix(MACHINES)
        found = None if entry is None else parse_machine(entry)
        set_or_drop(self._machines, name, found if isinstance(found, MachineRecord) else None)
        set_or_drop(self._problems, key, (found,) if isinstance(found, Problem) else None)

    def _parse(self, name: str) -> None:
        entries = self._entries[name]
        service, problems = parse_service(name, entries.values()) if entries else (None, ())
        if not entries:
            del self._entries[name]
        if service == self._services.get(name):
            # The very object stays, so that nobody does its work again.
            service = self._services.get(name)
        set_or_drop(self._services, name, service)
        set_or_drop(self._problems, service_key(name, ""), problems or None)


def set_or_drop(mapping: dict[str, T], key: str, value: T | None) -> None:
    """Set `key`, or drop it for None."""
    if value is None:
        mapping.pop(key, None)
    else:
        mapping[key] = value


def _parse_config(config: Mapping[str, Entry]) -> tuple[bool, str, list[Problem]]:
    """Return ssl_support, the default service, and what is wrong with either."""
    problems = []
    ssl_support = config[SSL_SUPPORT].value.strip() if SSL_SUPPORT in config else "false"
    if ssl_support not in ("true", "false"):
        problems.append(Problem("", SSL_SUPPORT, f"{shown(ssl_support)} is neither true nor false, so it is false"))
    default = config[DEFAULT_SERVICE].value.strip() if DEFAULT_SERVICE in config else ""
    if default and not valid_name(default):
        problems.append(Problem("", DEFAULT_SERVICE, f"{shown(default)} is no service's name"))
        default = ""
    return ssl_support == "true", default, problems


def parse_directory(entries: Iterable[Entry]) -> Directory:
    """Return what the entries say; those under other prefixes don't matter."""
    return Catalog(entries).directory()
