"""The settings under `gce:`, types of servers among them. Their defaults are data: gce_defaults.GCE."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from argosy.config.sections import SecretReference
from argosy.config.types import EnvName, FileName, Line, PositiveSeconds, Reference, Section
from argosy.errors import ConfigError, nearest

# https://cloud.google.com/compute/docs/naming-resources, /docs/labeling-resources
RESOURCE_PATTERN = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
OUR_LABELS = "argosy-"


def _emulator(value: str) -> str:
    """Nobody's credentials are sent to it, so it may only be on this host."""
    if not value:
        return value
    parts = urlsplit(value)
    try:
        loopback = ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    if parts.scheme != "http" or not loopback or not parts.port or parts.path.strip("/"):
        raise ValueError(f"{value!r} is not an emulator on this host, such as http://127.0.0.1:8085")
    return value.rstrip("/")


def _labels(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if name.startswith(OUR_LABELS):
            raise ValueError(f"{name!r}: labels that begin with {OUR_LABELS} are our own")
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name) or not re.fullmatch(r"[a-z0-9_-]{0,63}", text):
            raise ValueError(f"{name!r}: labels are of lower-case letters, digits, _ and -, at most 63")
    return value


ResourceName = Annotated[str, Field(pattern=RESOURCE_PATTERN)]
OptionalName = Annotated[str, Field(pattern=r"^([a-z]([a-z0-9-]{0,61}[a-z0-9])?)?$")]
FolderPath = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._/-]*)?$")]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]


class GceImage(Section):
    """`name`: one image, for good; without it the newest of `family`."""

    project: Line
    family: OptionalName = ""
    name: OptionalName = ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if not self.family and not self.name:
            raise ValueError("give the family whose newest image is meant, or one image's name")
        return self


class GceDisk(Section):
    gigabytes: Annotated[int, Field(ge=1, le=65536)]
    type: ResourceName = "pd-balanced"


class GceContainer(Section):
    """What a server of a type outside the cluster runs. In `env` {project}, {system}, {cluster}, {name} and {address}
    are filled in. `secrets`: files at /run/secrets/NAME; secrets/CLUSTER/gce/SERVER/NAME unless a reference says where.
    `data`: where it has the data disk. `user`: the uid that reads the secrets and owns the data."""

    image: Reference
    env: dict[EnvName, Line] = {}
    secrets: dict[FileName, SecretReference] = {}
    ports: list[Annotated[str, Field(pattern=r"^\d{1,5}:\d{1,5}$")]] = []
    command: list[Line] = []
    data: FolderPath = ""
    user: Annotated[int, Field(ge=0)] = 0


class GceType(Section):
    """A type of server. `cluster`: it is a machine of the cluster, and boots with the cluster's cloud-config; the
    others run one `container`, or nothing. `serves_registry`: it is given the cluster's registry's certificate, key and
    htpasswd as secrets. `format`: the cloud-config's dialect, when not that of the OS."""

    cluster: bool = False
    serves_registry: bool = False
    os: Literal["debian", "ubuntu", "flatcar", "fedora-coreos", "cos"]
    format: Literal["", "cloud-init", "coreos", "ignition"] = ""
    machine_type: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    image: GceImage
    boot_disk: GceDisk
    data_disk: GceDisk | None = None
    scopes: list[Annotated[str, Field(pattern=r"^(https://www\.googleapis\.com/auth/)?[a-z][a-z._-]*$")]] = []
    service_account: Line = "default"
    external_address: bool = True
    tags: list[ResourceName] = []
    container: GceContainer | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.cluster and (self.os == "cos" or self.container):
            raise ValueError("a machine of the cluster runs the system: give it an OS for machines, and no container")
        if not self.cluster and self.format:
            raise ValueError("format is for machines of the cluster")
        if self.container and self.container.data and not self.data_disk:
            raise ValueError("container.data needs a data_disk")
        return self


class GceBalancer(Section):
    """The load balancer before the cluster's routers. `drain_seconds`: how long open connections may stay when a
    machine leaves it."""

    check_seconds: Annotated[int, Field(ge=1, le=300)]
    healthy_after: Annotated[int, Field(ge=1, le=10)]
    unhealthy_after: Annotated[int, Field(ge=1, le=10)]
    drain_seconds: Annotated[int, Field(ge=0, le=3600)]


class GceSettings(Section):
    """One cluster's place in a project of Google Compute Engine. `region`: that of `zone` when empty. `emulator`: the
    URL of a pretended Compute API on this host, which is asked without credentials and whose servers don't exist."""

    project: Annotated[str, Field(pattern=r"^([a-z0-9.-]+:)?[a-z0-9-]*$")]
    region: OptionalName
    zone: OptionalName
    network: ResourceName
    subnetwork: OptionalName
    labels: Labels
    max_parallel: Annotated[int, Field(ge=1, le=50)]
    attempts: Annotated[int, Field(ge=1, le=20)]
    request_timeout_seconds: PositiveSeconds
    deadline_seconds: PositiveSeconds
    boot_deadline_seconds: PositiveSeconds
    emulator: Annotated[str, AfterValidator(_emulator)]
    balancer: GceBalancer
    types: dict[ResourceName, GceType]
    servers: dict[ResourceName, str]

    @model_validator(mode="after")
    def _references(self) -> Self:
        for server, type_ in self.servers.items():
            if type_ not in self.types:
                raise ConfigError(f"no type {type_!r}{nearest(type_, self.types)}", f"gce.servers.{server}")
        if self.region and self.zone and not self.zone.startswith(f"{self.region}-"):
            raise ConfigError(f"zone {self.zone} is not in region {self.region}", "gce.zone")
        return self

    @property
    def region_of_zone(self) -> str:
        return self.region or self.zone.rpartition("-")[0]

    def type_named(self, name: str) -> GceType:
        """Return the type. Raises ConfigError with the nearest name."""
        if name not in self.types:
            known = ", ".join(self.types)
            raise ConfigError(f"no type {name!r} of servers{nearest(name, self.types)}; known: {known}", "gce.types")
        return self.types[name]
