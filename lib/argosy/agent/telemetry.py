"""What the agent tells of itself: HTTP on a unix socket, for its unit's check, `cluster.status`, Prometheus and people.

    GET /health   200 when it does its work, else 503; what is wrong is told in either case, a line each
    GET /ready    200 when nothing is wrong: the machine's router is as etcd wants it
    GET /metrics  Prometheus text (https://prometheus.io/docs/instrumenting/exposition_formats/)
    GET /status   JSON: what the parts of the agent say

The other parts add their own routes, metrics and checks; one is the status of the whole machine, `POST /machine`
(argosy.agent.machine_status). Only root reaches the socket (0600).
"""

from __future__ import annotations

import json
import os
import re
import resource
import socketserver
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from argosy.agent.log import log

_log = log("telemetry")

Answer = tuple[int, str, bytes]
"""Status, content type, body."""
Handler = Callable[[str, Mapping[str, str], bytes], Answer]
"""Called with the path, the query and the body. May be called by several threads at once."""

TEXT, JSON, METRICS = "text/plain; charset=utf-8", "application/json", "text/plain; version=0.0.4; charset=utf-8"
BODY_BYTES = 1_000_000
CLIENT_SECONDS = 10.0


class Telemetry:
    """The agent's HTTP server. Add to it before `start`."""

    def __init__(self, path: Path) -> None:
        """`path`: of the unix socket; its folder must exist. One that was left there is replaced."""
        self._path = path
        self._server: _Server | None = None
        self._metrics: dict[str, tuple[str, str, Callable[[], float]]] = {}
        self._routes: dict[tuple[str, str], Handler] = {}
        self._health: dict[str, Callable[[], str]] = {}
        self._ready: dict[str, Callable[[], str]] = {}
        self._status: dict[str, Callable[[], Any]] = {}
        self.route("GET", "/health", lambda *_: _verdict(_reasons(self._health), _reasons(self._ready)))
        self.route("GET", "/ready", lambda *_: _verdict([*_reasons(self._health), *_reasons(self._ready)], []))
        self.route("GET", "/metrics", lambda *_: (200, METRICS, self.metrics().encode()))
        self.route("GET", "/status", lambda *_: json_answer({name: told() for name, told in self._status.items()}))
        self._add_process_metrics()

    def gauge(self, name: str, help: str, function: Callable[[], float]) -> None:
        """Add a metric `argosy_NAME` that `function` tells when it is asked for."""
        self._metrics[f"argosy_{name}"] = ("gauge", help, function)

    def total(self, name: str, help: str, function: Callable[[], float]) -> None:
        """Add a counter `argosy_NAME_total` that `function` tells when it is asked for."""
        self._metrics[f"argosy_{name}_total"] = ("counter", help, function)

    def route(self, method: str, prefix: str, handler: Handler) -> None:
        """Answer METHOD for `prefix` itself and all below it (`prefix/...`); the longest prefix wins."""
        self._routes[method, prefix] = handler

    def check(self, name: str, function: Callable[[], str], *, ready_only: bool = False) -> None:
        """Let `function` say why the agent does not do its work, or only (`ready_only`) why it is not ready; empty when
        nothing is wrong."""
        (self._ready if ready_only else self._health)[name] = function

    def status(self, name: str, function: Callable[[], Any]) -> None:
        """Add to /status what `function` tells, any JSON value."""
        self._status[name] = function

    def metrics(self) -> str:
        """Return all metrics in Prometheus' text format."""
        lines = []
        for name, (kind, help_text, function) in sorted(self._metrics.items()):
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}", f"{name} {function():.10g}"]
        return "\n".join(lines) + "\n"

    def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Answer:
        """Return the answer to a request."""
        found = [prefix for known, prefix in self._routes if known == method and _below(path, prefix)]
        if found:
            return self._routes[method, max(found, key=len)](path, query, body)
        known = any(_below(path, prefix) for _, prefix in self._routes)
        return (405, TEXT, b"not with this method\n") if known else (404, TEXT, b"there is nothing of this name\n")

    def start(self) -> None:
        """Listen, and answer in threads."""
        # Under its name only when nobody but root can connect.
        aside = self._path.with_name(f".{self._path.name}")
        aside.unlink(missing_ok=True)
        self._server = _Server(str(aside), _Request)
        self._server.telemetry = self
        aside.chmod(0o600)
        aside.replace(self._path)
        threading.Thread(target=self._server.serve_forever, name="telemetry", daemon=True).start()

    def stop(self) -> None:
        """Take no more requests, and take the socket away."""
        if self._server is not None:
            self._path.unlink(missing_ok=True)
            self._server.shutdown()
            self._server.server_close()

    def _add_process_metrics(self) -> None:
        started = time.time()
        self.gauge("start_time_seconds", "When the agent was started, since 1970.", lambda: started)
        self.gauge("resident_memory_bytes", "The agent's resident memory.", resident_bytes)
        self.total("cpu_seconds", "Processor time that the agent used.", _cpu_seconds)
        self.gauge("threads", "Threads of the agent.", threading.active_count)


def json_answer(value: Any, status: int = 200) -> Answer:
    """Return `value` as the answer to a request."""
    return status, JSON, json.dumps(value, indent=2, sort_keys=True, default=str).encode() + b"\n"


def resident_bytes() -> int:
    """Return the memory that this process holds in RAM (https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix.rstrip('/')}/")


def _reasons(checks: Mapping[str, Callable[[], str]]) -> list[str]:
    told = [(name, function()) for name, function in checks.items()]
    return [f"{name}: {reason}" for name, reason in told if reason]


def _verdict(reasons: Sequence[str], notes: Sequence[str]) -> Answer:
    """Return the answer: `reasons` are why it is no, `notes` are told beside a yes."""
    return (503 if reasons else 200), TEXT, ("\n".join([*reasons, *notes] or ["ok"]) + "\n").encode()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64
    telemetry: Telemetry

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 (its caller's names)
        """Say it in the journal's form; the connection is closed."""
        _log.exception("a request failed")


class _Request(BaseHTTPRequestHandler):
    timeout = CLIENT_SECONDS
    server: _Server

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > BODY_BYTES:
            self._send(413, TEXT, b"a body of at most 1 MB, with its length, please\n")
            return
        self._answer(self.rfile.read(int(length)))

    def _answer(self, body: bytes) -> None:
        path, _, query = re.sub(r"(?i)^https?://[^/?]*", "", self.path).partition("?")
        try:
            given = dict(parse_qsl(query, keep_blank_values=True))
            answer = self.server.telemetry.answer(str(self.command), unquote(path) or "/", given, body)
        except Exception:
            self._send(500, TEXT, b"the agent failed; see its journal\n")
            raise
        self._send(*answer)

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "local"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: checks come every few seconds."""
