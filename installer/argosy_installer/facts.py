"""The command `facts`: what `cluster.verify` compares, as this machine has it. It decides and changes nothing."""

from __future__ import annotations

import fcntl
import json
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from argosy.engine.api import Json
from argosy_installer.docker import Docker
from argosy_installer.errors import EXIT_INSTALLED, command
from argosy_installer.machine import from_environment
from argosy_installer.progress import say
from argosy_installer.release import load
from argosy_installer.status import observe_machine

SERVICE_LABEL = "argosy.service"
ROUTER_SOCKET = Path("/run/router/admin.sock")
"""HAProxy's runtime API, where `installer facts` mounts the router's folder."""
ROUTER_SECONDS = 5.0
BRIDGE = "docker0"
SIOCGIFADDR = 0x8915


@command
def run(environment: Mapping[str, str], router: Path = ROUTER_SOCKET) -> int:
    """Print the facts as one line of JSON, and return 0 when they could be found out."""
    machine = from_environment(environment)
    docker = Docker(machine.docker_socket)
    release = load(machine.release, machine.name)
    facts = {
        **observe_machine(machine, release),
        "cluster": release.cluster,
        "elsewhere": release.elsewhere,
        "release_image": environment.get("RELEASE_IMAGE", ""),
        "containers": [container_facts(found) for found in docker.labelled(SERVICE_LABEL)],
        "bridge": interface_address(BRIDGE),
        "router": ask_router(router),
    }
    say(json.dumps(facts))
    return EXIT_INSTALLED


def ask_router(path: Path) -> dict[str, str]:
    """Return HAProxy's servers, `{"servers": TEXT}` in its own words, or why it does not tell: `{"reason": ...}`.

    Source: https://docs.haproxy.org/2.6/management.html#9.3-show%20servers%20state
    """
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ROUTER_SECONDS)
            connection.connect(str(path))
            connection.sendall(b"show servers state\n")
            while received := connection.recv(65536):
                answer += received
    except OSError as error:
        return {"reason": f"HAProxy does not answer on {path}: {error}"}
    return {"servers": answer.decode(errors="replace")}


def interface_address(name: str) -> str:
    """Return the IPv4 address of a network interface, empty without one (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(asking, SIOCGIFADDR, struct.pack("256s", name.encode()))
        except OSError:
            return ""
    return socket.inet_ntoa(answer[20:24])


def container_facts(inspected: Json) -> dict[str, Any]:
    """Return what tells where a container's service is to be reached: a part of what `docker inspect` says, in its
    shape. Its environment is not, for there may be secrets in it."""
    state, config, network = inspected["State"], inspected["Config"], inspected["NetworkSettings"]
    health = {"Status": state["Health"].get("Status", "")} if state.get("Health") else None
    return {
        "Id": inspected["Id"],
        "Name": inspected["Name"],
        "State": {name: state.get(name) for name in ("Running", "Paused", "Restarting", "StartedAt")}
        | {"Health": health},
        "Config": {name: config.get(name) for name in ("Image", "Labels", "ExposedPorts", "StopSignal")},
        "HostConfig": {"NetworkMode": inspected["HostConfig"]["NetworkMode"]},
        "NetworkSettings": {name: network.get(name) for name in ("Ports", "Networks")},
    }
