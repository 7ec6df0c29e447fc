"""What one machine's engine says and does about Docker Swarm: its own membership, nodes, services and tasks.

A thin client of https://docs.docker.com/engine/api/v1.41/ (Swarm, Nodes, Services, Tasks); the values are in
`swarm_model`. Only a manager answers for nodes, services and tasks; another engine refuses with 503. Refusals are told
apart by their status alone: EngineRefused keeps it. Swarm counts versions; a change of a version that is no longer the
newest raises OutOfSequence: look again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from argosy.clock import wait_until
from argosy.engine.api import EngineApi, Query, filters, frames
from argosy.engine.swarm_model import (
    NANOSECONDS,
    LogLine,
    Node,
    SwarmInfo,
    SwarmService,
    Task,
    Tokens,
    parse_info,
    parse_log_line,
    parse_node,
    parse_service,
    parse_task,
)
from argosy.errors import DeadlineExceeded, EngineRefused, OutOfSequence

# The engine itself answers after 20 s, and continues to join in the background.
JOIN_SECONDS = 60.0
# Nodes change by themselves too (their state): how often a change is tried on what they are now.
TRIES = 5


class Swarm:
    """One engine's Swarm. `engine`: the way to it (`over_ssh(host)`, `at_socket(path)`), closed by the caller."""

    def __init__(self, engine: EngineApi) -> None:
        self.engine = engine

    @property
    def where(self) -> str:
        """The machine that answers, for messages."""
        return self.engine.where

    # Its own membership

    def info(self) -> SwarmInfo:
        """Return what this engine is in. Any engine answers."""
        return parse_info(self.engine.get("/info"))

    def init(
        self,
        address: str,
        port: int,
        *,
        heartbeat_seconds: float = 5,
        task_history: int = 2,
        force_new_cluster: bool = False,
    ) -> str:
        """Begin a Swarm with this engine as its only manager and return the node's id.

        `address`, `port`: where the others reach it. `heartbeat_seconds`: a machine is down after three silent ones.
        `task_history`: ended tasks kept of each slot. `force_new_cluster`: of a Swarm that has lost its quorum, keep
        what it knows and be the only manager. Refused with 503 when it is in a Swarm already.
        """
        body = {
            **_addresses(address, port),
            "ForceNewCluster": force_new_cluster,
            "Spec": render_swarm_spec({}, heartbeat_seconds, task_history),
        }
        return str(self.engine.post("/swarm/init", body))

    def join(self, address: str, port: int, managers: list[str], token: str) -> None:
        """Join a Swarm and wait until this engine is in it. `managers`: ADDRESS:PORT; `token`: decides the role.

        Raises EngineRefused, with 503 when it is in a Swarm already; DeadlineExceeded.
        """
        body = {
            **_addresses(address, port),
            "RemoteAddrs": managers,
            "JoinToken": token,
        }
        was_inside = self.info().inside
        try:
            self.engine.post("/swarm/join", body)
        except EngineRefused as error:
            # The engine no longer waits for it, but continues by itself.
            if was_inside or error.status != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
            self._wait_until_joined(error)

    def _wait_until_joined(self, refusal: EngineRefused) -> None:
        state = wait_until(lambda: self.info().state, JOIN_SECONDS, done=lambda state: state != "pending")
        if state == "pending":
            raise DeadlineExceeded(f"{self.where}: it has not joined within {JOIN_SECONDS:g} s: {refusal}")
        if state != "active":
            raise refusal

    def leave(self, force: bool = False) -> None:
        """Leave the Swarm; having left is fine. `force`: even as a manager, whatever becomes of the others."""
        if self.info().inside:
            self.engine.post("/swarm/leave", query={"force": force})

    def tokens(self) -> Tokens:
        found = self.engine.get("/swarm")["JoinTokens"]
        return Tokens(worker=found["Worker"], manager=found["Manager"])

    def rotate_tokens(self) -> None:
        """Make both tokens worthless; who has joined stays."""
        self._update_swarm(lambda spec: spec, rotateWorkerToken=True, rotateManagerToken=True)

    def cluster_id(self) -> str:
        """Return the Swarm's id. Answered by a manager with a quorum."""
        return str(self.engine.get("/swarm")["ID"])

    def cluster_spec(self) -> Mapping[str, Any]:
        """Return the Swarm's own settings, ClusterSpec."""
        found: Mapping[str, Any] = self.engine.get("/swarm")["Spec"]
        return found

    def configure(self, *, heartbeat_seconds: float, task_history: int) -> bool:
        """Set what `init` sets, unless it is so. Returns whether something was changed."""
        before = self.cluster_spec()
        if render_swarm_spec(before, heartbeat_seconds, task_history) == before:
            return False
        self._update_swarm(lambda spec: render_swarm_spec(spec, heartbeat_seconds, task_history))
        return True

    def _update_swarm(self, change: Callable[[Mapping[str, Any]], Mapping[str, Any]], **query: bool) -> None:
        def attempt() -> tuple[int, Callable[[], None]]:
            swarm = self.engine.get("/swarm")
            version = swarm["Version"]["Index"]
            return version, lambda: self.engine.post(
                "/swarm/update", change(swarm["Spec"]), {"version": version, **query}
            )

        self._change_newest("the Swarm", attempt, lambda: int(self.engine.get("/swarm")["Version"]["Index"]))

    # Nodes

    def nodes(self) -> list[Node]:
        return [parse_node(node) for node in self.engine.get("/nodes") or ()]

    def node(self, node_id: str) -> Node:
        """Return one node; EngineRefused with 404 when there is none. `self` is the engine's own."""
        return parse_node(self.engine.get(f"/nodes/{node_id}"))

    def update_node(
        self,
        node: Node | str,
        *,
        role: str | None = None,
        availability: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Node:
        """Change what is given of a node and return it as it is then. `labels`: all that it is to have.

        Done on the newest version: nodes change by themselves. Idempotent.
        """
        node_id = node if isinstance(node, str) else node.id

        def attempt() -> tuple[int, Callable[[], None]]:
            found = self.engine.get(f"/nodes/{node_id}")
            spec, version = dict(found["Spec"]), found["Version"]["Index"]
            given = {"Role": role, "Availability": availability, "Labels": None if labels is None else dict(labels)}
            wanted = spec | {key: value for key, value in given.items() if value is not None}
            if wanted == spec:
                return version, lambda: None
            return version, lambda: self.engine.post(f"/nodes/{node_id}/update", wanted, {"version": version})

        self._change_newest(f"node {node_id}", attempt, lambda: self.node(node_id).version)
        return self.node(node_id)

    def remove_node(self, node_id: str, force: bool = False) -> None:
        """Forget a node that is down, or with `force` any; one that is gone is fine."""
        self.engine.delete(f"/nodes/{node_id}", {"force": force})

    # Services

    def services(self, labels: Mapping[str, str] | None = None) -> list[SwarmService]:
        """Return the services that have all these labels."""
        wanted = [f"{key}={value}" for key, value in (labels or {}).items()]
        return [parse_service(service) for service in self.engine.get("/services", filters(label=wanted)) or ()]

    def service(self, name: str) -> SwarmService | None:
        """Return the service with this id or name, None when there is none."""
        found = self.engine.find(f"/services/{name}")
        return found and parse_service(found)

    def create_service(self, spec: Mapping[str, Any], registry_auth: str = "") -> str:
        """Create a service and return its id. Refused with 409 when the name is taken.

        `spec`: ServiceSpec; `registry_auth`: the value of X-Registry-Auth, base64 of JSON, which the machines get.
        """
        return str(self.engine.post("/services/create", spec, headers=_auth(registry_auth))["ID"])

    def update_service(self, service: SwarmService, spec: Mapping[str, Any], registry_auth: str = "") -> None:
        """Make the service what `spec` says, if it still is the version that was looked at; else OutOfSequence.

        Without `registry_auth` it keeps the one that it has.
        """
        query: Query = {"version": service.version} | ({} if registry_auth else {"registryAuthFrom": "spec"})
        try:
            self.engine.post(f"/services/{service.id}/update", spec, query, _auth(registry_auth))
        except EngineRefused as error:
            now = self.service(service.id)
            if now is None or now.version != service.version:
                raise _moved(f"service {service.name}", error) from None
            raise

    def remove_service(self, service_id: str) -> None:
        """Remove a service; one that is gone is fine. Its tasks end by themselves, a moment later."""
        self.engine.delete(f"/services/{service_id}")

    # Tasks

    def tasks(self, service_id: str = "", *, node_id: str = "") -> list[Task]:
        """Return the tasks of a service (even a removed one), of a node, or all; ended ones too while they are kept."""
        wanted = filters(service=[service_id] if service_id else [], node=[node_id] if node_id else [])
        try:
            found = self.engine.get("/tasks", wanted)
        except EngineRefused as error:
            # It no longer knows the service, or the node; tasks of it may be there for a while yet.
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            found = self.engine.get("/tasks")
        tasks = [parse_task(one) for one in found or ()]
        return [task for task in tasks if service_id in ("", task.service_id) and node_id in ("", task.node_id)]

    def logs(self, service_id: str, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        """Yield the lines of a service's instances, on all machines, as they come.

        `tail`: only so many last lines of each. For services without a terminal (TTY).
        """
        query: Query = {
            "stdout": True,
            "stderr": True,
            "timestamps": True,
            "details": True,
            "follow": follow,
            "tail": "all" if tail is None else tail,
        }
        with self.engine.reading(f"/services/{service_id}/logs", query, follow=follow) as body:
            for stream, text in frames(body):
                yield from (parse_log_line(stream, line) for line in text.decode(errors="replace").splitlines())

    # How changes are made

    def _change_newest(
        self, what: str, attempt: Callable[[], tuple[int, Callable[[], None]]], version_now: Callable[[], int]
    ) -> None:
        """Look, change, and do it again while the version was no longer the newest.

        The engine's status does not tell (20.10 says 500, a text tells): the version does.
        """
        for _ in range(TRIES):
            version, change = attempt()
            try:
                change()
            except EngineRefused as error:
                if version_now() == version:
                    raise
                refusal = error
            else:
                return
        raise _moved(what, refusal)


def render_swarm_spec(before: Mapping[str, Any], heartbeat_seconds: float, task_history: int) -> dict[str, Any]:
    """Return ClusterSpec with our settings; what else is set stays.

    Raft's ticks are not among them: an engine has its own (an election takes 10 to 20 s), whatever stands here.
    """
    return {
        **before,
        "Orchestration": {**before.get("Orchestration", {}), "TaskHistoryRetentionLimit": task_history},
        "Dispatcher": {**before.get("Dispatcher", {}), "HeartbeatPeriod": int(heartbeat_seconds * NANOSECONDS)},
    }


def _addresses(address: str, port: int) -> dict[str, str]:
    where = f"{address}:{port}"
    return {"ListenAddr": where, "AdvertiseAddr": where, "DataPathAddr": address}


def _auth(registry_auth: str) -> dict[str, str]:
    return {"X-Registry-Auth": registry_auth} if registry_auth else {}


def _moved(what: str, error: EngineRefused) -> OutOfSequence:
    return OutOfSequence(f"{what} was changed by somebody else meanwhile; run it again ({error})", error.status)
