"""The Engine API of one machine: HTTP with JSON over a stream of bytes, and its refusals by their status.

    with over_ssh(host) as engine:
        engine.get("/info")

Over ssh the stream is `docker system dial-stdio` in a channel of the connection that is open anyway, so the engine
needs no port and what is sent (a Swarm's tokens) is in no argv. On the machine itself, in the agent and the installer,
it is the engine's unix socket: there is no SDK, only the standard library. Which version of the API is spoken:
`versions`. https://docs.docker.com/engine/api/v1.41/
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from argosy.engine.versions import version_to_ask
from argosy.errors import DeadlineExceeded, EngineError, EngineRefused

if TYPE_CHECKING:
    from argosy.ssh.host import Host

TIMEOUT_SECONDS = 60.0
DIAL = ["docker", "system", "dial-stdio"]
DEFAULT_SOCKET = Path("/var/run/docker.sock")
STREAMS = {1: "stdout", 2: "stderr"}

Json = dict[str, Any]
Query = Mapping[str, str | int | bool]


class _Silent(DeadlineExceeded, EngineError):
    """The engine took too long to answer."""


class EngineApi:
    """One engine; may be used by several threads.

    `where`: the machine, for messages. `dial`: opens a stream with as much of a socket as http.client uses.
    `timeout_seconds` bounds each silence. `keeps`: a connection stays open for what is read next. Every method raises
    EngineRefused with the status of a refusal, and EngineError when no answer comes (after a silence it is a
    DeadlineExceeded, too): then look before you try again.
    """

    def __init__(
        self, where: str, dial: Callable[[], Any], timeout_seconds: float = TIMEOUT_SECONDS, *, keeps: bool = True
    ) -> None:
        self.where = where
        self.timeout_seconds = timeout_seconds
        self._dial = dial
        self._keeps = keeps
        self._kept: Connection | None = None
        self._version = ""
        self._lock = threading.Lock()

    def __enter__(self) -> EngineApi:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._keep(None)

    def taken(self) -> Connection | None:
        """Give away the connection that was kept; whoever takes it closes it."""
        with self._lock:
            kept, self._kept = self._kept, None
        return kept

    def get(self, path: str, query: Query | None = None) -> Any:
        """Return what GET answers. Asks once more when the connection that was kept turns out to be dead."""
        kept = self.taken()
        if kept:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self._read(kept, path, query)
        connection = self._connect()
        with self._told("GET", path, connection):
            return self._read(connection, path, query)

    def find(self, path: str, query: Query | None = None) -> Any:
        """Return what GET answers, None where there is nothing (404)."""
        try:
            return self.get(path, query)
        except EngineRefused as error:
            if error.status == http.HTTPStatus.NOT_FOUND:
                return None
            raise

    def post(
        self, path: str, body: object = None, query: Query | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Return what POST answers; it is sent once, over a connection of its own."""
        with self.reading(path, query, method="POST", body=body, headers=headers) as answer:
            return self._parsed(answer, "POST", path)

    def delete(self, path: str, query: Query | None = None) -> None:
        """Delete what may be gone already."""
        try:
            with self.reading(path, query, method="DELETE"):
                pass
        except EngineRefused as error:
            if error.status != http.HTTPStatus.NOT_FOUND:
                raise

    @contextlib.contextmanager
    def reading(
        self,
        path: str,
        query: Query | None = None,
        *,
        method: str = "GET",
        body: object = None,
        headers: Mapping[str, str] | None = None,
        follow: bool = False,
    ) -> Iterator[Answer]:
        """Give the body of an answer as it comes, over a connection of its own.

        `follow`: the answer may be silent for as long as it likes.
        """
        # Not over the kept one: were that dead, nobody could say whether a change was made.
        with (
            contextlib.closing(self._connect()) as connection,
            self._told(method, path, connection),
            contextlib.closing(self._send(connection, method, path, query, body, headers)) as answer,
        ):
            if follow:
                answer.stream.settimeout(None)
            yield answer

    def _read(self, connection: Connection, path: str, query: Query | None) -> Any:
        """Return what GET answers, and keep the connection."""
        try:
            with contextlib.closing(self._send(connection, "GET", path, query)) as answer:
                found = self._parsed(answer, "GET", path)
        except BaseException:
            connection.close()
            raise
        if self._keeps:
            self._keep(connection)
        else:
            connection.close()
        return found

    def _keep(self, connection: Connection | None) -> None:
        with self._lock:
            before, self._kept = self._kept, connection
        if before:
            before.close()

    def _parsed(self, answer: Answer, method: str, path: str) -> Any:
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
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the answer, its body unread. Raises EngineRefused with a status of 400 and above."""
        words = {name: _word(value) for name, value in (query or {}).items()}
        url = f"/v{self._speaks(connection)}{path}" + (f"?{urlencode(words)}" if words else "")
        data = None if body is None else json.dumps(body).encode()
        answer = connection.exchange(method, url, data, {"Content-Type": "application/json", **(headers or {})})
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise self._refusal(answer, method, path)
        return answer

    def _speaks(self, connection: Connection) -> str:
        """Return the version of the API to ask in."""
        if not self._version:
            with contextlib.closing(connection.exchange("GET", "/version")) as answer:
                if answer.status != http.HTTPStatus.OK:
                    raise self._refusal(answer, "GET", "/version")
                told = self._parsed(answer, "GET", "/version")
            try:
                self._version = version_to_ask(told or {})
            except EngineError as error:
                raise EngineError(f"{self.where}: {error}") from None
        return self._version

    def _connect(self) -> Connection:
        try:
            stream = self._dial()
        except OSError as error:
            raise EngineError(f"{self.where}: no Docker engine answers: {error.strerror or error}; start it") from None
        stream.settimeout(self.timeout_seconds)
        return Connection(stream)

    def _refusal(self, answer: Answer, method: str, path: str) -> EngineRefused:
        """Return it with the engine's own words, `{"message": "..."}`, on one line."""
        text = answer.read().decode(errors="replace")
        with contextlib.suppress(ValueError, AttributeError):
            text = json.loads(text).get("message") or text
        reason = " ".join(str(text).split()) or answer.reason
        if answer.status == http.HTTPStatus.BAD_REQUEST:
            self._version = ""  # an engine that was upgraded meanwhile may no longer speak it
        return EngineRefused(f"{self.where}: {method} {path}: {reason}", answer.status, reason)

    @contextlib.contextmanager
    def _told(self, method: str, path: str, connection: Connection) -> Iterator[None]:
        """Tell the loss of a connection in our words."""
        try:
            yield
        except TimeoutError:
            raise _Silent(
                f"{self.where}: its Docker engine did not answer {method} {path} within {self.timeout_seconds:g} s"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            said = connection.complaint() or str(error) or type(error).__name__
            raise EngineError(f"{self.where}: its Docker engine did not answer {method} {path}: {said}") from None


class Answer(http.client.HTTPResponse):
    """An answer that knows its `stream`, whose silences may be bounded, and which another thread may end."""

    def __init__(self, sock: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.stream = sock


class Connection(http.client.HTTPConnection):
    """HTTP/1.1 over a stream that is open already."""

    response_class = Answer

    def __init__(self, stream: Any) -> None:
        super().__init__("docker")
        self.stream = self.sock = stream

    def connect(self) -> None:
        """Refuse to open another: a request on a stream that has ended has failed."""
        raise http.client.NotConnected("the connection was closed")

    def exchange(
        self, method: str, url: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        self.request(method, url, data, dict(headers or {}))
        return cast("Answer", self.getresponse())

    def complaint(self) -> str:
        """Return what the other end of the stream has said on its way out, if it can."""
        ask = getattr(self.stream, "complaint", None)
        return " ".join(str(ask()).split()) if ask else ""


def over_ssh(host: Host, timeout_seconds: float = TIMEOUT_SECONDS) -> EngineApi:
    """Return the engine of a machine."""
    return EngineApi(host.name, lambda: host.open_stream(DIAL, sudo=True), timeout_seconds)


def at_socket(
    path: Path = DEFAULT_SOCKET, where: str = "", timeout_seconds: float = TIMEOUT_SECONDS, *, keeps: bool = True
) -> EngineApi:
    """Return the engine that listens at a unix socket."""

    def dial() -> socket.socket:
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.settimeout(timeout_seconds)
            stream.connect(str(path))
        except OSError:
            stream.close()
            raise
        return stream

    return EngineApi(where or str(path), dial, timeout_seconds, keeps=keeps)


def frames(body: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield (stream, bytes) of a multiplexed body: 1 byte stream, 3 zeros, 4 bytes length, then so many bytes.

    https://docs.docker.com/engine/api/v1.41/#operation/ContainerAttach, "Stream format".
    """
    while len(head := body.read(8)) == 8:
        stream, length = struct.unpack(">BxxxL", head)
        text = body.read(length)
        if len(text) < length or stream not in STREAMS:
            raise EngineError("what the engine passes on broke off in the middle of a line: ask again")
        yield STREAMS[stream], text


def filters(**wanted: list[str]) -> Query:
    """Return the query that lists only what has one of the words of each filter; one without words is none."""
    chosen = {key: values for key, values in wanted.items() if values}
    return {"filters": json.dumps(chosen)} if chosen else {}


def _word(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
