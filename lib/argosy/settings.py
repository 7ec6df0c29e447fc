"""What every setting is: its type, its bounds, and the default of those that stand in a list or under a name.

The defaults of the top level and its sections are in `defaults.DEFAULTS`.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from argosy.errors import ConfigError, nearest
from argosy.gce_settings import GceSettings
from argosy.maintenance import parse_window
from argosy.order import start_order

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
ENV_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
IMAGE_PATTERN = r"^[a-z0-9]+([._-][a-z0-9]+)*$"
FILE_NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]*$"
RESERVED_SERVICES = ("agent", "dns", "etcd", "installer", "resolver", "router", "secrets", "swap")
SERVICE_CHECK_PATTERN = r"^(|tcp|none|http /[^\s\"']*( \d{3}(,\d{3})*)?)$"
"""What stands in etcd under /services/NAME/check (argosy.schema reads it)."""


def _address(value: str) -> str:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv4 address") from None
    return value


def _optional_address(value: str) -> str:
    return _address(value) if value else value


def _interface(value: str) -> str:
    if value:
        try:
            address, _, prefix = value.partition("/")
            ipaddress.IPv4Interface((address, int(prefix)))
        except ValueError:
            raise ValueError(f"{value!r} is not an address with a prefix, such as 172.17.42.1/16") from None
    return value


def _network(value: str) -> str:
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv4 network, such as 192.168.55.0/24") from None
    if network.prefixlen > 24:
        raise ValueError(f"{value!r} is too small: machines begin at its address .101, so it needs a /24 or wider")
    return value


def _registry_address(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z0-9.-]+:\d{1,5}", value):
        raise ValueError(f"{value!r} is not HOST:PORT, such as 10.0.0.5:5000")
    return value


def _window(value: str) -> str:
    parse_window(value)
    return value


def _one_line(value: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise ValueError("it holds a control character or a line break")
    return value


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
ImageName = Annotated[str, Field(pattern=IMAGE_PATTERN)]
FileName = Annotated[str, Field(pattern=FILE_NAME_PATTERN)]
EnvName = Annotated[str, Field(pattern=ENV_NAME_PATTERN)]
Line = Annotated[str, AfterValidator(_one_line)]
Address = Annotated[str, AfterValidator(_address)]
OptionalAddress = Annotated[str, AfterValidator(_optional_address)]
Port = Annotated[int, Field(ge=1, le=65535)]
PositiveSeconds = Annotated[float, Field(gt=0)]
PublishedPort = Annotated[str, Field(pattern=r"^(\d{1,3}(\.\d{1,3}){3}:)?\d{1,5}:\d{1,5}(/(tcp|udp))?$")]
SettingKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$")]
Os = Literal["debian", "ubuntu", "flatcar", "fedora-coreos"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SshSettings(Section):
    """`key`: the private key's path; empty means the cluster's own, made when first needed.
    `entry_node`: `[user@]host[:port]` through which the machines are reached; empty means directly."""

    user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]*$")]
    key: str
    port: Port
    entry_node: str
    connect_timeout_seconds: PositiveSeconds
    connect_attempts: Annotated[int, Field(ge=1)]
    command_timeout_seconds: PositiveSeconds
    max_parallel: Annotated[int, Field(ge=1)]


class SecretReference(Section):
    """Where a secret is: a file, or a command that prints it. `generate_bytes` > 0 makes a missing file."""

    file: str = ""
    command: list[str] = []
    generate_bytes: Annotated[int, Field(ge=0, le=1024)] = 0

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.file and self.command:
            raise ValueError("give either a file or a command, not both")
        return self


class RegistrySettings(Section):
    """`address`: HOST:PORT as the machines reach it. `bind`: addresses that our own registry listens on (loopback and
    the host of `address` when empty). `password`: secrets/CLUSTER/registry.password when empty."""

    address: Annotated[str, AfterValidator(_registry_address)]
    bind: list[Address]
    user: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    password: SecretReference
    timeout_seconds: PositiveSeconds


class DockerSettings(Section):
    bip: Annotated[str, AfterValidator(_interface)]
    dns: list[Address]
    storage_driver: str


class BuildSettings(Section):
    keep_versions: Annotated[int, Field(ge=1)]
    max_parallel: Annotated[int, Field(ge=1)]


class MachineSettings(Section):
    """What every machine of the cluster is made like. `container`: it is a container, so it gets no swap.
    `authorized_keys`: public keys beside the cluster's own."""

    os: Os
    swap_megabytes: Annotated[int, Field(ge=0)]
    container: bool
    authorized_keys: list[Line]


class EtcdSettings(Section):
    image: ImageName
    client_port: Port
    peer_port: Port
    max_members: Annotated[int, Field(ge=1, le=7)]
    timeout_seconds: PositiveSeconds


class InstallSettings(Section):
    deadline_seconds: PositiveSeconds
    pull_attempts: Annotated[int, Field(ge=1)]


class RolloutSettings(Section):
    """How machines are upgraded, one batch after the other.

    `batch`: how many at once: a number, or a share such as 25%. `canary`: a single machine first. `soak_seconds`:
    between two batches. `drain_seconds`: how long a machine's open connections may take to end. `check_seconds`: how
    long an upgraded machine may take to pass. `windows`: when a rollout may begin a batch (argosy.maintenance); always
    when empty. `free_megabytes`: what a machine must have where Docker keeps images. `clock_skew_seconds`: how far its
    clock may be off. `lock_ttl_seconds`: after how long the lock of an operator who died is free.
    """

    batch: Annotated[str, Field(pattern=r"^[1-9]\d{0,3}%?$", coerce_numbers_to_str=True)]
    canary: bool
    soak_seconds: Annotated[float, Field(ge=0)]
    drain_seconds: Annotated[float, Field(ge=0)]
    check_seconds: PositiveSeconds
    windows: list[Annotated[str, AfterValidator(_window)]]
    free_megabytes: Annotated[int, Field(ge=0)]
    clock_skew_seconds: PositiveSeconds
    lock_ttl_seconds: Annotated[int, Field(ge=6, le=600)]


class ImageSettings(Section):
    """An image that we build. `needs`: build argument -> name of our image whose newest version it receives.
    `wheels`: a requirements file (with hashes), brought as a wheelhouse in the folder `wheelhouse/` of the context;
    `wheels_python`: the image's Python (3.11), when it may be another than this host's. `agent`: our agent's code is
    brought as the folder `argosy/` of the context. `push`: machines need it, so it goes to the registry."""

    context: str
    dockerfile: str = "Dockerfile"
    needs: dict[EnvName, ImageName] = {}
    wheels: str = ""
    wheels_python: Annotated[str, Field(pattern=r"^(3\.\d{1,2})?$")] = ""
    agent: bool = False
    push: bool = True


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

    `env_files`: files on the machine with NAME=VALUE lines. `capabilities`: the only ones that its container has
    (capabilities(7), without CAP_); left out, Docker's own. `discovery`: register its instances; without it they are
    known to systemd alone."""

    requires: list[Name] = []
    network: Literal["bridge", "host"] = "bridge"
    settings: dict[EnvName, SettingKey] = {}
    console: list[Line] = []
    shell: list[Line] = ["/bin/sh"]
    env_files: list[Annotated[str, Field(pattern=r"^/[^\s,]+$")]] = []
    capabilities: list[Annotated[str, Field(pattern=r"^[A-Z_]+$")]] | None = None
    discovery: EndpointSettings | None = None
    memory_megabytes: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _ports_fit_network(self) -> Self:
        if self.network == "host" and self.ports:
            raise ValueError("ports are published only on the bridge network; with network: host leave them out")
        return self


class PortRange(Section):
    first: Port
    last: Port

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"the last port, {self.last}, comes before the first, {self.first}")
        return self


class RouterPorts(Section):
    """Where each machine's router listens. The `*_proxy` ports take the same requests from a balancer, which begins
    each connection with the PROXY protocol. `tls`: shared by the tcp services that are told apart by TLS server name.
    `forwards`: for containers that only their own machine reaches (on its bridge), one port each."""

    http: Port
    http_proxy: Port
    https: Port
    https_proxy: Port
    tls: Port
    tls_proxy: Port
    forwards: PortRange

    @model_validator(mode="after")
    def _all_different(self) -> Self:
        seen: dict[int, str] = {}
        for name, port in self:
            if isinstance(port, int) and port in seen:
                raise ValueError(f"{name} and {seen[port]} are both {port}")
            if isinstance(port, int) and self.forwards.first <= port <= self.forwards.last:
                raise ValueError(f"{name}, {port}, lies among the ports of forwards")
            seen[port] = name
        return self


class DiscoverySettings(Section):
    """Service discovery and routing: the built-in services `router`, `agent` and `dns` on every machine.

    `domain`: names under it lead to the machine's own router. `ttl_seconds`: how long after a crash of a machine, or
    of its agent, its instances stay registered. `check_seconds`: how often a router asks an instance.
    `drain_seconds`: how long an open connection may outlive the configuration that it was made under.
    `default_service`: takes the requests that name no service; without it they are answered with 404. `ssl_support`:
    terminate TLS with the certificates of secrets/CLUSTER/keys/. Both are written to etcd unless they are there.
    """

    enabled: bool
    domain: Name
    agent_image: ImageName
    router_image: ImageName
    dns_image: ImageName
    ttl_seconds: Annotated[int, Field(ge=2, le=3600)]
    check_seconds: PositiveSeconds
    drain_seconds: PositiveSeconds
    default_service: Annotated[str, Field(pattern=r"^([a-z0-9_]([a-z0-9._-]*[a-z0-9_])?)?$")]
    ssl_support: bool
    ports: RouterPorts


class MachineEntry(Section):
    """A machine that is known by name before it exists."""

    address: Address
    os: Os | None = None
    metadata: dict[str, str] = {}


class BalancerSettings(Section):
    """`port`: where the local balancer listens, on loopback and the host's address on the machines' network."""

    port: Port


class LocalSettings(Section):
    provider: Literal["docker", "virtualbox", "libvirt"]
    box: str
    machine_image: ImageName
    memory_megabytes: Annotated[int, Field(ge=256)]
    cpus: Annotated[int, Field(ge=1)]
    subnet: Annotated[str, AfterValidator(_network)]
    host_address: OptionalAddress
    max_machines: Annotated[int, Field(ge=1, le=99)]
    registry_image: ImageName
    boot_deadline_seconds: PositiveSeconds
    balancer: BalancerSettings
    dependencies: dict[Name, ContainerSettings]


class HookSettings(Section):
    """`prepare_machine`: lines of shell, each run as root on a machine before its secrets arrive."""

    prepare_machine: list[Line]


class Settings(Section):
    """One cluster's settings: what `load` returns. `root` is the folder that relative paths start from.
    `provider`: where the machines come from; `static` means that they are there already.
    `templates`: the folder of the system's template resources; empty for none."""

    root: Path
    cluster: Name
    system: Name
    provider: Literal["static", "vagrant", "gce"]
    version_file: str
    state_dir: str
    secrets_dir: str
    templates: str
    ssh: SshSettings
    registry: RegistrySettings
    docker: DockerSettings
    build: BuildSettings
    machine: MachineSettings
    etcd: EtcdSettings
    install: InstallSettings
    rollout: RolloutSettings
    discovery: DiscoverySettings
    images: dict[ImageName, ImageSettings]
    services: dict[Name, ServiceSettings]
    settings: dict[SettingKey, str | int | float | bool]
    secrets: dict[FileName, SecretReference]
    machines: dict[Name, MachineEntry]
    hooks: HookSettings
    local: LocalSettings
    gce: GceSettings

    def find(self, path: str) -> Path:
        """Return the file or folder of the project, else the one that Argosy brings along (images, ...)."""
        own = self.root / path
        brought = Path(__file__).parent / "data" / path
        return brought if brought.exists() and not own.exists() else own

    @property
    def discovered_registry(self) -> str:
        """HOST:PORT by which machines reach the registry once it is registered as a service (scheme tcp, with this
        host's name as its sni); empty without discovery."""
        discovery = self.discovery
        return f"registry.{discovery.domain}:{discovery.ports.tls}" if discovery.enabled else ""

    @property
    def state_path(self) -> Path:
        """What we remember of this cluster: machines.json, known_hosts, the cloud-config files."""
        return self.root / self.state_dir / self.cluster

    @property
    def secrets_path(self) -> Path:
        """This cluster's secrets: pki/, ssh/, registry.password, and machine/ whose files go to every machine."""
        return self.root / self.secrets_dir / self.cluster

    @property
    def config_path(self) -> PurePosixPath:
        """The system's folder on a machine, such as /etc/air."""
        return PurePosixPath("/etc") / self.system

    @property
    def files_path(self) -> PurePosixPath:
        """Where the agent keeps the files that it makes of `templates`, such as /var/lib/air/files."""
        return PurePosixPath("/var/lib") / self.system / "files"

    @model_validator(mode="after")
    def _references(self) -> Self:
        for where, images in (
            ("services", {name: service.image for name, service in self.services.items()}),
            ("local.dependencies", {name: entry.image for name, entry in self.local.dependencies.items()}),
        ):
            for name, image in images.items():
                if image not in self.images:
                    raise ConfigError(
                        f"no image {image!r} under images:{nearest(image, self.images)}",
                        f"{where}.{name}.image",
                    )
        for name, image_settings in self.images.items():
            for needed in image_settings.needs.values():
                if needed not in self.images:
                    raise ConfigError(
                        f"no image {needed!r} under images:{nearest(needed, self.images)}",
                        f"images.{name}.needs",
                    )
        for name, service in self.services.items():
            for required in service.requires:
                if required not in self.services:
                    raise ConfigError(
                        f"no service {required!r}{nearest(required, self.services)}",
                        f"services.{name}.requires",
                    )
            if name in RESERVED_SERVICES:
                raise ConfigError(f"the unit {self.system}-{name}.service is our own", f"services.{name}")
        start_order({name: service.requires for name, service in self.services.items()})
        seen: dict[str, str] = {}
        for name, entry in self.machines.items():
            if entry.address in seen:
                raise ConfigError(
                    f"{entry.address} is already the address of {seen[entry.address]}",
                    f"machines.{name}.address",
                )
            seen[entry.address] = name
        return self
