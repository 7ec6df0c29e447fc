"""The Docker Engine API over its unix socket: the few calls that an installation needs.

Source: https://docs.docker.com/reference/api/engine/version/v1.41/ (paths without a version mean the daemon's own).
"""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote

from argosy_installer.errors import TryAgain

Json = dict[str, Any]

ANSWER_SECONDS = 60
PULL_SILENCE_SECONDS = 300
"""A pull that says nothing for so long has stalled."""


class PullFailed(Exception):
    """Docker could not pull an image; the message is Docker's own."""


@dataclass(frozen=True)
class Credentials:
    """What /etc/SYSTEM/secrets/registry/config.json, a file of Docker's client, says about one registry."""

    registry: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.registry}, {self.user}, ***)"

    def header(self) -> str:
        """Return the value of X-Registry-Auth."""
        return base64.urlsafe_b64encode(json.dumps(self.body()).encode()).decode()

    def body(self) -> dict[str, str]:
        return {"username": self.user, "password": self.password, "serveraddress": self.registry}


class Docker:
    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path

    def image_exists(self, reference: str) -> bool:
        return self._call("GET", f"/images/{quote(reference)}/json")[0] == 200

    def ask_registry(self, reference: str, credentials: Credentials) -> tuple[int, str]:
        """Let Docker ask the registry for `reference`; return a status and Docker's message.

        200: it is there. 401, 403: the registry does not take our password, or does not show us this image. 404: it is
        not there. 500: the registry does not answer. (POST /auth can't tell 401 from 500 in Docker 20.10.)
        """
        status, body = self._call("GET", f"/distribution/{quote(reference)}/json", auth=credentials)
        return status, str(body.get("message", ""))

    def pull(self, reference: str, credentials: Credentials, on_event: Callable[[Json], None]) -> None:
        """Pull `reference`; `on_event` gets each event of Docker's progress stream. Raises PullFailed.

        Errors come as a status before the stream or as an event in it, whose status was 200 already.
        """
        connection = self._connection(PULL_SILENCE_SECONDS)
        try:
            response = self._send(
                connection, "POST", f"/images/create?fromImage={quote(reference, safe='')}", None, credentials
            )
            if response.status != 200:
                raise PullFailed(_message(response.read()))
            for line in response:
                if line.strip():
                    self._pull_event(json.loads(line), on_event)
        except (OSError, HTTPException, ValueError) as error:
            raise PullFailed(f"the stream of Docker's progress broke: {error}") from error
        finally:
            connection.close()

    @staticmethod
    def _pull_event(event: Json, on_event: Callable[[Json], None]) -> None:
        if "error" in event or "errorDetail" in event:
            raise PullFailed(str(event.get("error") or event["errorDetail"].get("message")))
        on_event(event)

    def container(self, name: str) -> Json | None:
        """Return what `docker inspect` says of the container, None when there is none."""
        status, body = self._call("GET", f"/containers/{quote(name)}/json")
        return body if status == 200 else None

    def labelled(self, label: str) -> list[Json]:
        """Return what `docker inspect` says of every running container that has `label`, sorted by name."""
        filters = quote(json.dumps({"label": [label], "status": ["running"]}))
        found = [self.container(str(entry["Id"])) for entry in self._list(f"/containers/json?filters={filters}")]
        # One that has ended meanwhile is gone.
        return sorted((it for it in found if it is not None), key=lambda it: str(it["Name"]))

    def execute(self, container: str, argv: tuple[str, ...], timeout_seconds: float) -> tuple[int, str]:
        """Run `argv` in the container and return its exit code and output.

        Raises TimeoutError; the API has no call to end what then still runs.
        """
        setup = {"Cmd": list(argv), "AttachStdout": True, "AttachStderr": True}
        status, created = self._call("POST", f"/containers/{quote(container)}/exec", setup)
        if status != 201:
            return -1, str(created.get("message"))
        connection = self._connection(timeout_seconds)
        try:
            start = f"/exec/{created['Id']}/start"
            response = self._send(connection, "POST", start, {"Detach": False, "Tty": False}, None)
            output = demultiplexed(response.read()).decode(errors="replace").strip()
        finally:
            connection.close()
        code = self._call("GET", f"/exec/{created['Id']}/json")[1].get("ExitCode")
        return (-1 if code is None else int(code)), output

    def _call(self, method: str, path: str, body: object = None, auth: Credentials | None = None) -> tuple[int, Json]:
        status, content = self._ask(method, path, body, auth)
        return status, _object(content)

    def _list(self, path: str) -> list[Json]:
        status, content = self._ask("GET", path, None, None)
        if status != 200:
            raise TryAgain(f"Docker answers {path} with {status}: {_message(content)}")
        return [dict(it) for it in json.loads(content)]

    def _ask(self, method: str, path: str, body: object, auth: Credentials | None) -> tuple[int, bytes]:
        connection = self._connection(ANSWER_SECONDS)
        try:
            response = self._send(connection, method, path, body, auth)
            return response.status, response.read()
        except (OSError, HTTPException) as error:
            raise TryAgain(f"Docker does not answer on {self._socket_path}: {error}") from error
        finally:
            connection.close()

    @staticmethod
    def _send(
        connection: HTTPConnection, method: str, path: str, body: object, auth: Credentials | None
    ) -> HTTPResponse:
        headers: Mapping[str, str] = {"X-Registry-Auth": auth.header()} if auth else {}
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {**headers, "Content-Type": "application/json"})
        return connection.getresponse()

    def _connection(self, timeout_seconds: float) -> HTTPConnection:
        return _UnixConnection(self._socket_path, timeout_seconds)


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("docker", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def demultiplexed(stream: bytes) -> bytes:
    """Return the output in an attach stream: frames of an 8 byte header (stream, 0, 0, 0, length) and the bytes."""
    output = b""
    while len(stream) >= 8:
        length = int.from_bytes(stream[4:8], "big")
        output += stream[8 : 8 + length]
        stream = stream[8 + length :]
    return output


def credentials(config: Mapping[str, Any], registry: str) -> Credentials | None:
    """Return what a config.json of Docker's client holds for `registry`, None when nothing or nothing readable."""
    try:
        user, _, password = base64.b64decode(config["auths"][registry]["auth"]).decode().partition(":")
    except (KeyError, TypeError, ValueError):
        return None
    return Credentials(registry, user, password) if user and password else None


def _object(content: bytes) -> Json:
    try:
        parsed = json.loads(content)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _message(content: bytes) -> str:
    return str(_object(content).get("message") or content.decode(errors="replace").strip())
