"""This host's engine as Docker 29 would be: a proxy that speaks API 1.44 to 1.52 only, and drops what 1.52 has dropped.

It stands in for what can't be had: https://docs.docker.com/reference/api/engine/version-history/
"""

from __future__ import annotations

import json
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

ENGINE = Path("/var/run/docker.sock")
OLDEST, NEWEST = (1, 44), (1, 52)
REAL = "/v1.41"
UNVERSIONED = ("/version", "/_ping")
NETWORK = (
    "Bridge", "HairpinMode", "LinkLocalIPv6Address", "LinkLocalIPv6PrefixLen", "SecondaryIPAddresses",
    "SecondaryIPv6Addresses", "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress",
    "IPPrefixLen", "IPv6Gateway", "MacAddress",
)  # fmt: skip
IMAGE = ("VirtualSize", "Container", "ContainerConfig", "Parent", "DockerVersion", "Comment", "Author")
IMAGE_CONFIG = (
    "Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "Image",
)  # fmt: skip
INFO = (
    "BridgeNfIptables", "BridgeNfIp6tables", "KernelMemory", "KernelMemoryTCP", "RegistryConfig", "ContainerdCommit",
    "RuncCommit", "InitCommit",
)  # fmt: skip
OMITTED_WHEN_EMPTY = ("Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "User", "Volumes", "WorkingDir")


@dataclass
class LaterEngine:
    """`path`: its socket; `asked`: METHOD PATH of each request, as it came; `refused`: those that were too old."""

    path: Path
    asked: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@contextmanager
def later_engine(folder: Path) -> Iterator[LaterEngine]:
    """Listen at FOLDER/later.sock as long as the block lasts."""
    engine = LaterEngine(folder / "later.sock")

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while _serve(self.connection, self.rfile, engine):
                    pass

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    with Server(str(engine.path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield engine
        finally:
            server.shutdown()
            thread.join()


def _serve(near: socket.socket, reader: Any, engine: LaterEngine) -> bool:
    """Answer the next request of a connection; return whether another one may follow."""
    line = reader.readline()
    if not line:
        return False
    method, target, _ = line.decode().split()
    head = [line for line in iter(reader.readline, b"\r\n") if line]
    engine.asked.append(f"{method} {target}")
    path, _, query = target.partition("?")
    versioned = re.match(r"/v(\d+)\.(\d+)(/.*)", path)
    spoken = versioned and (int(versioned[1]), int(versioned[2]))
    if versioned:
        path = versioned[3]
    if (not versioned and path not in UNVERSIONED) or (spoken and not OLDEST <= spoken <= NEWEST):
        engine.refused.append(f"{method} {target}")
        message = "client version is too old. Minimum supported API version is 1.44, please upgrade your client"
        near.sendall(_answer("400 Bad Request", {"message": message}))
        return False
    with socket.socket(socket.AF_UNIX) as far:
        far.connect(str(ENGINE))
        upgrades = any(line.lower().startswith(b"upgrade:") for line in head)
        kept = [line for line in head if upgrades or not line.lower().startswith(b"connection:")]
        if not upgrades:
            kept.append(b"Connection: close\r\n")
        rest = f"?{query}" if query else ""
        far.sendall(f"{method} {REAL}{path}{rest} HTTP/1.1\r\n".encode() + b"".join(kept) + b"\r\n")
        if method == "GET" and (drop := _drops(path)):
            answer = HTTPResponse(far)
            answer.begin()
            text = answer.read()
            document = json.loads(text)
            if answer.status == 200:
                drop(document)
            near.sendall(_answer(f"{answer.status} {answer.reason}", document))
            return True
        threading.Thread(target=_pump, args=(reader, far), daemon=True).start()
        while data := far.recv(65536):
            near.sendall(data)
    return False


def _answer(status: str, document: Any) -> bytes:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Api-Version: 1.52\r\n\r\n".encode() + body


def _pump(reader: Any, far: socket.socket) -> None:
    with suppress(OSError, ValueError):
        while data := reader.read1(65536):
            far.sendall(data)


def _drops(path: str) -> Any:
    """Return what takes out of an answer what 1.44 to 1.52 have dropped; None where that is nothing."""
    if path == "/version":
        return lambda told: told.update(ApiVersion="1.52", MinAPIVersion="1.44")
    if path == "/info":
        return lambda told: _without(told, INFO)
    if re.fullmatch(r"/containers/[^/]+/json", path):
        return lambda told: _without(told["NetworkSettings"], NETWORK)
    if path == "/images/json":
        return _images
    if re.fullmatch(r"/images/.+/json", path):
        return _image
    return None


def _images(told: list[dict[str, Any]]) -> None:
    for image in told:
        _without(image, IMAGE)


def _image(told: dict[str, Any]) -> None:
    _without(told, IMAGE)
    _without(told["Config"], IMAGE_CONFIG)
    _without(told["Config"], [key for key in OMITTED_WHEN_EMPTY if not told["Config"].get(key)])


def _without(told: dict[str, Any], names: Any) -> None:
    for name in names:
        told.pop(name, None)
