"""The Engine API of one machine: HTTP with JSON over a stream of bytes, and its refusals by their status.

    with over_ssh(host) as engine:
        engine.get("/info")

Over ssh the stream is `docker system dial-stdio` in a channel of the connection that is open anyway, so the engine
needs no port and what is sent (a Swarm's tokens) is in no argv. https://docs.docker.com/engine/api/v1.41/
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from argosy.errors import DeadlineExceeded, EngineError, EngineRefused

if TYPE_CHECKING:
    from argosy.host import Host

API_VERSION = "1.41"
"""What we speak: Docker 20.10's. An engine that no longer does is asked in its oldest."""
TIMEOUT_SECONDS = 60.0
DIAL = ["docker", "system", "dial-stdio"]
DEFAULT_SOCKET = "/var/run/docker.sock"

Query = Mapping[str, str | int | bool]


class Stream(Protocol):
    """As much of a socket as http.client uses."""

    def sendall(self, data: bytes, /) -> None: ...
    def makefile(self, mode: str = ..., buffering: int | None = ..., /) -> IO[bytes]: ...
    def settimeout(self, seconds: float | None, /) -> None: ...
    def close(self) -> None: ...


class EngineApi:
    """One engine. Keeps a connection open for what it reads; may be used by several threads.

    `where`: the machine, for messages. `timeout_seconds` bounds each silence.
    """

    def __init__(self, where: str, dial: Callable[[], Any], timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.where = where
        self.timeout_seconds = timeout_seconds
        self._dial = dial
        self._kept: Connection | None = None
        self._version = ""
        self._lock = threading.RLock()

    def __enter__(self) -> EngineApi:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            if self._kept:
                self._kept.close()
            self._kept = None

    def taken(self) -> Connection:
        """Give away the connection that was kept; whoever takes it closes it."""
        with self._lock:
            kept, self._kept = self._kept, None
        assert kept is not None, "nothing was read yet"
        return kept

    def get(self, path: str, query: Query | None = None) -> Any:
        """Return what GET answers. Asks once more when the connection turns out to be dead."""
        with self._lock:
            if self._kept:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    return self._ask(self._kept, "GET", path, query)
                self.close()
            self._kept = self._connect()
            with self._told("GET", path, self._kept):
                return self._ask(self._kept, "GET", path, query)

    def post(
        self, path: str, body: object = None, query: Query | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Return what POST answers; it is sent once, over a connection of its own.

        Raises EngineRefused with the status, EngineError when the answer does not come: then look before you go on.
        """
        return self._change("POST", path, query, body, headers)

    def delete(self, path: str, query: Query | None = None) -> None:
        self._change("DELETE", path, query, None, None)

    @contextlib.contextmanager
    def reading(self, path: str, query: Query | None = None, *, follow: bool = False) -> Iterator[IO[bytes]]:
        """Give the body of what GET answers, as it comes. `follow`: it may be silent for as long as it likes."""
        with (
            contextlib.closing(self._connect()) as connection,
            self._told("GET", path, connection),
            contextlib.closing(self._send(connection, "GET", path, query, None, {})) as answer,
        ):
            if follow:
                connection.stream.settimeout(None)
            yield answer

    def _change(
        self, method: str, path: str, query: Query | None, body: object, headers: Mapping[str, str] | None
    ) -> Any:
        # Not over the kept one: were that dead, nobody could say whether the change was made.
        with contextlib.closing(self._connect()) as connection, self._told(method, path, connection):
            return self._ask(connection, method, path, query, body, headers)

    def _ask(
        self,
        connection: Connection,
        method: str,
        path: str,
        query: Query | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        with contextlib.closing(self._send(connection, method, path, query, body, headers or {})) as answer:
            text = answer.read()
        try:
            return json.loads(text) if text.strip() else None
        except ValueError:
            raise EngineError(f"{self.where}: {method} {path}: what answers is no Docker engine") from None

    def _send(
        self,
        connection: Connection,
        method: str,
        path: str,
        query: Query | None,
        body: object,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        """Return the answer, its body unread. Raises EngineRefused with a status of 400 and above."""
        words = {name: _word(value) for name, value in (query or {}).items()}
        url = f"/v{self._speaks(connection)}{path}" + (f"?{urlencode(words)}" if words else "")
        data = None if body is None else json.dumps(body).encode()
        answer = _exchange(connection, method, url, data, {"Content-Type": "application/json", **headers})
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise EngineRefused(f"{self.where}: {method} {path}: {_reason(answer)}", answer.status)
        return answer

    def _speaks(self, connection: Connection) -> str:
        """Return the version of the API to ask in."""
        if not self._version:
            with contextlib.closing(_exchange(connection, "GET", "/version", None, {})) as answer:
                if answer.status != http.HTTPStatus.OK:
                    raise EngineRefused(f"{self.where}: GET /version: {_reason(answer)}", answer.status)
                oldest = str(json.loads(answer.read()).get("MinAPIVersion") or API_VERSION)
            self._version = max(API_VERSION, oldest, key=_numbers)
        return self._version

    def _connect(self) -> Connection:
        try:
            stream = self._dial()
        except OSError as error:
            raise EngineError(f"{self.where}: no Docker engine answers: {error.strerror or error}; start it") from None
        stream.settimeout(self.timeout_seconds)
        return Connection(stream)

    @contextlib.contextmanager
    def _told(self, method: str, path: str, connection: Connection) -> Iterator[None]:
        """Tell the loss of a connection in our words."""
        try:
            yield
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self.where}: its Docker engine did not answer {method} {path} within {self.timeout_seconds:g} s"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            said = connection.complaint() or str(error) or type(error).__name__
            raise EngineError(f"{self.where}: its Docker engine did not answer {method} {path}: {said}") from None


class Connection(http.client.HTTPConnection):
    """HTTP/1.1 over a stream that is open already."""

    def __init__(self, stream: Any) -> None:
        super().__init__("docker")
        self.stream = self.sock = stream

    def connect(self) -> None:
        """Refuse to open another: a request on a stream that has ended has failed."""
        raise http.client.NotConnected("the connection was closed")

    def complaint(self) -> str:
        """Return what the other end of the stream has said on its way out, if it can."""
        ask = getattr(self.stream, "complaint", None)
        return " ".join(str(ask()).split()) if ask else ""


def over_ssh(host: Host, timeout_seconds: float = TIMEOUT_SECONDS) -> EngineApi:
    """Return the engine of a machine."""
    return EngineApi(host.name, lambda: host.open_stream(DIAL, sudo=True), timeout_seconds)


def at_socket(path: str | Path = DEFAULT_SOCKET, where: str = "here") -> EngineApi:
    """Return the engine that listens at a unix socket."""

    def dial() -> socket.socket:
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.settimeout(TIMEOUT_SECONDS)
            stream.connect(str(path))
        except OSError:
            stream.close()
            raise
        return stream

    return EngineApi(where, dial)


def _exchange(
    connection: Connection, method: str, url: str, data: bytes | None, headers: Mapping[str, str]
) -> http.client.HTTPResponse:
    connection.request(method, url, data, dict(headers))
    return connection.getresponse()


def _reason(answer: http.client.HTTPResponse) -> str:
    """Return the engine's own words on one line: `{"message": "..."}`."""
    text = answer.read().decode(errors="replace")
    with contextlib.suppress(ValueError, AttributeError):
        text = json.loads(text).get("message") or text
    return " ".join(str(text).split()) or answer.reason


def _word(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(word) for word in version.split(".") if word.isdigit())
