"""One check of one instance: a connection, a request, or a command in its container."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass, field

from argosy.agent.registrar.verdicts import Kind, Probe
from argosy.engine.running import MachineContainers
from argosy.errors import EngineError
from argosy.model import Endpoint

ANSWER_SECONDS = 1.0
COMMAND_SECONDS = 5.0
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r]")


@dataclass(slots=True)
class Checks:
    """Does checks. One object may be used by several threads, but not for the same container at once.

    `unfinished`: by container, the command that did not end in time. As long as it runs no second one is started: a
    command that hangs would fill the container.
    """

    containers: MachineContainers
    unfinished: dict[str, str] = field(default_factory=dict)

    def check(self, probe: Probe) -> str:
        """Return why the check fails, empty when it passes. Bounded in time."""
        if probe.kind is Kind.HTTP:
            return check_http(probe)
        if probe.kind is Kind.COMMAND:
            return self.check_command(probe)
        return check_tcp(probe.endpoint)

    def check_command(self, probe: Probe) -> str:
        """Run the command in the container; while Docker does not answer, be content with a connection."""
        try:
            return self._run(probe)
        except EngineError:
            return check_tcp(probe.endpoint)

    def forget(self, container: str) -> None:
        self.unfinished.pop(container, None)

    def _run(self, probe: Probe) -> str:
        started = self.unfinished.pop(probe.container, "")
        if started:
            done = self.containers.command(started)
            if done.id:
                self.unfinished[probe.container] = started
                return "its last run has not ended"
        done = self.containers.run(probe.container, probe.command, COMMAND_SECONDS)
        if done.id:
            self.unfinished[probe.container] = done.id
            return f"not done after {COMMAND_SECONDS:g} s"
        if done.code is None:
            return f"could not be run: {_line(done.output)}"
        return f"exit code {done.code}: {_line(done.output)}" if done.code else ""


def check_tcp(endpoint: Endpoint) -> str:
    """Return why no connection can be made, empty when one was."""
    try:
        socket.create_connection((endpoint.address, endpoint.port), ANSWER_SECONDS).close()
    except OSError as error:
        return f"{endpoint}: {error.strerror or error}"
    return ""


def check_http(probe: Probe) -> str:
    """Ask for the path, and return why the answer does not count. Its body is not waited for."""
    deadline = time.monotonic() + ANSWER_SECONDS
    request = (
        f"GET {probe.path} HTTP/1.1\r\nHost: {probe.host}\r\nUser-Agent: argosy-agent\r\nConnection: close\r\n\r\n"
    )
    target = (probe.endpoint.address, probe.endpoint.port)
    where = f"http://{probe.endpoint}{probe.path}"
    try:
        with socket.create_connection(target, ANSWER_SECONDS) as connection:
            connection.sendall(request.encode())
            begin = _begin(connection, deadline)
    except OSError as error:
        return f"{where}: {error.strerror or error}"
    found = _STATUS_LINE.match(begin)
    if not found:
        return f"{where}: no answer in HTTP" + ("" if begin else " but the end of the connection")
    status = int(found[1])
    good = status in probe.status if probe.status else 200 <= status < 400
    return "" if good else f"{where}: status {status}"


def _begin(connection: socket.socket, deadline: float) -> bytes:
    """Return the beginning of what comes, up to the end of its first line."""
    begin = b""
    while b"\n" not in begin and len(begin) < 1000:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        connection.settimeout(left)
        read = connection.recv(1000)
        if not read:
            break
        begin += read
    return begin


def _line(text: str) -> str:
    """Return the last line of a command's output."""
    return (text.strip().splitlines() or [""])[-1]
