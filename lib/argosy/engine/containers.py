"""The Docker engine of the provisioning host: containers, networks and volumes of ours, each made once.

`ensure_container` is idempotent: a label holds a hash of the specification, so an unchanged one is left alone and a
changed one is replaced. The registry, the balancer and the local dependencies all run through it. Images are in
`engine_images`. Everything raises EngineError, with the engine's own reason, when the engine refuses.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from operator import not_
from pathlib import Path
from typing import Literal

import docker
from docker.errors import NotFound
from docker.models.containers import Container
from docker.models.networks import Network
from docker.models.volumes import Volume
from docker.types import IPAMConfig, IPAMPool, LogConfig, Ulimit
from docker.types import Mount as DockerMount

from argosy.clock import wait_until
from argosy.config.loading import VolumeSettings
from argosy.engine.connection import one_line, refusals, try_port
from argosy.engine.names import SYSTEM_LABEL, refuse_foreign
from argosy.errors import DeadlineExceeded, EngineError, Unhealthy

SPEC_LABEL = "argosy.spec"
SECRETS_PATH = "/run/secrets"

Outcome = Literal["created", "replaced", "started", "unchanged"]
Kind = Literal["container", "network", "volume"]
Ready = Callable[[], str]
"""Says why something isn't ready yet, or nothing when it is."""


@dataclass(frozen=True)
class ContainerSpec:
    """A container as it should be. `image`: a local reference; versions don't move, so the name stands for the bytes.

    `ports`: `[ADDRESS:]HOST:CONTAINER[/udp]`, repeated for several addresses; none on `network="host"`.
    `files`: path in the container -> file on this host, `secrets`: the same under /run/secrets/NAME. Both are mounted
    read-only, and their content is part of the specification: a renewed certificate replaces the container.
    `volumes`: a source without a slash names a volume, which is made with the container's labels.
    `open_files`: the most that its programs may have open; 0 means as many as the engine allows.
    `labels` must hold SYSTEM_LABEL: it is how we know our own.
    """

    name: str
    image: str
    labels: Mapping[str, str]
    command: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ports: Sequence[str] = ()
    volumes: Sequence[VolumeSettings] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)
    network: str = ""
    stop_signal: str = "SIGTERM"
    stop_seconds: int = 10
    restart: str = "unless-stopped"
    open_files: int = 0

    def mounted_files(self) -> dict[str, Path]:
        """Return every file that is mounted: path in the container -> absolute path on this host."""
        secrets = {f"{SECRETS_PATH}/{name}": path for name, path in self.secrets.items()}
        return {target: path.resolve() for target, path in {**self.files, **secrets}.items()}

    def digest(self) -> str:
        """Return the hash that tells whether the specification has changed. Raises EngineError if a file lacks."""
        document = asdict(self)
        document["volumes"] = [volume.model_dump() for volume in self.volumes]
        del document["secrets"]
        if not self.open_files:  # a container of before there was the limit stays as it is
            del document["open_files"]
        document["files"] = {
            target: [str(path), _file_digest(path)] for target, path in sorted(self.mounted_files().items())
        }
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise EngineError(f"{path}: it can't be mounted: {error.strerror}") from None


def ensure_network(
    client: docker.DockerClient,
    name: str,
    labels: Mapping[str, str],
    *,
    subnet: str = "",
    gateway: str = "",
    dynamic_range: str = "",
) -> bool:
    """Make the bridge network `name` unless it is there; return whether it was made.

    `dynamic_range`: the part of `subnet` from which the engine gives addresses by itself; all of it when empty.

    Raises Refused when a network of that name is another checkout's, EngineError when it has another subnet.
    """
    with refusals(f"network {name}"):
        found = [network for network in client.networks.list(names=[name]) if network.name == name]
        if not found:
            pools = [IPAMPool(subnet=subnet, gateway=gateway or None, iprange=dynamic_range or None)] if subnet else []
            ipam = IPAMConfig(pool_configs=pools) if pools else None
            client.networks.create(name, driver="bridge", labels=dict(labels), ipam=ipam)
            return True
        refuse_foreign(f"network {name}", labels_on(found[0]), labels)
        subnets = [pool.get("Subnet") for pool in found[0].attrs["IPAM"]["Config"] or []]
    if subnet and subnet not in subnets:
        raise EngineError(
            f"network {name}: it is there with {', '.join(map(str, subnets))} instead of {subnet}: "
            f"remove it (`docker network rm {name}`) or change the subnet"
        )
    return False


def ensure_container(
    client: docker.DockerClient, spec: ContainerSpec, ready: Ready | None = None, deadline_seconds: float = 60
) -> Outcome:
    """Make `spec` true and wait until `ready` says so; return what it took. Idempotent.

    A container of that name that isn't ours is never touched. One that can't be started is removed again.
    Raises Refused when it is another checkout's; EngineError; Unhealthy when it dies before it is ready;
    DeadlineExceeded when it isn't ready in time.
    """
    with refusals(spec.name):
        outcome = _settle(client, spec)
    if ready:
        _wait_until_ready(client, spec, ready, deadline_seconds)
    return outcome


def expected_outcome(client: docker.DockerClient, spec: ContainerSpec) -> Outcome:
    """Return what `ensure_container` would do, changing nothing."""
    with refusals(spec.name):
        return _needed(spec, find_container(client, spec.name))


def _settle(client: docker.DockerClient, spec: ContainerSpec) -> Outcome:
    current = find_container(client, spec.name)
    outcome = _needed(spec, current)
    if current and outcome == "started":
        _check_ports(client, spec)
        current.start()
    if current and outcome == "replaced":
        remove_container(current)
    if outcome in ("created", "replaced"):
        _create(client, spec)
    return outcome


def _needed(spec: ContainerSpec, current: Container | None) -> Outcome:
    if current is None:
        return "created"
    # A container has its image's labels too, so the system's alone doesn't say that we made it.
    if SPEC_LABEL not in current.labels or current.labels.get(SYSTEM_LABEL) != spec.labels[SYSTEM_LABEL]:
        raise EngineError(
            f"{spec.name}: a container of that name is there and isn't ours: remove it (`docker rm -f {spec.name}`)"
        )
    refuse_foreign(f"container {spec.name}", current.labels, spec.labels)
    if current.labels.get(SPEC_LABEL) == spec.digest():
        if current.status == "running":
            return "unchanged"
        if current.status in ("exited", "created"):
            return "started"
    return "replaced"


def find_container(client: docker.DockerClient, name: str) -> Container | None:
    """Return the container `name`, running or not."""
    try:
        return client.containers.get(name)
    except NotFound:
        return None


def remove_container(container: Container) -> None:
    """Stop politely, with the signal and grace period it was made with; remove it and its nameless volumes."""
    try:
        if container.status == "running":
            container.stop(timeout=container.attrs["Config"].get("StopTimeout") or 10)
        container.remove(v=True, force=True)
    except NotFound:
        pass


def _create(client: docker.DockerClient, spec: ContainerSpec) -> None:
    _check_ports(client, spec)
    for volume in spec.volumes:
        if "/" not in volume.source:
            made = client.volumes.create(volume.source, labels=dict(spec.labels))
            refuse_foreign(f"volume {volume.source}", labels_on(made), spec.labels)
    host_config = client.api.create_host_config(
        port_bindings=port_bindings(spec.ports),
        mounts=_mounts(spec),
        network_mode=spec.network or None,
        restart_policy={"Name": spec.restart},
        log_config=LogConfig(type="json-file", config={"max-size": "10m", "max-file": "3"}),
        ulimits=[Ulimit(name="nofile", soft=spec.open_files, hard=spec.open_files)] if spec.open_files else None,
    )
    try:
        made = client.api.create_container(
            spec.image,
            list(spec.command) or None,
            name=spec.name,
            environment=dict(spec.env),
            ports=[tuple(str(port).split("/")) for port in port_bindings(spec.ports)],
            labels={**spec.labels, SPEC_LABEL: spec.digest()},
            stop_signal=spec.stop_signal,
            stop_timeout=spec.stop_seconds,
            host_config=host_config,
        )
    except NotFound:
        raise EngineError(f"{spec.name}: no image {spec.image} here: build it first (`inv build.images`)") from None
    container = client.containers.get(made["Id"])
    try:
        container.start()
    except BaseException:
        container.remove(v=True, force=True)
        raise


def _mounts(spec: ContainerSpec) -> list[DockerMount]:
    mounts = [
        DockerMount(
            volume.target, volume.source, "bind" if "/" in volume.source else "volume", read_only=volume.read_only
        )
        for volume in spec.volumes
    ]
    files = spec.mounted_files().items()
    return mounts + [DockerMount(target, str(path), "bind", read_only=True) for target, path in files]


def port_bindings(ports: Sequence[str]) -> dict[int | str, list[tuple[str, int]]]:
    """Return `[ADDRESS:]HOST:CONTAINER[/PROTOCOL]` as the engine wants it: container port -> [(address, host port)]."""
    bindings: dict[int | str, list[tuple[str, int]]] = {}
    for port in ports:
        published, _, protocol = port.partition("/")
        *address, host_port, container_port = published.split(":")
        key = f"{container_port}/{protocol or 'tcp'}"
        bindings.setdefault(key, []).append((address[0] if address else "0.0.0.0", int(host_port)))  # noqa: S104
    return bindings


def _check_ports(client: docker.DockerClient, spec: ContainerSpec) -> None:
    """Say which port is taken before anything is made: the engine would say it after, in words of its own."""
    if not client.api.base_url.startswith("http+docker://"):  # a remote engine's ports can't be tried from here
        return
    for container_port, bindings in port_bindings(spec.ports).items():
        kind = socket.SOCK_DGRAM if str(container_port).endswith("/udp") else socket.SOCK_STREAM
        for address, port in bindings:
            try_port(spec.name, address, port, kind)


def _wait_until_ready(client: docker.DockerClient, spec: ContainerSpec, ready: Ready, deadline_seconds: float) -> None:
    def attempt() -> str:
        reason = ready()
        if reason:
            with refusals(spec.name):
                _refuse_dead(client, spec)
        return reason

    if reason := wait_until(attempt, deadline_seconds, done=not_):
        raise DeadlineExceeded(
            f"{spec.name}: not ready after {deadline_seconds:g} s: {reason} (see `docker logs {spec.name}`)"
        )


def _refuse_dead(client: docker.DockerClient, spec: ContainerSpec) -> None:
    container = find_container(client, spec.name)
    if container and container.status in ("created", "running") and not container.attrs["RestartCount"]:
        return
    lines = container.logs(tail=1).decode(errors="replace") if container else ""
    code = container.attrs["State"]["ExitCode"] if container else "unknown"
    raise Unhealthy(
        f"{spec.name}: its container ended (exit code {code}) before it was ready; its last line: "
        f"{one_line(lines) or 'none'} (see `docker logs {spec.name}`)"
    )


def remove_labelled(
    client: docker.DockerClient, labels: Mapping[str, str], kinds: Sequence[Kind] = ("container", "network")
) -> list[str]:
    """Remove what carries all of `labels`; return `KIND NAME` of each. Volumes hold data: only when asked for."""
    with refusals("clean-up"):
        return remove_all(labelled(client, labels, kinds))


def remove_all(found: Mapping[str, Container | Network | Volume]) -> list[str]:
    """Remove what `labelled` has found; return its names."""
    for thing in found.values():
        remove_container(thing) if isinstance(thing, Container) else thing.remove()
    return list(found)


def labelled(
    client: docker.DockerClient, labels: Mapping[str, str], kinds: Sequence[Kind]
) -> dict[str, Container | Network | Volume]:
    """Return what carries all of `labels`, running or not, by `KIND NAME`."""
    chosen: dict[str, str | list[str] | bool] = {"label": [f"{key}={value}" for key, value in labels.items()]}
    listings: dict[Kind, Callable[[], Sequence[Container | Network | Volume]]] = {
        "container": lambda: client.containers.list(all=True, filters=chosen, ignore_removed=True),
        "network": lambda: client.networks.list(filters=chosen),
        "volume": lambda: client.volumes.list(filters=chosen),
    }
    return {f"{kind} {container.name}": container for kind in kinds for container in listings[kind]()}


def labels_on(thing: Container | Network | Volume) -> Mapping[str, str]:
    return thing.labels if isinstance(thing, Container) else thing.attrs.get("Labels") or {}
