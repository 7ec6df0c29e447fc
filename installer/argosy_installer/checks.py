"""Whether a service does its work, asked once."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException

from argosy_installer.docker import Docker, Json
from argosy_installer.errors import TryAgain
from argosy_installer.release import Check

SETTLED_SECONDS = 2.0
"""How long a service without a check must run to count as started: one that crashes at once does not."""
SHOWN_OUTPUT = 200


@dataclass(frozen=True)
class Answer:
    """`reason`: why not, one line; empty when it passes."""

    passing: bool
    reason: str = ""


PASSING = Answer(True)


def ask(check: Check, container: Json, docker: Docker, now: datetime) -> Answer:
    """Make the check once, against the running `container` (what Docker says of it)."""
    if check.kind == "http":
        return _http(check, _address(check, container))
    if check.kind == "tcp":
        return _tcp(check, _address(check, container))
    if check.kind == "command":
        return _command(check, container["Id"], docker)
    return _settled(container, now)


def _address(check: Check, container: Json) -> str:
    if check.address:
        return check.address
    networks = container["NetworkSettings"]["Networks"].values()
    return next((network["IPAddress"] for network in networks if network["IPAddress"]), "127.0.0.1")


def _http(check: Check, address: str) -> Answer:
    connection = HTTPConnection(address, check.port, timeout=check.timeout_seconds)
    where = f"http://{address}:{check.port}{check.path}"
    try:
        connection.request("GET", check.path, headers={"Connection": "close", "User-Agent": "argosy-check"})
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return Answer(False, f"{where}: {error or type(error).__name__}")
    finally:
        connection.close()
    if status in check.status:
        return PASSING
    return Answer(False, f"{where} answers {status}, not {' or '.join(map(str, check.status))}")


def _tcp(check: Check, address: str) -> Answer:
    try:
        socket.create_connection((address, check.port), check.timeout_seconds).close()
    except OSError as error:
        return Answer(False, f"{address}:{check.port}: {error or type(error).__name__}")
    return PASSING


def _command(check: Check, container: str, docker: Docker) -> Answer:
    what = " ".join(check.command)
    try:
        code, output = docker.execute(container, check.command, check.timeout_seconds)
    except TimeoutError:
        return Answer(False, f"{what}: no result in {check.timeout_seconds:g} s")
    except (OSError, HTTPException, TryAgain) as error:
        return Answer(False, f"{what}: {error}")
    if code == 0:
        return PASSING
    return Answer(False, f"{what}: exit code {code} {' '.join(output.split())[-SHOWN_OUTPUT:]}".rstrip())


def _settled(container: Json, now: datetime) -> Answer:
    seconds = (now - started_at(container)).total_seconds()
    if seconds >= SETTLED_SECONDS:
        return PASSING
    return Answer(False, f"it runs for {seconds:.1f} s, {SETTLED_SECONDS:g} s count as started")


def started_at(container: Json) -> datetime:
    """Return when the container was started. Docker writes nanoseconds, of which Python takes six digits."""
    text = str(container["State"]["StartedAt"]).rstrip("Z")
    whole, _, fraction = text.partition(".")
    return datetime.fromisoformat(f"{whole}.{(fraction + '000000')[:6]}").replace(tzinfo=UTC)
