"""Pure. The system services that every machine has when discovery is on: router, agent and dns.

They are services like the user's own: units of the release, pulled by digest, checked, shown by `cluster.status`.
The router runs apart from the agent that tells it what to do: it serves on while the agent is restarted or gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from argosy.config import dns
from argosy.config.containers import OPEN_FILES, CheckSettings, ServiceSettings, StopSettings, TcpCheck, VolumeSettings
from argosy.config.settings import Settings
from argosy.config.suites import PYTHONS, chosen_suite

AGENT, ROUTER, DNS = "agent", "router", "dns"
IMAGES: dict[str, dict[str, object]] = {
    "python": {"context": "images/python", "push": False},
    "etcd": {"context": "images/etcd"},
    "haproxy": {"context": "images/haproxy"},
    "dnsmasq": {"context": "images/dnsmasq"},
    "agent": {
        "context": "images/agent",
        "needs": {"PYTHON_IMAGE": "python"},
        "wheels": "images/agent/requirements.txt",
        "agent": True,
    },
}
"""The images that Argosy brings along for its own services, as they would stand under `images:`."""
ON_THIS_HOST: dict[str, dict[str, object]] = {
    "registry": {"context": "images/registry", "push": False, "on_demand": True},
    "machine": {"context": "images/machine", "push": False, "on_demand": True},
}
"""The images of what may run beside the machines: a registry of our own, and machines that are containers."""

RUN, STATE = "/run/router", "/var/lib/router"
AGENT_RUN, AGENT_STATE = "/run/agent", "/var/lib/agent"
"""Where the containers of the router and the agent have the folders that they share, whatever the system's name."""


def with_builtin_services(settings: Settings) -> Settings:
    """Return `settings` with the built-in services beside the user's own."""
    if not settings.discovery.enabled:
        return settings
    services = {ROUTER: _router(settings), AGENT: _agent(settings), DNS: _dns(settings)}
    return settings.model_copy(update={"services": {**services, **settings.services}})


def with_builtin_images(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration, not validated yet, with our own images beneath the user's; where discovery is off, all
    of them only on demand."""
    discovery, images = document.get("discovery"), document.get("images")
    python = {"wheels_python": PYTHONS[chosen_suite(document.get("build"))]}
    if not isinstance(images, Mapping):
        return dict(document)
    off = isinstance(discovery, Mapping) and discovery.get("enabled") is False
    own = {name: image | (python if "wheels" in image else {}) for name, image in IMAGES.items()}
    if off:
        own = {name: {**image, "on_demand": True} for name, image in own.items()}
    return {**document, "images": {**ON_THIS_HOST, **own, **images}}


def agent_options(settings: Settings) -> dict[str, object]:
    """Return the agent's options, the JSON object in its environment variable ARGOSY_AGENT (argosy.agent.options)."""
    discovery, ports = settings.discovery, settings.discovery.ports
    return {
        "role": "machine",
        "ttl_seconds": discovery.ttl_seconds,
        "check_seconds": discovery.check_seconds,
        "drain_seconds": discovery.drain_seconds,
        "domain": discovery.domain,
        "http_port": ports.http,
        "proxy_port": ports.http_proxy,
        "https_port": ports.https,
        "https_proxy_port": ports.https_proxy,
        "tls_port": ports.tls,
        "tls_proxy_port": ports.tls_proxy,
        "forward_ports": [ports.forwards.first, ports.forwards.last],
    }


def _router(settings: Settings) -> ServiceSettings:
    return ServiceSettings(
        image=settings.discovery.router_image,
        network="host",
        open_files=OPEN_FILES,
        volumes=_router_folders(settings),
        check=CheckSettings(tcp=TcpCheck(port=settings.discovery.ports.http), **limits(settings)),
        # SIGUSR1: no new connections, open ones may finish.
        stop=StopSettings(signal="USR1", grace_seconds=15),
    )


def _agent(settings: Settings) -> ServiceSettings:
    system = settings.system
    own = [
        _volume("/var/run/docker.sock"),
        _volume(f"/etc/{system}/secrets", read_only=True),
        _volume(f"/run/{system}/agent", AGENT_RUN),
        _volume(f"/var/lib/{system}/agent", AGENT_STATE),
        _volume(f"/var/lib/{system}/templates", read_only=True),
        _volume(f"/var/lib/{system}/files"),
    ]
    return ServiceSettings(
        image=settings.discovery.agent_image,
        network="host",
        open_files=OPEN_FILES,
        requires=[ROUTER],
        env={"ARGOSY_AGENT": json.dumps(agent_options(settings), separators=(",", ":"))},
        env_files=[f"/etc/{system}/machine.env"],
        volumes=[*_router_folders(settings), *own],
        check=CheckSettings(command=_agent_health(settings), **limits(settings)),
    )


def _dns(settings: Settings) -> ServiceSettings:
    system, domain = settings.system, settings.discovery.domain
    return ServiceSettings(
        image=settings.discovery.dns_image,
        network="host",
        open_files=OPEN_FILES,
        command=dns.container_arguments(domain=domain),
        env_files=[f"/etc/{system}/machine.env"],
        volumes=[_volume(f"/run/{system}/dns", dns.UPSTREAM_FOLDER, read_only=True)],
        capabilities=list(dns.CAPABILITIES),
        check=CheckSettings(command=dns.check_command(domain), **limits(settings)),
    )


def limits(settings: Settings) -> dict[str, float]:
    """Return how long a built-in service has to pass its check, and one try may take."""
    return settings.discovery.checks.model_dump()


def _agent_health(settings: Settings) -> list[str]:
    seconds = settings.discovery.checks.timeout_seconds
    return ["python3", "-m", "argosy.agent", "health", "--seconds", f"{seconds:g}"]


def _router_folders(settings: Settings) -> list[VolumeSettings]:
    return [_volume(f"/run/{settings.system}/router", RUN), _volume(f"/var/lib/{settings.system}/router", STATE)]


def _volume(source: str, target: str = "", read_only: bool = False) -> VolumeSettings:
    return VolumeSettings(source=source, target=target or source, read_only=read_only)
