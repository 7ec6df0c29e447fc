"""What the system needs beside the machines, as containers of the host: in the example a PostgreSQL."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

import docker
import httpx

from argosy.addressing import host_address
from argosy.config import CheckSettings, ContainerSettings, Settings, VolumeSettings
from argosy.engine import ContainerSpec, Outcome, ensure_container, find_container, port_bindings
from argosy.engine_connection import refusals
from argosy.local_names import container_name, labels_of, network_name, volume_name
from argosy.operations.local.facts import Listener


def listeners(settings: Settings) -> list[Listener]:
    return [
        Listener(f"local.dependencies.{name}.ports", container_name(settings, name), address, port)
        for name, entry in settings.local.dependencies.items()
        for bindings in port_bindings(_ports(entry, host_address(settings))).values()
        for address, port in bindings
    ]


def spec(settings: Settings, name: str, image: str, secrets: Mapping[str, Path]) -> ContainerSpec:
    """Return the container of `local.dependencies.NAME`.

    It listens on the host's address alone, and sits on the machines' network where that is the engine's own.
    `secrets`: file of each secret that it names.
    """
    entry = settings.local.dependencies[name]
    return ContainerSpec(
        name=container_name(settings, name),
        image=image,
        labels=labels_of(settings, "dependency"),
        command=entry.command,
        env=entry.env,
        ports=_ports(entry, host_address(settings)),
        volumes=[_named(settings, volume) for volume in entry.volumes],
        secrets={secret: secrets[secret] for secret in entry.secrets},
        network=network_name(settings) if settings.local.provider == "docker" else "",
        stop_signal=f"SIG{entry.stop.signal.removeprefix('SIG')}",
        stop_seconds=entry.stop.grace_seconds,
    )


def ensure(
    settings: Settings, client: docker.DockerClient, name: str, image: str, secrets: Mapping[str, Path]
) -> Outcome:
    """Run the dependency and wait until it passes its check. Idempotent; its data is on a volume of the cluster."""
    check = settings.local.dependencies[name].check
    ready = (lambda: check_once(settings, client, name, check)) if check else None
    deadline = check.deadline_seconds if check else 0
    return ensure_container(client, spec(settings, name, image, secrets), ready=ready, deadline_seconds=deadline)


def check_once(settings: Settings, client: docker.DockerClient, name: str, check: CheckSettings) -> str:
    """Try the check once; return why it does not pass, or an empty string."""
    if check.http:
        return _check_http(settings, name, check)
    if check.tcp:
        return _check_tcp(*published(settings, name, check.tcp.port), check.timeout_seconds)
    with refusals(name):
        container = find_container(client, container_name(settings, name))
        if container is None or container.status != "running":
            return "its container does not run"
        code, output = container.exec_run(list(check.command))
    return "" if code == 0 else f"its check ends with {code}: {bytes(output).decode(errors='replace').strip()}"  # type: ignore[arg-type]


def published(settings: Settings, name: str, container_port: int) -> tuple[str, int]:
    """Return address and port by which the host reaches a port of the dependency's container."""
    bindings = port_bindings(_ports(settings.local.dependencies[name], host_address(settings)))
    for address, port in bindings.get(f"{container_port}/tcp", []):
        return address, port
    return host_address(settings), container_port


def _check_http(settings: Settings, name: str, check: CheckSettings) -> str:
    assert check.http
    address, port = published(settings, name, check.http.port)
    url = f"http://{address}:{port}{check.http.path}"
    try:
        status = httpx.get(url, timeout=check.timeout_seconds, trust_env=False).status_code
    except httpx.HTTPError as error:
        return f"{url}: {error or type(error).__name__}"
    return "" if status in check.http.status else f"{url} answers {status}"


def _check_tcp(address: str, port: int, timeout_seconds: float) -> str:
    try:
        with socket.create_connection((address, port), timeout=timeout_seconds):
            return ""
    except OSError as error:
        return f"{address}:{port}: {error.strerror or error}"


def _ports(entry: ContainerSettings, address: str) -> list[str]:
    """Return the ports with the host's address where none is given: what is ours is not for the whole network."""
    return [port if port.count(":") > 1 else f"{address}:{port}" for port in entry.ports]


def _named(settings: Settings, volume: VolumeSettings) -> VolumeSettings:
    if "/" in volume.source:
        return volume
    return volume.model_copy(update={"source": volume_name(settings, volume.source)})
