"""What the system needs beside the machines, as containers of the host: in the example a PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import docker

from argosy.config.loading import CheckSettings, ContainerSettings, Settings, VolumeSettings
from argosy.engine.connection import refusals
from argosy.engine.containers import ContainerSpec, Outcome, ensure_container, find_container, port_bindings
from argosy.engine.names import container_name, labels_of, network_name
from argosy.local import probes
from argosy.local.addressing import host_address
from argosy.local.facts import Listener


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
        address, port = published(settings, name, check.http.port)
        url = f"http://{address}:{port}{check.http.path}"
        return probes.http_reason(url, check.timeout_seconds, check.http.status)
    if check.tcp:
        return probes.tcp_reason(*published(settings, name, check.tcp.port), check.timeout_seconds)
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


def _ports(entry: ContainerSettings, address: str) -> list[str]:
    """Return the ports with the host's address where none is given: what is ours is not for the whole network."""
    return [port if port.count(":") > 1 else f"{address}:{port}" for port in entry.ports]


def _named(settings: Settings, volume: VolumeSettings) -> VolumeSettings:
    if "/" in volume.source:
        return volume
    return volume.model_copy(update={"source": container_name(settings, volume.source)})
