"""The settings of what runs in a container: system services, local dependencies, and what they have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from argosy.config.types import (
    EnvName,
    FileName,
    ImageName,
    Line,
    Name,
    Port,
    PositiveSeconds,
    PublishedPort,
    Section,
    SettingKey,
)

SERVICE_CHECK_PATTERN = r"^(|tcp|none|http /[^\s\"']*( \d{3}(,\d{3})*)?)$"
"""What stands in etcd under /services/NAME/check (argosy.schema reads it)."""


OPEN_FILES = 20_000
"""How many files our own programs may have open, each in its container. Engines allow from 1024 to a billion: HAProxy
and dnsmasq size themselves by it, and nothing raises the agent's. (etcd and the registry need none: Go raises the soft
limit to the hard one, and makes no table by it.)"""


class HttpCheck(Section):
    port: Port
    path: Annotated[Line, Field(pattern=r"^/")] = "/"
    status: list[Annotated[int, Field(ge=100, le=599)]] = [200]


class TcpCheck(Section):
    port: Port


class CheckSettings(Section):
    """Exactly one of `http`, `tcp`, `command` (argv, run inside the container)."""

    http: HttpCheck | None = None
    tcp: TcpCheck | None = None
    command: list[Line] = []
    deadline_seconds: PositiveSeconds = 60
    timeout_seconds: PositiveSeconds = 5

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum((self.http is not None, self.tcp is not None, bool(self.command))) != 1:
            raise ValueError("give exactly one of http, tcp, command")
        return self


class StopSettings(Section):
    signal: Annotated[str, Field(pattern=r"^[A-Z0-9+]+$")] = "TERM"
    grace_seconds: Annotated[int, Field(ge=0)] = 10


class VolumeSettings(Section):
    """`source`: a volume's name or an absolute folder on the machine; `target`: absolute, in the container."""

    source: Annotated[Line, Field(pattern=r"^[^:,]+$")]
    target: Annotated[Line, Field(pattern=r"^/[^:,]*$")]
    read_only: bool = False

    @property
    def named(self) -> bool:
        """Whether Docker keeps it under its name, on the machine where it was first used."""
        return not self.source.startswith("/")


def kept_volumes(volumes: Iterable[VolumeSettings]) -> list[str]:
    """Return the named volumes that are written to: what is in them is on the machine where it ran."""
    return [volume.source for volume in volumes if volume.named and not volume.read_only]


class ContainerSettings(Section):
    """What a system service and a local dependency have in common.

    `env`: literal values. `settings`: environment variable -> key under /settings/ in etcd, read at each start.
    `secrets`: names of files of the secrets folder, mounted read-only at /run/secrets/NAME.
    """

    image: ImageName
    env: dict[EnvName, Line] = {}
    secrets: list[FileName] = []
    ports: list[PublishedPort] = []
    volumes: list[VolumeSettings] = []
    command: list[Line] = []
    check: CheckSettings | None = None
    stop: StopSettings = StopSettings()

    @property
    def kept_volumes(self) -> list[str]:
        return kept_volumes(self.volumes)


class EndpointSettings(Section):
    """How the instances of a service are found and routed to. `port`: in the container. Without `scheme` they are
    registered and not routed. `check`: how an instance is asked: tcp, none, or `http /path [200,204]`; empty means as
    the service's own `check` says, where that asks this port, else tcp. The rest is as under /services/NAME/ in etcd
    (docs/discovery.md)."""

    port: Port
    scheme: Literal["", "http", "https", "http-and-https", "tcp"] = ""
    host_port: Annotated[int, Field(ge=0, le=65535)] = 0
    private: bool = False
    sni: list[Annotated[str, Field(pattern=r"^[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?$")]] = []
    weight: Annotated[int, Field(ge=0, le=256)] = 100
    check: Annotated[str, Field(pattern=SERVICE_CHECK_PATTERN)] = ""

    @model_validator(mode="after")
    def _fits_scheme(self) -> Self:
        if self.sni and self.scheme != "tcp":
            raise ValueError("sni is for scheme tcp: http and https are told apart by their Host header")
        if self.private and self.scheme and not self.host_port:
            raise ValueError("a private service is reached by its host_port alone: give one")
        return self


class ServiceSettings(ContainerSettings):
    """A system service: one instance on every machine, as the unit SYSTEM-NAME.service.

    `machines`: the only ones that run it, by name; it stays in service while they are upgraded. All when left out.
    `env_files`: files on the machine with NAME=VALUE lines. `capabilities`: the only ones that its container has
    (capabilities(7), without CAP_); left out, Docker's own. `discovery`: register its instances; without it they are
    known to systemd alone. `open_files`: the most that its programs may have open; 0 means as the
    engine allows."""

    machines: list[Name] = []
    requires: list[Name] = []
    network: Literal["bridge", "host"] = "bridge"
    settings: dict[EnvName, SettingKey] = {}
    console: list[Line] = []
    shell: list[Line] = ["/bin/sh"]
    env_files: list[Annotated[str, Field(pattern=r"^/[^\s,]+$")]] = []
    capabilities: list[Annotated[str, Field(pattern=r"^[A-Z_]+$")]] | None = None
    discovery: EndpointSettings | None = None
    memory_megabytes: Annotated[int, Field(ge=0)] = 0
    open_files: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _ports_fit_network(self) -> Self:
        if self.network == "host" and self.ports:
            raise ValueError("ports are published only on the bridge network; with network: host leave them out")
        return self
