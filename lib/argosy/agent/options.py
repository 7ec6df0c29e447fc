"""What the agent is told by its environment: where it is, and how it shall work. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from argosy.errors import ConfigError, nearest

MACHINE, BALANCER = "machine", "balancer"
VARIABLE = "ARGOSY_AGENT"


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things are in the agent's container and, the router's part of it, in the router's.

    `root`: put before all of them; only tests have one.
    """

    system: str
    root: Path = Path("/")

    @property
    def admin_socket(self) -> Path:
        return self.root / "run/router/admin.sock"

    @property
    def master_socket(self) -> Path:
        return self.root / "run/router/master.sock"

    @property
    def router(self) -> Path:
        """HAProxy's haproxy.cfg, maps/ and certs/."""
        return self.root / "var/lib/router"

    @property
    def docker_socket(self) -> Path:
        return self.root / "var/run/docker.sock"

    @property
    def agent_socket(self) -> Path:
        return self.root / "run/agent/agent.sock"

    @property
    def state(self) -> Path:
        """What the agent itself remembers: lease.json and the like, 0600."""
        return self.root / "var/lib/agent"

    @property
    def secrets(self) -> Path:
        """ca.crt, etcd-client.crt, etcd-client.key, and in keys/ the router's own certificates."""
        return self.root / "etc" / self.system / "secrets"

    @property
    def keys(self) -> Path:
        return self.secrets / "keys"

    @property
    def templates(self) -> Path:
        return self.root / "var/lib" / self.system / "templates"

    @property
    def files(self) -> Path:
        """What the templates role makes, and services mount."""
        return self.root / "var/lib" / self.system / "files"


@dataclass(frozen=True, slots=True)
class Tunables:
    """The JSON object in ARGOSY_AGENT; every key is optional. Ports are those of `discovery.ports` in the settings.

    `ttl_seconds`: of the agent's lease; `check_seconds`: between a router's checks of one server; `drain_seconds`: how
    long old connections may last; `etcd_seconds`: bounds one call of etcd; `tick_seconds`: between two looks whether
    all is still as it shall be; `bind_address`: where the router listens, empty for all of the machine. `listen`,
    `machine_port`: only the balancer's, ADDRESS:PORT each and the machines' port that takes the PROXY protocol.
    """

    role: str = MACHINE
    ttl_seconds: int = 10
    check_seconds: float = 2
    drain_seconds: float = 300
    domain: str = "local"
    http_port: int = 80
    proxy_port: int = 81
    https_port: int = 443
    https_proxy_port: int = 444
    tls_port: int = 8443
    tls_proxy_port: int = 8444
    forward_ports: tuple[int, int] = (20000, 20999)
    templates: str = ""
    listen: tuple[str, ...] = ()
    machine_port: int = 81
    bind_address: str = ""
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
        endpoints=tuple(_endpoint(it) for it in environment["ETCD_ENDPOINTS"].split(",")),
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
    known = {it.name: it.default for it in fields(Tunables)}
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
        if not isinstance(value, list) or not all(type(it) is kind for it in value):
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
