"""Which machine this is, and where its files are in the installer's container."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argosy_installer.errors import Failed


@dataclass(frozen=True)
class Machine:
    """`role`: member or client, of etcd. `etcd_endpoints`: URLs, in the order in which to try them; `other_members`:
    those of the members on other machines. `version`: of the release.

    `config`: /etc/SYSTEM; `state`: /var/lib/SYSTEM; `units`: the host's /etc/systemd/system; `journals`: where the
    host's journal may be, persistent or not.
    """

    system: str
    cluster: str
    name: str
    address: str
    role: str
    registry: str
    etcd_endpoints: tuple[str, ...]
    other_members: tuple[str, ...]
    version: str
    config: Path
    state: Path
    units: Path
    release: Path
    docker_socket: Path
    journals: tuple[Path, ...]

    @property
    def secrets(self) -> Path:
        return self.config / "secrets"

    @property
    def install_record(self) -> Path:
        return self.state / "install.json"


def from_environment(environment: Mapping[str, str], root: Path = Path("/")) -> Machine:
    """Return the machine that machine.env and release.env describe. Raises Failed for a variable that lacks."""
    try:
        system, address = environment["SYSTEM"], environment["MACHINE_ADDRESS"]
        endpoints = environment["ETCD_ENDPOINTS"].split(",")
        return Machine(
            system=system,
            cluster=environment["CLUSTER"],
            name=environment["MACHINE_NAME"],
            address=address,
            role=environment.get("MACHINE_ROLE", "member"),
            registry=environment["REGISTRY"],
            etcd_endpoints=nearest_first(endpoints, address),
            other_members=tuple(endpoint for endpoint in endpoints if host_of(endpoint) != address),
            version=environment["RELEASE_VERSION"],
            config=root / "etc" / system,
            state=root / "var/lib" / system,
            units=root / "host/units",
            release=root / "release",
            docker_socket=root / "var/run/docker.sock",
            journals=(root / "host/log/journal", root / "host/run-log/journal"),
        )
    except KeyError as error:
        raise Failed.because(f"{error.args[0]} is not set: machine.env or release.env is incomplete") from None


def nearest_first(endpoints: list[str], address: str) -> tuple[str, ...]:
    """Return the member on this machine alone, by loopback, if it is among `endpoints`; else all of them.

    Its own member is what a machine waits for: it is healthy only when the whole cluster has a quorum.
    """
    for endpoint in endpoints:
        if host_of(endpoint) == address:
            return (endpoint.replace(address, "127.0.0.1", 1),)
    return tuple(endpoints)


def host_of(endpoint: str) -> str:
    """Return the host of SCHEME://HOST:PORT."""
    return endpoint.partition("://")[2].partition(":")[0]


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in `path`, an empty one when there is no such file. Raises Failed for anything else in it."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Failed.because(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise Failed.because(f"{path} is no JSON object")
    return content
