"""Pure. What one machine's engine says of Docker Swarm: JSON of the Engine API in, frozen values out.

Shapes: https://docs.docker.com/engine/api/v1.41/, sections Swarm, Nodes, Services and Tasks. The client is `swarm`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["manager", "worker"]
Availability = Literal["active", "pause", "drain"]

MANAGER: Role = "manager"
WORKER: Role = "worker"
ACTIVE: Availability = "active"
PAUSE: Availability = "pause"
DRAIN: Availability = "drain"
READY = "ready"
DOWN = "down"

# A task in one of these has ended. In the order of swarmkit's states.
ENDED_STATES = frozenset({"complete", "shutdown", "failed", "rejected", "remove", "orphaned"})
RUNNING = "running"
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SwarmInfo:
    """One engine's own view: what it is in.

    `state`: inactive, pending, active, error or locked. `manager`: it is one now. `cluster_id`: the Swarm's; only a
    manager that has a quorum knows it. `managers`: node id -> address:port of the managers that it knows.
    """

    state: str
    node_id: str = ""
    manager: bool = False
    cluster_id: str = ""
    address: str = ""
    error: str = ""
    managers: Mapping[str, str] = field(default_factory=dict)

    @property
    def inside(self) -> bool:
        """Whether it belongs to a Swarm, working or not."""
        return self.state != "inactive"


@dataclass(frozen=True, slots=True)
class Node:
    """A machine as a manager tells it. `manager_address`: address:port; empty for a worker.

    `role`: what is wanted (a demotion takes a moment); `manager_address` says whether it still is a manager.
    `state`: ready, down, unknown or disconnected. `nano_cpus`, `memory_bytes`: what it has, 0 where it does not tell.
    """

    id: str
    version: int
    hostname: str
    address: str
    role: str = WORKER
    availability: str = ACTIVE
    state: str = READY
    leader: bool = False
    reachable: bool = False
    manager_address: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    nano_cpus: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class SwarmService:
    """A service of Swarm. `version`: what an update has to name; `spec`: as it was created, ServiceSpec."""

    id: str
    version: int
    name: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any] = field(repr=False)
    created: str = ""

    @property
    def replicas(self) -> int | None:
        """How many are wanted; None of a global service."""
        mode = self.spec.get("Mode") or {}
        return int((mode["Replicated"] or {}).get("Replicas", 1)) if "Replicated" in mode else None

    @property
    def image(self) -> str:
        """The reference that its instances run."""
        return str(self.spec["TaskTemplate"]["ContainerSpec"]["Image"])

    @property
    def reserved(self) -> tuple[int, int]:
        """What has to be free for an instance: billionths of a CPU, bytes of memory."""
        amounts = (self.spec.get("TaskTemplate", {}).get("Resources") or {}).get("Reservations") or {}
        return int(amounts.get("NanoCPUs") or 0), int(amounts.get("MemoryBytes") or 0)

    @property
    def grace_seconds(self) -> float:
        """How long its instances may take to end."""
        return int(self.spec["TaskTemplate"]["ContainerSpec"].get("StopGracePeriod", 0)) / NANOSECONDS


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of a task on its machine. `mode`: host or ingress. Told twice where IPv6 is on; here it is once."""

    protocol: str
    target: int
    published: int
    mode: str = "host"


@dataclass(frozen=True, slots=True)
class Task:
    """One try to run one instance. `slot`: 0 of a global service; `desired`: the state that Swarm wants it in."""

    id: str
    service_id: str
    node_id: str
    slot: int
    state: str
    desired: str
    message: str = ""
    error: str = ""
    container_id: str = ""
    image: str = ""
    updated: str = ""
    created: str = ""
    ports: tuple[PublishedPort, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether it runs and is to continue."""
        return self.state == RUNNING and self.desired == RUNNING

    @property
    def wanted(self) -> bool:
        """Whether Swarm wants to run it, whether it runs or not."""
        return self.desired in (RUNNING, READY)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in ENDED_STATES

    def container_name(self, service: str) -> str:
        """Return the name of its container; `service`: the name of its service in Swarm."""
        return f"{service}.{self.slot or self.node_id}.{self.id}"


@dataclass(frozen=True, slots=True)
class Tokens:
    """What lets a machine join. Secrets: never printed, never kept by us."""

    worker: str = field(repr=False)
    manager: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a service's log. `time`: RFC 3339; `stream`: stdout or stderr."""

    time: str
    stream: str
    node_id: str
    task_id: str
    text: str


def parse_info(document: Mapping[str, Any]) -> SwarmInfo:
    """Return the `Swarm` part of what GET /info answers."""
    swarm = document.get("Swarm") or {}
    return SwarmInfo(
        state=swarm.get("LocalNodeState") or "inactive",
        node_id=swarm.get("NodeID") or "",
        manager=bool(swarm.get("ControlAvailable")),
        cluster_id=(swarm.get("Cluster") or {}).get("ID") or "",
        address=swarm.get("NodeAddr") or "",
        error=swarm.get("Error") or "",
        managers={manager.get("NodeID", ""): manager.get("Addr", "") for manager in swarm.get("RemoteManagers") or ()},
    )


def parse_node(document: Mapping[str, Any]) -> Node:
    """Return one of GET /nodes."""
    spec, status = document.get("Spec") or {}, document.get("Status") or {}
    manager = document.get("ManagerStatus") or {}
    resources = (document.get("Description") or {}).get("Resources") or {}
    return Node(
        id=document["ID"],
        version=document["Version"]["Index"],
        hostname=(document.get("Description") or {}).get("Hostname") or "",
        address=status.get("Addr") or "",
        role=spec.get("Role") or WORKER,
        availability=spec.get("Availability") or ACTIVE,
        state=status.get("State") or "unknown",
        leader=bool(manager.get("Leader")),
        reachable=manager.get("Reachability") == "reachable",
        manager_address=manager.get("Addr") or "",
        labels=dict(spec.get("Labels") or {}),
        nano_cpus=int(resources.get("NanoCPUs") or 0),
        memory_bytes=int(resources.get("MemoryBytes") or 0),
    )


def parse_service(document: Mapping[str, Any]) -> SwarmService:
    """Return one of GET /services."""
    spec = document["Spec"]
    return SwarmService(
        id=document["ID"],
        version=document["Version"]["Index"],
        name=spec.get("Name") or "",
        labels=dict(spec.get("Labels") or {}),
        spec=spec,
        created=document.get("CreatedAt") or "",
    )


def parse_task(document: Mapping[str, Any]) -> Task:
    """Return one of GET /tasks."""
    status = document.get("Status") or {}
    container = (document.get("Spec") or {}).get("ContainerSpec") or {}
    ports = (status.get("PortStatus") or {}).get("Ports") or ()
    return Task(
        id=document["ID"],
        service_id=document.get("ServiceID") or "",
        node_id=document.get("NodeID") or "",
        slot=document.get("Slot") or 0,
        state=status.get("State") or "new",
        desired=document.get("DesiredState") or "",
        message=status.get("Message") or "",
        error=status.get("Err") or "",
        container_id=(status.get("ContainerStatus") or {}).get("ContainerID") or "",
        image=container.get("Image") or "",
        updated=status.get("Timestamp") or document.get("UpdatedAt") or "",
        created=document.get("CreatedAt") or "",
        ports=tuple(dict.fromkeys(_port(port) for port in ports)),
    )


def _port(document: Mapping[str, Any]) -> PublishedPort:
    return PublishedPort(
        protocol=document.get("Protocol") or "tcp",
        target=document.get("TargetPort") or 0,
        published=document.get("PublishedPort") or 0,
        mode=document.get("PublishMode") or "ingress",
    )


def parse_log_line(stream: str, line: str) -> LogLine:
    """Return a line as GET /services/ID/logs gives it with `timestamps` and `details`: TIME KEY=VALUE,... TEXT."""
    time, _, rest = line.partition(" ")
    details, _, text = rest.partition(" ")
    pairs = dict(pair.split("=", 1) for pair in details.split(",") if "=" in pair)
    prefix = "com.docker.swarm."
    return LogLine(time, stream, pairs.get(f"{prefix}node.id", ""), pairs.get(f"{prefix}task.id", ""), text)
