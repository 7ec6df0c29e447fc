"""One check of one instance, and what several in a row mean."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass, field, replace
from enum import StrEnum

from argosy.agent.containers import Docker
from argosy.errors import EngineError
from argosy.model import Endpoint

FIRST_SECONDS = 0.2
GROWTH = 1.15
"""Between the checks of one that is not passing: 0.2 s at first, 2 s after 14 s of failures."""
FAILURES = 3
"""So many in a row deregister."""
LASTING_FAILURES = 10
"""So many in a row (4 s) are no start that takes its time, but a problem to tell of."""
ANSWER_SECONDS = 1.0
COMMAND_SECONDS = 5.0
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r]")


class Kind(StrEnum):
    TCP = "tcp"
    HTTP = "http"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Probe:
    """How to find out. `seconds`: between two checks that pass; `host`: the Host header; `status`: answers that count,
    empty for 200 to 399; `container`: where `command` is run."""

    kind: Kind
    endpoint: Endpoint
    seconds: float
    path: str = ""
    host: str = ""
    status: tuple[int, ...] = ()
    container: str = ""
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of an instance. `failures`: in a row; `reason`: of the last one; `sure`: by checks of
    ours; until then it is what somebody believes, and looked at soon."""

    passing: bool = False
    failures: int = 0
    reason: str = ""
    sure: bool = False

    def after(self, reason: str) -> Verdict:
        """Return the verdict after one more check, which passed if `reason` is empty."""
        if not reason:
            return Verdict(passing=True, sure=True)
        failures = self.failures + 1
        passing = self.passing and failures < FAILURES
        return replace(self, passing=passing, failures=failures, reason=reason)

    def pause_seconds(self, seconds: float) -> float:
        """Return how long to wait before the next check of one that is checked every `seconds` when it passes."""
        if self.passing and self.sure:
            return seconds
        failures = min(self.failures, 100)
        return min(seconds, FIRST_SECONDS * GROWTH**failures)


@dataclass(slots=True)
class Checks:
    """Does checks. One object may be used by several threads, but not for the same container at once.

    `unfinished`: by container, the command that did not end in time. As long as it runs no second one is started: a
    command that hangs would fill the container.
    """

    docker: Docker
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
            done = self.docker.command(started)
            if done.id:
                self.unfinished[probe.container] = started
                return "its last run has not ended"
        done = self.docker.run(probe.container, probe.command, COMMAND_SECONDS)
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
