"""What `docker inspect` says of containers, made short."""

from __future__ import annotations

from typing import Any

BRIDGE = {"bridge": {"Gateway": "172.17.0.1", "IPAddress": "172.17.0.2"}}
STARTED = "2026-11-25T14:47:13.93323674Z"


def inspected(
    name: str = "web-1",
    labels: dict[str, str] | None = None,
    *,
    state: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    mode: str = "default",
    ports: dict[str, Any] | None = None,
    networks: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the object for a container that runs on the bridge and exposes port 80."""
    return {
        "Id": f"id-of-{name}",
        "Name": f"/{name}",
        "State": {"Running": True, "Paused": False, "Restarting": False, "StartedAt": STARTED} | (state or {}),
        "Config": {"Labels": {"argosy.service": "web"} | (labels or {}), "ExposedPorts": {"80/tcp": {}}}
        | (config or {}),
        "HostConfig": {"NetworkMode": mode},
        "NetworkSettings": {"Ports": ports, "Networks": BRIDGE if networks is None else networks},
    }


def published(port: str, *bindings: tuple[str, int]) -> dict[str, Any]:
    """Return NetworkSettings.Ports of a port that is published at these addresses."""
    return {port: [{"HostIp": address, "HostPort": str(number)} for address, number in bindings]}
