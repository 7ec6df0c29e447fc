"""A small JSON web server that behaves as a service should: it stops politely, logs one JSON line for each request,
and says in every answer which machine, version and instance it came from."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

NOBODY = 65534
MAX_BODY_BYTES = 1_000_000


@dataclass(frozen=True)
class Request:
    """`path`: without the service's own name in front; `client`: who asked, as far as the router knows."""

    method: str
    path: str
    query: Mapping[str, str]
    client: str


@dataclass(frozen=True)
class Answer:
    body: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


Routes = Mapping[tuple[str, str], Callable[[Request], Answer]]
"""(method, path) -> what answers it."""


def identity() -> dict[str, str]:
    """Return who answers. Argosy gives a service's container all of it, but the instance of a system service, which is
    the host name, and the address of a scheduled one's machine."""
    names = ("service", "machine", "address", "version")
    known = {name: os.environ.get(f"ARGOSY_{name.upper()}", "") for name in names}
    return {**known, "instance": os.environ.get("ARGOSY_INSTANCE") or socket.gethostname()}


def log(event: str, **details: object) -> None:
    """Write one JSON line; the service's unit brings it to the journal, which knows the time."""
    sys.stdout.write(json.dumps({"event": event, **details}) + "\n")
    sys.stdout.flush()


def drop_privileges() -> None:
    """Become nobody. Secrets are readable for root only, so a service reads them first."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def own_path(path: str, service: str) -> str:
    """Return `path` without a leading /SERVICE, with which the router may have found us."""
    prefix = f"/{service}"
    if path == prefix or path.startswith(f"{prefix}/"):
        path = path.removeprefix(prefix)
    return path or "/"


def serve(routes: Routes, port: int) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish those that have begun, and return."""
    server = _Server(("0.0.0.0", port), _handler(routes))  # noqa: S104 (a container's own network)
    for number in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for serve_forever(), which is what the signal interrupts: so from another thread.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    log("started", port=port, **identity())
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    log("stopped")


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    """So that server_close() waits for the requests that have begun."""
    request_queue_size = 128

    def handle_error(self, *_connection: object) -> None:
        """Log what befell one connection, such as a client that left; the others go on."""
        log("connection", error=str(sys.exc_info()[1]))


def _handler(routes: Routes) -> type[BaseHTTPRequestHandler]:
    who = identity()

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def answer(self) -> None:
            started = time.monotonic()
            parts = urlsplit(self.path)
            path = own_path(parts.path, who["service"])
            forwarded = self.headers.get("X-Forwarded-For", "").split(",")[-1].strip()
            client = forwarded or self.client_address[0]
            self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MAX_BODY_BYTES))
            request = Request(self.command, path, dict(parse_qsl(parts.query)), client)
            answer = _answer(routes, request)
            self.send({**who, **answer.body}, answer.status)
            seconds = round(time.monotonic() - started, 4)
            if path != "/health":
                line = {"method": self.command, "path": self.path, "status": answer.status, "client": client}
                log("request", **line, seconds=seconds)

        def send(self, body: Mapping[str, Any], status: int) -> None:
            data = json.dumps(body).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Argosy-Machine", who["machine"])
            self.send_header("X-Argosy-Version", who["version"])
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing: `answer` has written its line."""

        do_GET = do_POST = answer  # noqa: N815 (the names that http.server looks for)

    return Handler


def _answer(routes: Routes, request: Request) -> Answer:
    route = routes.get((request.method, request.path))
    if route is None:
        known = any(path == request.path for _, path in routes)
        return Answer({"error": "no such method here" if known else "no such path"}, 405 if known else 404)
    try:
        return route(request)
    except Exception as error:  # noqa: BLE001 (one bad request must not end the service)
        log("error", path=request.path, error=f"{type(error).__name__}: {error}")
        return Answer({"error": "see the log"}, 500)
