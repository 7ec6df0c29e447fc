"""The Docker Engine API over its unix socket: the few calls that registering containers needs.

By the standard library alone: the SDK would cost the agent 20 MB.
Source: https://docs.docker.com/reference/api/engine/version/v1.41/ (paths without a version mean the daemon's own).
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from argosy.agent.inspection import ACTIONS, Event, parse_event
from argosy.errors import EngineError

SOCKET = Path("/var/run/docker.sock")
ANSWER_SECONDS = 10.0
OUTPUT_BYTES = 200
"""Of what a command says, for messages."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Command:
    """A command in a container. `id`: of one that still runs, else empty; `code`: its exit code, None while it runs and
    when it could not be started; `output`: how that begins, or why it could not."""

    id: str
    code: int | None
    output: str = ""


class Docker:
    """May be used by several threads: each call is a connection of its own. Every failure is an EngineError."""

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = path

    def containers(self, label: str) -> list[str]:
        """Return the ids of all containers with this label that have a process, be it a paused one."""
        states = ["running", "paused", "restarting"]
        query = urlencode({"filters": json.dumps({"label": [label], "status": states})})
        status, found = self._call("GET", f"/containers/json?{query}")
        if status != 200 or not isinstance(found, list):
            raise EngineError(f"Docker does not list its containers ({status}): {_message(found)}")
        return [str(it["Id"]) for it in found]

    def inspect(self, container: str) -> Json | None:
        """Return what `docker inspect` says of the container, None when there is none."""
        status, found = self._call("GET", f"/containers/{quote(container, safe='')}/json")
        if status == 404:
            return None
        if status != 200 or not isinstance(found, dict):
            raise EngineError(f"Docker does not show container {container} ({status}): {_message(found)}")
        return found

    def events(self, label: str) -> EventStream:
        """Return what happens to containers with this label from about now on.

        Docker answers a moment before it begins to listen for itself: list the containers then, and a little later
        once more.
        """
        filters = {"type": ["container"], "label": [label], "event": sorted(ACTIONS)}
        connection = _UnixConnection(self._path, ANSWER_SECONDS)
        try:
            response = connection.send_json("GET", f"/events?{urlencode({'filters': json.dumps(filters)})}")
            connection.stream.settimeout(None)  # nothing may happen for days
        except (OSError, HTTPException) as error:
            connection.close()
            raise self._lost(error) from error
        return EventStream(self._path, connection, response)

    def signal(self, container: str, name: str) -> bool:
        """Send a signal, such as HUP, to the container's first process; return whether there is one that runs."""
        status, found = self._call(
            "POST", f"/containers/{quote(container, safe='')}/kill?{urlencode({'signal': name})}"
        )
        if status not in (204, 404, 409):
            raise EngineError(f"Docker does not signal container {container} ({status}): {_message(found)}")
        return status == 204

    def run(
        self, container: str, argv: tuple[str, ...], timeout_seconds: float, output_bytes: int = OUTPUT_BYTES
    ) -> Command:
        """Run `argv` in the container for at most so long; the API has no call to end what runs longer."""
        deadline = time.monotonic() + timeout_seconds
        setup = {"Cmd": list(argv), "AttachStdout": True, "AttachStderr": True}
        status, created = self._call("POST", f"/containers/{quote(container, safe='')}/exec", setup)
        if status != 201:
            return Command("", None, _message(created))
        return self.command(created["Id"], self._output(created["Id"], deadline, output_bytes))

    def command(self, execution: str, output: str = "") -> Command:
        """Return how a command stands that was started before."""
        status, found = self._call("GET", f"/exec/{execution}/json")
        if status != 200:
            return Command("", None, _message(found))
        return Command(execution, None, output) if found["Running"] else Command("", found["ExitCode"], output)

    def _output(self, execution: str, deadline: float, output_bytes: int) -> str:
        """Start the command, read what it says until it ends or the deadline comes, and return how that begins."""
        said = b""
        connection = _UnixConnection(self._path, ANSWER_SECONDS)
        try:
            response = connection.send_json("POST", f"/exec/{execution}/start", {"Detach": False, "Tty": False})
            while (left := deadline - time.monotonic()) > 0:
                connection.stream.settimeout(left)
                read = response.read1(4096)
                if not read:
                    break
                said = (said + read)[: 2 * output_bytes]
        except TimeoutError:
            pass  # its state tells
        except (OSError, HTTPException) as error:
            raise self._lost(error) from error
        finally:
            connection.close()
        return demultiplexed(said)[:output_bytes].decode(errors="replace").strip()

    def _call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        connection = _UnixConnection(self._path, ANSWER_SECONDS)
        try:
            response = connection.send_json(method, path, body)
            content = response.read()
            return response.status, json.loads(content) if content else None
        except (OSError, HTTPException, ValueError) as error:
            raise self._lost(error) from error
        finally:
            connection.close()

    def _lost(self, error: Exception) -> EngineError:
        return EngineError(f"Docker does not answer on {self._path}: {error or type(error).__name__}")


class EventStream:
    """What happens to containers, as it happens. Iterating raises EngineError when Docker ends it."""

    def __init__(self, path: Path, connection: _UnixConnection, response: HTTPResponse) -> None:
        self._path = path
        self._connection = connection
        self._response = response

    def __iter__(self) -> Iterator[Event]:
        try:
            for line in self._response:
                event = parse_event(json.loads(line))
                if event is not None:
                    yield event
        except (OSError, HTTPException, ValueError) as error:
            raise EngineError(f"Docker's events on {self._path} broke off: {error or type(error).__name__}") from error
        raise EngineError(f"Docker's events on {self._path} ended")

    def interrupt(self) -> None:
        """End it, from another thread."""
        with suppress(OSError):  # it has ended already
            self._connection.stream.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._response.close()
        self._connection.close()


class _UnixConnection(HTTPConnection):
    """One call's connection. `stream`: its socket, which HTTPConnection forgets for answers of unknown length."""

    stream: socket.socket

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("docker", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = self.stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def send_json(self, method: str, path: str, body: object = None) -> HTTPResponse:
        data = None if body is None else json.dumps(body).encode()
        self.request(method, path, data, {"Content-Type": "application/json"})
        return self.getresponse()


def demultiplexed(stream: bytes) -> bytes:
    """Return the output in an attach stream: frames of an 8 byte header (stream, 0, 0, 0, length) and the bytes."""
    output = b""
    while len(stream) >= 8:
        length = int.from_bytes(stream[4:8], "big")
        output += stream[8 : 8 + length]
        stream = stream[8 + length :]
    return output


def _message(found: object) -> str:
    return " ".join(str(found.get("message") if isinstance(found, dict) else found).split())
