"""The way to the Docker engine: one connection, and its refusals in one line of our own."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException

from argosy.engine.versions import OURS, version_to_ask
from argosy.errors import EngineError

DEFAULT_ENGINE = "unix:///var/run/docker.sock"
CALL_TIMEOUT_SECONDS = 300
CONNECT_SECONDS = 10


@contextmanager
def connect(timeout_seconds: int = CALL_TIMEOUT_SECONDS) -> Iterator[docker.DockerClient]:
    """Yield a client of the engine that DOCKER_HOST names (the local one by default).

    `timeout_seconds` bounds each call, or each silence of a stream. Raises EngineError when no engine answers.
    """
    try:
        _try_socket()
        client = _client(timeout_seconds)
    except (DockerException, OSError) as error:
        raise EngineError(_no_engine(error)) from None
    streams: list[requests.Response] = []

    def remember(response: requests.Response, *_args: object, **options: object) -> None:
        if options.get("stream"):
            streams.append(response)

    client.api.hooks["response"].append(remember)
    try:
        yield client
    finally:
        for response in streams:  # one that wasn't read to its end holds a connection that the client doesn't close
            response.close()
        client.close()


def _client(timeout_seconds: int) -> docker.DockerClient:
    """Return a client that asks in the version that we ask every engine in: the SDK's own choice is the newest."""
    with closing(docker.from_env(version=OURS, timeout=timeout_seconds)) as trial:
        version = version_to_ask(trial.version(api_version=False))
    return docker.from_env(version=version, timeout=timeout_seconds)


def engine_address() -> str:
    """Return where the engine is, as DOCKER_HOST spells it, whatever context Docker's own command is in."""
    return os.environ.get("DOCKER_HOST") or DEFAULT_ENGINE


def has_engine() -> bool:
    """Return whether there is an engine, be it stopped or not for us: DOCKER_HOST names one, or its socket is there."""
    return bool(os.environ.get("DOCKER_HOST")) or os.path.lexists(DEFAULT_ENGINE.removeprefix("unix://"))


def _try_socket() -> None:
    """Raise OSError when nothing listens on the engine's socket: the client itself would leave its own open then."""
    where = engine_address()
    if where.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as trial:
            trial.settimeout(CONNECT_SECONDS)
            trial.connect(where.removeprefix("unix://"))


def _no_engine(error: BaseException) -> str:
    where = engine_address()
    if any(isinstance(cause, PermissionError) for cause in causes(error)):
        return f"you may not use the Docker engine at {where}: run as root, or join the group `docker`"
    return f"no Docker engine answers at {where}: start it (`systemctl start docker`), or set DOCKER_HOST"


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and everything that led to it; urllib3 hides some causes in the arguments."""
    pending, seen = [error], set()
    while pending:
        current = pending.pop()
        if id(current) not in seen:
            seen.add(id(current))
            yield current
            linked = (current.__cause__, current.__context__, getattr(current, "reason", None), *current.args)
            pending += [item for item in linked if isinstance(item, BaseException)]


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turn the engine's refusals into `EngineError: WHAT: its reason`, on one line."""
    try:
        yield
    except APIError as error:
        raise EngineError(f"{what}: {one_line(str(error.explanation or error))}") from None
    except (requests.exceptions.ConnectionError, urllib3.exceptions.ProtocolError) as error:
        raise EngineError(f"{what}: {_no_engine(error)}") from None
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
        raise EngineError(f"{what}: the Docker engine did not answer in time; is it overloaded?") from None
    except DockerException as error:
        raise EngineError(f"{what}: {one_line(str(error))}") from None


def one_line(text: str) -> str:
    return " ".join(text.split())


def try_port(what: str, address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
    """Raise EngineError when `address:port` can't be listened on; port 0 asks only about the address."""
    with socket.socket(socket.AF_INET, kind) as trial:
        if kind == socket.SOCK_STREAM:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError as error:
            reasons = {
                errno.EADDRINUSE: f"port {port} of {address} is taken: stop what listens there, or choose another",
                errno.EADDRNOTAVAIL: f"{address} is not an address of this host: choose one that `ip address` shows",
                errno.EACCES: f"port {port} of {address} is not for you: run as root, or choose a port above 1023",
            }
            reason = reasons.get(error.errno or 0, f"{address}:{port}: {error.strerror}")
            raise EngineError(f"{what}: {reason}") from None


def is_local_address(address: str) -> bool:
    """Return whether this host can listen on `address` (IPv4)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        try:
            trial.bind((address, 0))
        except OSError:
            return False
    return True


def is_free_port(address: str, port: int) -> bool:
    """Return whether nothing listens on `address:port`, and we may (IPv4, TCP)."""
    try:
        try_port("", address, port)
    except EngineError:
        return False
    return True


def is_here() -> bool:
    """Return whether the engine shares this host's files: it is reached through a socket in the file system."""
    return engine_address().startswith("unix://")
