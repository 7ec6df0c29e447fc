"""The local balancer, before the machines' routers: HAProxy, and our agent that keeps it up to date from etcd.

Two containers of the host, as on a machine: HAProxy serves on while its agent is replaced. The agent follows
/machines/*: a machine that drains or is gone gets no new connection.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path

import docker
import httpx

from argosy import atomic, pki
from argosy.addressing import host_address
from argosy.balancer import Server, initial_files, parse_servers
from argosy.builtin_services import AGENT_RUN, AGENT_STATE, RUN, STATE
from argosy.config import Settings, VolumeSettings
from argosy.engine import ContainerSpec, Outcome, ensure_container, find_container
from argosy.engine_connection import refusals
from argosy.local_names import container_name, labels_of
from argosy.machine_files import Names
from argosy.model import Endpoint, Machine
from argosy.operations.local.facts import Listener
from argosy.routing import HEALTH_PATH

LOOPBACK = "127.0.0.1"
BALANCER, AGENT = "balancer", "balancer-agent"
REQUEST_SECONDS = 5


def address(settings: Settings) -> str:
    """Return the address to tell a person: on loopback, as long as that reaches it."""
    return f"http://{LOOPBACK}:{settings.local.balancer.port}"


def images(settings: Settings) -> tuple[str, str]:
    """Return the images of HAProxy and of the agent."""
    return settings.discovery.router_image, settings.discovery.agent_image


def parts(settings: Settings) -> tuple[str, ...]:
    """Return the names of its containers, less the cluster's."""
    return (BALANCER, AGENT) if settings.discovery.enabled else ()


def listeners(settings: Settings) -> list[Listener]:
    """Return where it listens; nowhere when the machines have no routers."""
    if not settings.discovery.enabled:
        return []
    name, port = container_name(settings, BALANCER), settings.local.balancer.port
    return [Listener("local.balancer.port", name, where, port) for where in _addresses(settings)]


def router_spec(settings: Settings, image: str) -> ContainerSpec:
    """On the host's network, so that it sees the clients' own addresses and hands them on."""
    return ContainerSpec(
        name=container_name(settings, BALANCER),
        image=image,
        labels=labels_of(settings, "balancer"),
        network="host",
        volumes=_shared_folders(settings),
        stop_signal="SIGTERM",
        stop_seconds=5,
    )


def agent_spec(settings: Settings, image: str, machines: Sequence[Machine]) -> ContainerSpec:
    """It has the operator's certificate for etcd, and no Docker: it registers nothing."""
    folder, secrets = _folder(settings), Names(settings.system).secrets
    operator = pki.ensure_operator_certificate(settings.secrets_path)
    port = settings.etcd.client_port
    options = {
        "role": "balancer",
        "listen": [str(Endpoint(where, settings.local.balancer.port)) for where in _addresses(settings)],
        "machine_port": settings.discovery.ports.http_proxy,
        "check_seconds": settings.discovery.check_seconds,
        "drain_seconds": settings.discovery.drain_seconds,
        "ttl_seconds": settings.discovery.ttl_seconds,
    }
    return ContainerSpec(
        name=container_name(settings, AGENT),
        image=image,
        labels=labels_of(settings, "balancer"),
        env={
            "SYSTEM": settings.system,
            "CLUSTER": settings.cluster,
            "MACHINE_NAME": BALANCER,
            "ETCD_ENDPOINTS": ",".join(f"https://{machine.address}:{port}" for machine in machines),
            "ARGOSY_AGENT": json.dumps(options),
        },
        network="host",
        volumes=[
            *_shared_folders(settings),
            VolumeSettings(source=str(folder / "agent-run"), target=AGENT_RUN),
            VolumeSettings(source=str(folder / "agent"), target=AGENT_STATE),
        ],
        files={
            f"{secrets}/ca.crt": pki.authority_path(settings.secrets_path),
            f"{secrets}/etcd-client.crt": operator.certificate,
            f"{secrets}/etcd-client.key": operator.key,
        },
        stop_seconds=5,
    )


def ensure(
    settings: Settings, client: docker.DockerClient, router: str, agent: str, machines: Sequence[Machine]
) -> Outcome:
    """Run the balancer before `machines`; return what it took. `router`, `agent`: the images.

    Before there is an etcd that the agent could ask, HAProxy gets a configuration with all of the machines, and its
    checks find those that serve. From then on the agent writes it.
    """
    folder = _folder(settings)
    for part in ("run", "state", "agent-run", "agent"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    if not (folder / "state" / "haproxy.cfg").exists():
        _write_initial(settings, folder / "state", machines)
    outcomes = [
        ensure_container(client, router_spec(settings, router), ready=lambda: _not_listening(settings)),
        ensure_container(client, agent_spec(settings, agent, machines)),
    ]
    return next((outcome for outcome in outcomes if outcome != "unchanged"), "unchanged")


def follow(settings: Settings, client: docker.DockerClient, image: str, machines: Sequence[Machine]) -> Outcome:
    """Let its agent look for etcd on `machines`; HAProxy's container serves on as it is.

    The agent keeps the image that it runs; `image`: what it gets when there is none.
    """
    with refusals(AGENT):
        current = find_container(client, container_name(settings, AGENT))
    in_use = str(current.attrs["Config"]["Image"]) if current else image
    return ensure_container(client, agent_spec(settings, in_use, machines))


def servers(settings: Settings, client: docker.DockerClient) -> list[Server]:
    """Return the machines as the balancer sees them; none when one of its containers does not run."""
    with refusals(BALANCER):
        agent = find_container(client, container_name(settings, AGENT))
        if agent is None or agent.status != "running" or not is_running(settings, client):
            return []
        code, output = agent.exec_run(["python3", "-m", "argosy.agent", "haproxy", "show", "stat"])
    return parse_servers(bytes(output).decode()) if code == 0 else []  # type: ignore[arg-type]


def is_running(settings: Settings, client: docker.DockerClient) -> bool:
    with refusals(BALANCER):
        container = find_container(client, container_name(settings, BALANCER))
    return container is not None and container.status == "running"


def request(settings: Settings) -> str:
    """Send one request through the balancer; return why it did not succeed, or an empty string."""
    url = f"{address(settings)}{HEALTH_PATH}"
    try:
        # trust_env off: a proxy of the environment is no way to loopback.
        response = httpx.get(url, timeout=REQUEST_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        return f"{url}: {error or type(error).__name__}"
    return "" if response.status_code < 400 else f"{url} answers {response.status_code}"


def _write_initial(settings: Settings, folder: Path, machines: Sequence[Machine]) -> None:
    listen = [Endpoint(where, settings.local.balancer.port) for where in _addresses(settings)]
    discovery = settings.discovery
    files = initial_files(
        machines,
        listen=listen,
        machine_port=discovery.ports.http_proxy,
        check_seconds=discovery.check_seconds,
        drain_seconds=discovery.drain_seconds,
    )
    # haproxy.cfg last: it names the others.
    for name in sorted(files, key=lambda name: name == "haproxy.cfg"):
        (folder / name).parent.mkdir(exist_ok=True)
        atomic.write(folder / name, files[name].encode())


def _not_listening(settings: Settings) -> str:
    try:
        with socket.create_connection((LOOPBACK, settings.local.balancer.port), timeout=1):
            return ""
    except OSError as error:
        return f"{LOOPBACK}:{settings.local.balancer.port}: {error.strerror or error}"


def _addresses(settings: Settings) -> list[str]:
    return [LOOPBACK, host_address(settings)]


def _shared_folders(settings: Settings) -> list[VolumeSettings]:
    folder = _folder(settings)
    return [
        VolumeSettings(source=str(folder / "run"), target=RUN),
        VolumeSettings(source=str(folder / "state"), target=STATE),
    ]


def _folder(settings: Settings) -> Path:
    return settings.state_path / "balancer"
