"""Pure. What the agent's environment says: where it is, and how it must work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from argosy.errors import ConfigError, nearest
from argosy.routing.values import RouterPorts

MACHINE, BALANCER = "machine", "balancer"
VARIABLE = "ARGOSY_AGENT"


class Paths:
    """Where things are in the agent's container and, the router's part of it, in the router's.

    `root`: put before all of them; only tests have another. `router`: HAProxy's haproxy.cfg, maps/ and certs/; `state`:
    what the agent itself remembers, lease.json and the like, 0600; `secrets`: ca.crt, etcd-client.crt, etcd-client.key,
    and in `keys` the router's own certificates; `files`: what the templates role makes, and services mount.
    """

    def __init__(self, system: str, root: Path) -> None:
        self.admin_socket = root / "run/router/admin.sock"
        self.master_socket = root / "run/router/master.sock"
        self.agent_socket = root / "run/agent/agent.sock"
        self.docker_socket = root / "var/run/docker.sock"
        self.router = root / "var/lib/router"
        self.state = root / "var/lib/agent"
        self.secrets = root / "etc" / system / "secrets"
        self.keys = self.secrets / "keys"
        self.templates = root / "var/lib" / system / "templates"
        self.files = PurePosixPath(root / "var/lib" / system / "files")


@dataclass(frozen=True, slots=True)
class Tunables(RouterPorts):
    """The JSON object in ARGOSY_AGENT; every key is optional. Ports are those of `discovery.ports` in the settings.

    `ttl_seconds`: of the agent's lease; `check_seconds`: between a router's checks of one server; `drain_seconds`: how
    long old connections may last; `etcd_seconds`: bounds one call of etcd; `tick_seconds`: between two looks whether
    all is still as it must be; the rest is where the router listens.
    """

    role: str = MACHINE
    ttl_seconds: int = 10
    check_seconds: float = 2
    drain_seconds: float = 300
    domain: str = "local"
    templates: str = ""
    etcd_seconds: float = 3
    tick_seconds: float = 5
    root: str = "/"


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that the agent is told. `endpoints`: (host, port) of each etcd member; `machine`, `address`: our own;
    the balancer, which is no machine, has the name that stands under /routers/, and no address."""

    system: str
    cluster: str
    machine: str
    address: str
    endpoints: tuple[tuple[str, int], ...]
    tunables: Tunables = field(default_factory=Tunables)

    @property
    def paths(self) -> Paths:
        return Paths(self.system, Path(self.tunables.root))

    @property
    def templates(self) -> Path:
        return Path(self.tunables.templates) if self.tunables.templates else self.paths.templates

    @property
    def balancer(self) -> bool:
        return self.tunables.role == BALANCER


def parse_options(environment: Mapping[str, str]) -> Options:
    """Return the options of the process's environment: that of machine.env, and ARGOSY_AGENT.

    SYSTEM, CLUSTER, MACHINE_NAME, MACHINE_ADDRESS, and ETCD_ENDPOINTS as https://HOST:PORT,... Raises ConfigError.
    """
    tunables = _tunables(environment.get(VARIABLE) or "{}")
    machine = () if tunables.role == BALANCER else ("MACHINE_ADDRESS",)
    for name in ("SYSTEM", "CLUSTER", "ETCD_ENDPOINTS", "MACHINE_NAME", *machine):
        if not environment.get(name):
            raise ConfigError("not set: it comes from the machine's /etc/SYSTEM/machine.env", name)
    return Options(
        system=environment["SYSTEM"],
        cluster=environment["CLUSTER"],
        machine=environment["MACHINE_NAME"],
        address=environment.get("MACHINE_ADDRESS", ""),
        endpoints=tuple(_endpoint(name) for name in environment["ETCD_ENDPOINTS"].split(",")),
        tunables=tunables,
    )


def _endpoint(url: str) -> tuple[str, int]:
    scheme, _, rest = url.strip().partition("://")
    host, _, port = rest.rstrip("/").rpartition(":")
    if scheme != "https" or not host or not port.isdecimal():
        raise ConfigError(f"{url!r} is not written as https://HOST:PORT", "ETCD_ENDPOINTS")
    return host.strip("[]"), int(port)


def _tunables(text: str) -> Tunables:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"not JSON: {error}", VARIABLE) from None
    if not isinstance(found, dict):
        raise ConfigError("not a JSON object", VARIABLE)
    known = {field.name: field.default for field in fields(Tunables)}
    values: dict[str, Any] = {}
    for name, value in found.items():
        if name not in known:
            raise ConfigError(f"unknown{nearest(name, known)}", f"{VARIABLE}.{name}")
        values[name] = _converted(name, value, known[name])
    made = Tunables(**values)
    if made.role not in (MACHINE, BALANCER):
        raise ConfigError(f"{made.role!r} is neither {MACHINE} nor {BALANCER}", f"{VARIABLE}.role")
    return made


def _converted(name: str, value: object, default: object) -> object:
    """Return `value`, from JSON, as the kind of value that `default` is."""
    path = f"{VARIABLE}.{name}"
    if isinstance(default, tuple):
        kind: type = int if name == "forward_ports" else str
        if not isinstance(value, list) or not all(type(item) is kind for item in value):
            raise ConfigError(f"not a list of {kind.__name__}: {value!r}", path)
        if name == "forward_ports" and len(value) != 2:
            raise ConfigError(f"not [FIRST, LAST]: {value!r}", path)
        return tuple(value)
    if isinstance(default, str):
        if not isinstance(value, str):
            raise ConfigError(f"not text: {value!r}", path)
        return value
    whole = name.endswith("_port") or name == "ttl_seconds"
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise ConfigError(f"not a {'whole ' if whole else ''}number: {value!r}", path)
    if not (0 < value <= 65535 if name.endswith("_port") else value > 0):
        raise ConfigError(f"out of range: {value!r}", path)
    return value
