"""The sections of the settings, one class each: types and bounds. Their defaults are in `defaults.DEFAULTS`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from argosy.config.containers import ContainerSettings
from argosy.config.references import split_place
from argosy.config.suites import PYTHONS
from argosy.config.types import (
    Address,
    Contradiction,
    EnvName,
    FileName,
    HostName,
    ImageName,
    Interface,
    Line,
    Login,
    Name,
    Network,
    OptionalAddress,
    Os,
    Platform,
    Port,
    PositiveSeconds,
    RegistryAddress,
    RepositoryPath,
    Section,
    UserName,
    Window,
)


class SshSettings(Section):
    """`key`: the private key's path; empty means the cluster's own, made when first needed.
    `entry_node`: `[user@]host[:port]` through which the machines are reached; empty means directly."""

    user: UserName
    key: str
    port: Port
    entry_node: str
    connect_timeout_seconds: PositiveSeconds
    connect_attempts: Annotated[int, Field(ge=1)]
    command_timeout_seconds: PositiveSeconds
    max_parallel: Annotated[int, Field(ge=1)]


class SshTarget(SshSettings):
    """How one machine is reached. `host`: the name or address where its ssh server is."""

    host: HostName


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
    """`address`: HOST or HOST:PORT as the machines reach it; a path after it stands before `repository`, which is what
    the repositories of the images begin with, the system's name when both are empty. `bind`: addresses that our own
    registry listens on; loopback and the host of `address` when empty. `password`: secrets/CLUSTER/registry.password
    when empty."""

    address: RegistryAddress
    repository: RepositoryPath
    bind: list[Address]
    user: Login
    password: SecretReference
    timeout_seconds: PositiveSeconds

    @model_validator(mode="before")
    @classmethod
    def _path_apart(cls, data: Any) -> Any:
        """Give the path of `address` to `repository`: from here on they are two."""
        if not isinstance(data, dict) or "/" not in str(data.get("address")):
            return data
        try:
            address, path = split_place(data["address"])
        except ValueError as error:
            raise Contradiction(str(error), "address") from None
        below = data.get("repository")
        return {**data, "address": address, "repository": f"{path}/{below}" if below else path}


class RegistryLogin(Section):
    """Who we are in a registry that is not the cluster's own. `password`: secrets/CLUSTER/registries/PLACE.password
    when empty."""

    user: Login
    password: SecretReference = SecretReference()

    @model_validator(mode="after")
    def _is_given(self) -> Self:
        if self.password.generate_bytes:
            raise Contradiction("what is made here no registry knows: leave it out", "password.generate_bytes")
        return self


class DockerSettings(Section):
    bip: Interface
    dns: list[Address]
    storage_driver: str


class BuildSettings(Section):
    """`suite`: Debian's, that our images are built on; the host's own or the newest stable one when left out.
    `builder`: `auto` is BuildKit where this host's docker has buildx, else the classic builder. `registry_cache`: the
    cluster's registry keeps what the steps of builds have made, for other hosts."""

    suite: Annotated[str, Field(pattern=f"^({'|'.join(PYTHONS)})$")]
    builder: Literal["auto", "buildkit", "classic"]
    registry_cache: bool
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
    long an upgraded machine may take to pass. `windows`: when a rollout may begin a batch (argosy.config.windows);
    always when empty. `free_megabytes`: what a machine must have where Docker keeps images. `clock_skew_seconds`: how
    far its clock may be off. `lock_ttl_seconds`: after how long the lock of an operator who died is free.
    """

    batch: Annotated[str, Field(pattern=r"^[1-9]\d{0,3}%?$", coerce_numbers_to_str=True)]
    canary: bool
    soak_seconds: Annotated[float, Field(ge=0)]
    drain_seconds: Annotated[float, Field(ge=0)]
    check_seconds: PositiveSeconds
    windows: list[Window]
    free_megabytes: Annotated[int, Field(ge=0)]
    clock_skew_seconds: PositiveSeconds
    lock_ttl_seconds: Annotated[int, Field(ge=6, le=600)]


class ImageSettings(Section):
    """An image that we build. `needs`: build argument -> name of our image whose newest version it receives.
    `wheels`: a requirements file (with hashes), brought as a wheelhouse in the folder `wheelhouse/` of the context;
    `wheels_python`: the image's Python (3.13), when it may be another than this host's. `args`: values of build
    arguments. `secrets`: by id, for RUN --mount=type=secret. `platforms`: what it is built for, such as
    linux/arm64; what the engine is when left out; an image of several when several. `agent`: our agent's code is
    brought as the folder `argosy/` of the context. `push`: machines need it, so it goes to the registry. `on_demand`:
    it is built only when it is named, or when one that is built needs it."""

    context: str
    dockerfile: str = "Dockerfile"
    needs: dict[EnvName, ImageName] = {}
    wheels: str = ""
    wheels_python: Annotated[str, Field(pattern=r"^(3\.\d{1,2})?$")] = ""
    args: dict[EnvName, Line] = {}
    secrets: dict[FileName, SecretReference] = {}
    platforms: list[Platform] = []
    agent: bool = False
    push: bool = True
    on_demand: bool = False

    @model_validator(mode="after")
    def _one_value_each(self) -> Self:
        for name in self.args:
            if name in self.needs:
                raise Contradiction("needs gives this build argument already", f"args.{name}")
        for name, reference in self.secrets.items():
            if not reference.file and not reference.command:
                raise Contradiction("give a file or a command", f"secrets.{name}")
            if reference.generate_bytes:
                raise Contradiction("a secret of a build is not made here", f"secrets.{name}.generate_bytes")
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


class BuiltinChecks(Section):
    """How long the built-in services have to pass their checks after a start, and one try may take."""

    deadline_seconds: PositiveSeconds
    timeout_seconds: PositiveSeconds


class DiscoverySettings(Section):
    """Service discovery and routing: the built-in services `router`, `agent` and `dns` on every machine.

    `domain`: names under it lead to the machine's own router. `ttl_seconds`: how long after a crash of a machine, or
    of its agent, its instances stay registered. `check_seconds`: how often a router asks an instance.
    `drain_seconds`: how long an open connection may outlive the configuration that it was made under.
    `default_service`: takes the requests that name no service; without it they are answered with 404. `ssl_support`:
    terminate TLS with the certificates of secrets/CLUSTER/keys/. Both are written to etcd unless they are there.
    `checks`: of the three services themselves.
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
    checks: BuiltinChecks
    ports: RouterPorts


class MachineSsh(Section):
    """How one machine is reached where that is not as `ssh` says. `host`: the name or address where its ssh server is;
    the machine's `address` when left out."""

    host: HostName | None = None
    port: Port | None = None
    user: UserName | None = None


class MachineEntry(Section):
    """A machine that is known by name before it exists. `address`: by which the other machines reach it."""

    address: Address
    os: Os | None = None
    metadata: dict[str, str] = {}
    ssh: MachineSsh = MachineSsh()


class BalancerSettings(Section):
    """`port`: where the local balancer listens, on loopback and the host's address on the machines' network."""

    port: Port


class LocalSettings(Section):
    """`maker`: what makes machines that are containers; auto: Vagrant where it is installed, else the engine."""

    provider: Literal["docker", "virtualbox", "libvirt"]
    maker: Literal["auto", "vagrant", "engine"]
    box: str
    machine_image: ImageName
    memory_megabytes: Annotated[int, Field(ge=256)]
    cpus: Annotated[int, Field(ge=1)]
    subnet: Network
    host_address: OptionalAddress
    max_machines: Annotated[int, Field(ge=1, le=99)]
    registry_image: ImageName
    boot_deadline_seconds: PositiveSeconds
    balancer: BalancerSettings
    dependencies: dict[Name, ContainerSettings]


class HookSettings(Section):
    """`prepare_machine`: lines of shell, each run as root on a machine before its secrets arrive."""

    prepare_machine: list[Line]
