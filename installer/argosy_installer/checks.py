"""Whether a service does its work, asked once."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException

from argosy.engine.api import Json
from argosy_installer.docker import Docker
from argosy_installer.errors import TryAgain
from argosy_installer.release import Check

SETTLED_SECONDS = 2.0
"""How long a service without a check must run to count as started: one that crashes at once does not."""
SHOWN_OUTPUT = 200


def ask(check: Check, container: Json, docker: Docker, now: datetime) -> str:
    """Make the check once, against the running `container` (what Docker says of it).

    Return in one line why it does not pass; empty when it does.
    """
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


def _http(check: Check, address: str) -> str:
    connection = HTTPConnection(address, check.port, timeout=check.timeout_seconds)
    where = f"http://{address}:{check.port}{check.path}"
    try:
        connection.request("GET", check.path, headers={"Connection": "close", "User-Agent": "argosy-check"})
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"{where}: {error or type(error).__name__}"
    finally:
        connection.close()
    if status in check.status:
        return ""
    return f"{where} answers {status}, not {' or '.join(map(str, check.status))}"


def _tcp(check: Check, address: str) -> str:
    try:
        socket.create_connection((address, check.port), check.timeout_seconds).close()
    except OSError as error:
        return f"{address}:{check.port}: {error or type(error).__name__}"
    return ""


def _command(check: Check, container: str, docker: Docker) -> str:
    what = " ".join(check.command)
    try:
        done = docker.run(container, check.command, check.timeout_seconds)
    except TryAgain as error:
        return f"{what}: {error}"
    if done.code == 0:
        return ""
    if done.id:
        return f"{what}: no result in {check.timeout_seconds:g} s"
    code = "not run:" if done.code is None else f"exit code {done.code}"
    return f"{what}: {code} {' '.join(done.output.split())[-SHOWN_OUTPUT:]}".rstrip()


def _settled(container: Json, now: datetime) -> str:
    seconds = (now - started_at(container)).total_seconds()
    if seconds >= SETTLED_SECONDS:
        return ""
    return f"it runs for {seconds:.1f} s, {SETTLED_SECONDS:g} s count as started"


def started_at(container: Json) -> datetime:
    """Return when the container was started. Docker writes nanoseconds, of which Python takes six digits."""
    text = str(container["State"]["StartedAt"]).rstrip("Z")
    whole, _, fraction = text.partition(".")
    return datetime.fromisoformat(f"{whole}.{(fraction + '000000')[:6]}").replace(tzinfo=UTC)
