"""What stands behind a router in tests: servers that say who they are, and a client that says what it wants."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import json
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from argosy.model import Endpoint

V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        if self.headers.get("Upgrade") == "websocket":
            self._echo()
            return
        status = self.server.status(self.path)
        if not status:
            self.close_connection = True
            return
        body = json.dumps(
            {
                "name": self.server.name,
                "path": self.path,
                "forwarded": self.headers.get_all("X-Forwarded-For"),
                "proto": self.headers.get_all("X-Forwarded-Proto"),
                "host": self.headers.get("Host"),
            }
        ).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.do_GET()

    def _echo(self) -> None:
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        # HAProxy looks at both keys (RFC 6455, 4.2.2).
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        while data := self.connection.recv(4096):
            self.connection.sendall(data)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, name: str, address: str) -> None:
        super().__init__((address, 0), _Handler)
        self.name = name
        self.requests: list[str] = []
        self.status: Callable[[str], int] = lambda _path: 200

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A check, or a test, hangs up when it has seen enough.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class HttpBackend:
    """Answers every request with its own name, and what it was asked, as JSON. `answer`: with which
    status, by path; 0 hangs up instead."""

    def __init__(self, name: str, address: str = "127.0.9.200") -> None:
        self._server = _Server(name, address)
        self.endpoint = Endpoint(address, self._server.server_port)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def requests(self) -> list[str]:
        return self._server.requests

    def answer(self, status: Callable[[str], int]) -> None:
        self._server.status = status

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class TcpBackend:
    """Sends its own name as a line, then whatever it receives; by TLS when there is a context."""

    def __init__(self, name: str, address: str = "127.0.9.200", tls: ssl.SSLContext | None = None) -> None:
        self._name, self._tls = name, tls
        self._listener = socket.create_server((address, 0), backlog=128)
        self.endpoint = Endpoint(address, self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            spoken = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            with spoken:
                spoken.sendall(f"{self._name}\n".encode())
                while data := spoken.recv(4096):
                    spoken.sendall(data)
        except OSError:
            # A check connects and says nothing.
            connection.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def said(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found

    @property
    def name(self) -> str:
        """Who answered: a backend's name, or the status for the router itself."""
        return str(self.said["name"]) if self.text.startswith("{") else str(self.status)


def proxy_v1(client: str) -> bytes:
    return f"PROXY TCP4 {client} 192.0.2.1 1234 80\r\n".encode()


def proxy_v2(client: str) -> bytes:
    addresses = ipaddress.IPv4Address(client).packed + ipaddress.IPv4Address("192.0.2.1").packed
    return V2_SIGNATURE + b"\x21\x11" + struct.pack("!H", 12) + addresses + struct.pack("!HH", 1234, 80)


@dataclass
class Client:
    """Asks a router. `trust`: the certificates that it takes from it."""

    address: str
    trust: ssl.SSLContext | None = None
    opened: list[socket.socket] = field(default_factory=list)

    def connect(self, port: int, *, before: bytes = b"", server_name: str = "") -> socket.socket:
        connection = socket.create_connection((self.address, port), 10)
        connection.sendall(before)
        if server_name and self.trust:
            connection = self.trust.wrap_socket(connection, server_hostname=server_name)
        self.opened.append(connection)
        return connection

    def ask(
        self,
        port: int,
        path: str = "/",
        host: str | None = "",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        before: bytes = b"",
        server_name: str = "",
        version: str = "1.1",
    ) -> Answer:
        """Return the answer. `host`: None for no such header."""
        lines = [f"{method} {path} HTTP/{version}", "Connection: close"]
        lines += [f"Host: {host}"] if host is not None else []
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        with self.connect(port, before=before, server_name=server_name) as connection:
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            response = HTTPResponse(connection, method=method)
            response.begin()
            text = response.read().decode(errors="replace")
            response.close()
            return Answer(response.status, dict(response.headers), text)

    def greeting(self, port: int, *, before: bytes = b"", server_name: str = "") -> str:
        """Return the line that a TCP service sends first; empty when the connection is closed instead."""
        try:
            with self.connect(port, before=before, server_name=server_name) as connection:
                return read_line(connection)
        except (ConnectionError, ssl.SSLError):
            return ""

    def close(self) -> None:
        for connection in self.opened:
            connection.close()


def read_line(connection: socket.socket) -> str:
    data = b""
    while not data.endswith(b"\n") and (more := connection.recv(1)):
        data += more
    return data.decode().rstrip("\n")


def open_websocket(client: Client, port: int, path: str = "/", host: str = "") -> socket.socket:
    """Return a connection on which the backend sends back whatever it receives."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket"]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==", "", ""]
    connection = client.connect(port, before="\r\n".join(lines).encode())
    connection.settimeout(10)
    status = read_line(connection)
    assert status.startswith("HTTP/1.1 101"), status
    while read_line(connection).strip():
        pass
    return connection


def make_certificate(path: Path, *names: str) -> Path:
    """Write a self-signed certificate and its key into one file, as HAProxy wants them."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(certificate.public_bytes(pem) + key.private_bytes(pem, pkcs8, plain))
    path.chmod(0o600)
    return path


def trusting(*certificates: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for path in certificates:
        context.load_verify_locations(path)
    return context


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
