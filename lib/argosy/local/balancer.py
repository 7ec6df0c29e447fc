"""The local balancer, before the machines' routers: HAProxy, and our agent that keeps it up to date from etcd.

Two containers of the host, as on a machine: HAProxy serves on while its agent is replaced. The agent follows
/machines/*: a machine that drains or is gone gets no new connection.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import docker

from argosy import atomic
from argosy.config.builtin import AGENT_RUN, AGENT_STATE, RUN, STATE
from argosy.config.containers import OPEN_FILES
from argosy.config.loading import Settings, VolumeSettings
from argosy.engine.connection import connect, refusals
from argosy.engine.containers import ContainerSpec, Outcome, ensure_container, find_container
from argosy.engine.names import container_name, labels_of
from argosy.local import probes
from argosy.local.addressing import LOOPBACK, host_address
from argosy.local.balancer_config import Server, initial_files, parse_servers
from argosy.local.facts import Listener
from argosy.model import Endpoint, Machine
from argosy.paths import Names
from argosy.pki import authority
from argosy.report import Report
from argosy.routing.plan import HEALTH_PATH

BALANCER, AGENT = "balancer", "balancer-agent"
REQUEST_SECONDS = 5


def address(settings: Settings) -> str:
    """Return the address to tell a person: on loopback, as long as that reaches it."""
    return f"http://{LOOPBACK}:{settings.local.balancer.port}"


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
        open_files=OPEN_FILES,
        volumes=_shared_folders(settings),
        stop_signal="SIGTERM",
        stop_seconds=5,
    )


def agent_spec(settings: Settings, image: str, machines: Sequence[Machine]) -> ContainerSpec:
    """It has the operator's certificate for etcd, and no Docker: it registers nothing."""
    folder, secrets = _folder(settings), Names(settings.system).secrets
    operator = authority.ensure_operator_certificate(settings.secrets_path)
    port = settings.etcd.client_port
    options = {
        "role": "balancer",
        "listen": _endpoints(settings),
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
        open_files=OPEN_FILES,
        volumes=[
            *_shared_folders(settings),
            VolumeSettings(source=str(folder / "agent-run"), target=AGENT_RUN),
            VolumeSettings(source=str(folder / "agent"), target=AGENT_STATE),
        ],
        files={
            f"{secrets}/ca.crt": authority.authority_path(settings.secrets_path),
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
    folder, port = _folder(settings), settings.local.balancer.port
    for part in ("run", "state", "agent-run", "agent"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    if not (folder / "state" / "haproxy.cfg").exists():
        _write_initial(settings, folder / "state", machines)
    outcomes = [
        ensure_container(client, router_spec(settings, router), lambda: probes.tcp_reason(LOOPBACK, port, 1)),
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


def renew_certificates(settings: Settings, machines: Sequence[Machine], report: Report) -> None:
    """Let the agent have the present certificates, if it is there."""
    with connect() as client:
        with refusals(AGENT):
            there = find_container(client, container_name(settings, AGENT))
        if there and follow(settings, client, "", machines) != "unchanged":
            report(BALANCER, "its agent has other certificates")


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
    return probes.http_reason(f"{address(settings)}{HEALTH_PATH}", REQUEST_SECONDS, range(400))


def _write_initial(settings: Settings, folder: Path, machines: Sequence[Machine]) -> None:
    files = initial_files(settings, _endpoints(settings), machines)
    # haproxy.cfg last: it names the others.
    for name in sorted(files, key=lambda name: name == "haproxy.cfg"):
        (folder / name).parent.mkdir(exist_ok=True)
        atomic.write(folder / name, files[name].encode())


def _addresses(settings: Settings) -> list[str]:
    return [LOOPBACK, host_address(settings)]


def _endpoints(settings: Settings) -> list[str]:
    return [str(Endpoint(where, settings.local.balancer.port)) for where in _addresses(settings)]


def _shared_folders(settings: Settings) -> list[VolumeSettings]:
    folder = _folder(settings)
    return [
        VolumeSettings(source=str(folder / "run"), target=RUN),
        VolumeSettings(source=str(folder / "state"), target=STATE),
    ]


def _folder(settings: Settings) -> Path:
    return settings.state_path / "balancer"
