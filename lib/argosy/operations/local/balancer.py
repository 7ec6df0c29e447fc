"""The local balancer: HAProxy in a container of the host, before the machines' routers."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

import docker
import httpx

from argosy import atomic
from argosy.addressing import host_address
from argosy.balancer import Server, parse_servers, render_config
from argosy.config import Settings, VolumeSettings
from argosy.engine import ContainerSpec, ensure_container, find_container
from argosy.engine_connection import refusals
from argosy.errors import EngineError
from argosy.local_names import container_name, labels_of
from argosy.model import Machine
from argosy.operations.local.facts import Listener

LOOPBACK = "127.0.0.1"
CONFIG_FOLDER = "/etc/haproxy"
RUN_FOLDER = "/run/haproxy"
CONFIG = "haproxy.cfg"
CANDIDATE = "candidate.cfg"
SOCKET = "admin.sock"
REQUEST_SECONDS = 5


def address(settings: Settings) -> str:
    """Return the address to tell a person: on loopback, as long as that reaches it."""
    return f"http://{LOOPBACK}:{settings.local.balancer.port}"


def listeners(settings: Settings) -> list[Listener]:
    name, port = container_name(settings, "balancer"), settings.local.balancer.port
    return [Listener("local.balancer.port", name, where, port) for where in (LOOPBACK, host_address(settings))]


def config_of(settings: Settings, machines: Sequence[Machine]) -> str:
    """Return the HAProxy configuration for these machines."""
    balancer = settings.local.balancer
    return render_config(
        listen=[LOOPBACK, host_address(settings)],
        port=balancer.port,
        machine_port=balancer.machine_port,
        check_path=balancer.check_path,
        machines=machines,
        owner=os.getuid(),
    )


def spec(settings: Settings, image: str) -> ContainerSpec:
    """On the host's network, so that it sees the clients' own addresses and hands them on."""
    folder = _folder(settings)
    return ContainerSpec(
        name=container_name(settings, "balancer"),
        image=image,
        labels=labels_of(settings, "balancer"),
        network="host",
        volumes=[
            VolumeSettings(source=str(folder / "config"), target=CONFIG_FOLDER, read_only=True),
            VolumeSettings(source=str(folder / "run"), target=RUN_FOLDER),
        ],
        stop_signal="SIGTERM",
        stop_seconds=5,
    )


def ensure(settings: Settings, client: docker.DockerClient, image: str, machines: Sequence[Machine]) -> str:
    """Run the balancer with exactly these machines; return what it took: created, started, reloaded, unchanged...

    A changed configuration is checked by the running HAProxy, then taken over by a new worker without closing a
    connection (SIGUSR2 to the master). One that HAProxy refuses is never put in place.
    """
    folder = _folder(settings)
    for part in ("config", "run"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    text = config_of(settings, machines).encode()
    current = folder / "config" / CONFIG
    running = is_running(settings, client)
    changed = not current.exists() or current.read_bytes() != text
    if changed and running:
        _check(settings, client, text)
    atomic.write_if_changed(current, text)
    outcome = ensure_container(client, spec(settings, image), ready=lambda: _not_listening(settings))
    if changed and outcome == "unchanged":
        _reload(settings, client)
        return "reloaded"
    return outcome


def is_running(settings: Settings, client: docker.DockerClient) -> bool:
    with refusals("balancer"):
        container = find_container(client, container_name(settings, "balancer"))
    return container is not None and container.status == "running"


def servers(settings: Settings) -> list[Server]:
    """Return the machines as the balancer sees them; none when it does not answer."""
    try:
        return parse_servers(_ask(settings, "show stat"))
    except OSError:
        return []


def request(settings: Settings) -> str:
    """Send one request through the balancer; return why it did not succeed, or an empty string."""
    url = f"{address(settings)}{settings.local.balancer.check_path}"
    try:
        # trust_env off: a proxy of the environment is no way to loopback.
        response = httpx.get(url, timeout=REQUEST_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        return f"{url}: {error or type(error).__name__}"
    return "" if response.status_code < 400 else f"{url} answers {response.status_code}"


def _check(settings: Settings, client: docker.DockerClient, text: bytes) -> None:
    atomic.write(_folder(settings) / "config" / CANDIDATE, text)
    command = ["haproxy", "-c", "-q", "-f", f"{CONFIG_FOLDER}/{CANDIDATE}"]
    with refusals("balancer"):
        code, output = client.containers.get(container_name(settings, "balancer")).exec_run(command)
    if code != 0:
        reason = " ".join(bytes(output).decode(errors="replace").split())  # type: ignore[arg-type]
        raise EngineError(f"balancer: HAProxy refuses its new configuration, the old one stays: {reason}")


def _reload(settings: Settings, client: docker.DockerClient) -> None:
    with refusals("balancer"):
        client.containers.get(container_name(settings, "balancer")).kill(signal="SIGUSR2")


def _not_listening(settings: Settings) -> str:
    try:
        with socket.create_connection((LOOPBACK, settings.local.balancer.port), timeout=1):
            return ""
    except OSError as error:
        return f"{LOOPBACK}:{settings.local.balancer.port}: {error.strerror or error}"


def _ask(settings: Settings, command: str) -> str:
    """Send one command to HAProxy's runtime socket and return its answer."""
    folder = os.open(_folder(settings) / "run", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(REQUEST_SECONDS)
            # A socket's path has room for 107 characters only; a project's folder may be deeper.
            connection.connect(f"/proc/self/fd/{folder}/{SOCKET}")
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    finally:
        os.close(folder)


def _folder(settings: Settings) -> Path:
    return settings.state_path / "balancer"
