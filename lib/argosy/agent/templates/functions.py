"""What a template can do: Jinja2 in a sandbox, with confd's functions over the keys of its resource.

The same keys always give the same text: there is no clock, no randomness, no environment, no look-up of names.
"""

from __future__ import annotations

import functools
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from jinja2 import Environment, FunctionLoader, StrictUndefined, TemplateNotFound, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from argosy.agent.templates.confd import FUNCTIONS, printed
from argosy.agent.templates.resources import TEMPLATES, Resource
from argosy.errors import ConfigError
from argosy.etcd.values import Entry
from argosy.schema import SERVICES, Service, parse_directory
from argosy.text import matching

_UNSET = object()


@dataclass(frozen=True, slots=True)
class Pair:
    """A key, without the resource's prefix, and its value."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class InstanceView:
    """One instance as templates see it. `weight`: 0 to 256; a draining one takes no new connections."""

    id: str
    address: str
    port: int
    weight: int
    draining: bool


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One service as templates see it. `scheme`: empty when it is not routed; `instances`: by their ids."""

    name: str
    scheme: str
    instances: tuple[InstanceView, ...]


class Keys:
    """The functions over the keys that one resource names. Each says what to do when it can't answer."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._entries: dict[str, Entry] = {}
        self._values: dict[str, str] = {}

    def show(self, entries: Mapping[str, Entry]) -> None:
        """Take those of all `entries` that the resource names."""
        self._entries = {key: entries[key] for key in sorted(entries) if self._resource.concerns(key)}
        cut = len(self._resource.prefix)
        self._values = {key[cut:]: entry.value for key, entry in self._entries.items()}

    def functions(self) -> dict[str, Callable[..., Any]]:
        found: dict[str, Callable[..., Any]] = {
            "get": self.get,
            "getv": self.getv,
            "gets": self.gets,
            "getvs": self.getvs,
            "ls": self.ls,
            "lsdir": self.lsdir,
            "exists": self.exists,
            "services": self.services,
            **FUNCTIONS,
        }
        return {name: _named(name, function) for name, function in found.items()}

    def get(self, key: str) -> Pair:
        """Return the pair of `key`."""
        return Pair(key, self.getv(key))

    def getv(self, key: str, default: Any = _UNSET) -> Any:
        """Return the value of `key`, or `default`."""
        if key in self._values:
            return self._values[key]
        if default is not _UNSET:
            return default
        if not key.startswith("/"):
            raise LookupError(f"a key begins with a slash: write /{key}")
        full = self._resource.prefix + key
        if not self._resource.concerns(full):
            raise LookupError(f"keys of {self._resource.name} does not name {full}: add it there")
        raise LookupError(f"there is no key {full}: set it, or give getv a default")

    def gets(self, pattern: str) -> list[Pair]:
        """Return the pairs whose keys fit `pattern`, sorted by key. `*` and `?` stand for no slash."""
        return [Pair(key, self._values[key]) for key in matching(pattern, self._values)]

    def getvs(self, pattern: str) -> list[str]:
        """Return the values of the keys that fit `pattern`, sorted."""
        return sorted(pair.value for pair in self.gets(pattern))

    def ls(self, folder: str) -> list[str]:
        """Return the names directly below `folder`, keys and folders, sorted; of a key its own name, too."""
        own = {folder.rpartition("/")[2]} if folder in self._values else set()
        return sorted(own | {name for name, _ in self._below(folder)})

    def lsdir(self, folder: str) -> list[str]:
        """Return the names directly below `folder` that have keys below them, sorted."""
        return sorted({name for name, rest in self._below(folder) if rest})

    def exists(self, key: str) -> bool:
        """Return whether there is a key `key`."""
        return key in self._values

    def services(self) -> list[ServiceView]:
        """Return the services among the resource's keys, sorted by name."""
        if not any(not key or f"{key}/".startswith(SERVICES) for key in self._resource.keys):
            raise LookupError(f'keys of {self._resource.name} names no services: add "/services"')
        found = parse_directory(entry for key, entry in self._entries.items() if key.startswith(SERVICES))
        return [_service(name, service) for name, service in sorted(found.services.items())]

    def _below(self, folder: str) -> Iterator[tuple[str, str]]:
        start = f"{folder.rstrip('/')}/"
        for key in self._values:
            if key.startswith(start):
                name, _, rest = key.removeprefix(start).partition("/")
                yield name, rest


def _named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, which names itself where Python tells only of types."""

    @functools.wraps(function)
    def run(*values: Any, **named: Any) -> Any:
        try:
            return function(*values, **named)
        except (TypeError, AttributeError):
            kinds = ", ".join(type(value).__name__ for value in (*values, *named.values()))
            raise ValueError(f"{name} does not take ({kinds}): docs/templates.md says what it does") from None

    return run


class _Sandbox(ImmutableSandboxedEnvironment):
    """Where a table has the name itself, `table.items` is that, as in Go, and not what Python calls by this name."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        found = isinstance(obj, dict) and attribute in obj
        return obj[attribute] if found else super().getattr(obj, attribute)


class ResourceTemplate:
    """The template of one resource, ready to render. May be used by several threads; they take turns."""

    def __init__(self, resource: Resource, sources: Mapping[str, str], facts: Mapping[str, str]) -> None:
        """`facts`: variables about this machine, such as system and machine_name."""
        self._resource = resource
        self._keys = Keys(resource)
        self._environment = environment(sources)
        self._environment.globals |= {**facts, **self._keys.functions()}
        self._turn = threading.Lock()

    def render(self, entries: Mapping[str, Entry]) -> bytes:
        """Return the file's content. Raises ConfigError with the template, its line, and why."""
        with self._turn:
            self._keys.show(entries)
            try:
                text = self._environment.get_template(self._resource.src).render()
                return text.encode(errors="surrogateescape")
            except Exception as error:  # noqa: BLE001 (a template can raise anything; it is told and harms nobody else)
                _tell(error, self._resource)
            finally:
                self._keys.show({})


def environment(sources: Mapping[str, str]) -> Environment:
    """Return a sandbox for the templates `sources`, in which a name that is not there is an error.

    Nothing in it is random. No HTML escaping: what comes out is a configuration file; `tojson` quotes for JSON.
    """

    def load(name: str) -> tuple[str, str, Callable[[], bool]] | None:
        return (sources[name], TEMPLATES + name, lambda: True) if name in sources else None

    made = _Sandbox(
        loader=FunctionLoader(load),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=printed,
    )
    del made.globals["lipsum"], made.filters["random"]
    return made


def check_templates(sources: Mapping[str, str], where: str = "") -> None:
    """Raise ConfigError for the first template that does not parse, or that includes one that is not there."""
    made = environment(sources)
    for name, source in sorted(sources.items()):
        path = f"{where}{TEMPLATES}{name}"
        try:
            made.compile(source, name, path)
            included = [
                template for template in meta.find_referenced_templates(made.parse(source)) if template is not None
            ]
        except TemplateSyntaxError as error:
            raise ConfigError(f"{error.message}: correct the template", f"{path}:{error.lineno}") from None
        for other in included:
            if other not in sources:
                raise ConfigError(f"it includes {other!r}, which is not in {TEMPLATES}", path)


def _tell(error: Exception, resource: Resource) -> NoReturn:
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, TemplateNotFound):
        reason = f"there is no template {TEMPLATES}{error.name}"
    if isinstance(error, TemplateSyntaxError):
        raise ConfigError(f"{reason}: correct the template", f"{error.filename}:{error.lineno}") from None
    lines = [
        f"{frame.f_code.co_filename}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename.startswith(TEMPLATES)
    ]
    raise ConfigError(reason, lines[-1] if lines else TEMPLATES + resource.src) from None


def _service(name: str, found: Service) -> ServiceView:
    instances = (
        InstanceView(instance.id, instance.endpoint.address, instance.endpoint.port, instance.weight, instance.draining)
        for instance in found.instances
    )
    return ServiceView(name, "" if found.scheme is None else str(found.scheme), tuple(instances))
