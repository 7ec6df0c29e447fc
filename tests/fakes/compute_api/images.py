"""A pretended registry beside the pretended API: TLS, a password, two images: enough for a cloud-config."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
VERSION = "0.1.3"


class FakeRegistry:
    """Holds a release of `cluster` and SYSTEM/etcd in one version. `certificate`, `key`: PEM files."""

    def __init__(
        self, system: str, cluster: str, user: str, password: str, certificate: Path, key: Path, port: int = 0
    ) -> None:
        self.login = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self._add(f"{system}/etcd", {"argosy.image": "etcd"})
        self._add(f"{system}/installer/{cluster}", {"argosy.image": "installer", "argosy.cluster": cluster})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
        self._server.daemon_threads = True
        self._server.registry = self  # type: ignore[attr-defined]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        # The handshake is left to the connection's own thread.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeRegistry:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _add(self, repository: str, labels: dict[str, str]) -> None:
        known = {"argosy.system": repository.partition("/")[0], "argosy.content": repository, **labels}
        config = json.dumps({"config": {"Labels": known}}).encode()
        digest = _digest(config)
        self.blobs[digest] = config
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(config),
                "digest": digest,
            },
            "layers": [],
        }
        self.manifests[repository] = json.dumps(manifest).encode()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return (status, content type, body) of a GET."""
        if path == "/v2/":
            return 200, "application/json", b"{}"
        match = re.fullmatch(r"/v2/(.+)/(tags/list|manifests/(.+)|blobs/(.+))", path)
        if match is None or match[1] not in self.manifests:
            return 404, "application/json", b'{"errors":[{"code":"NAME_UNKNOWN"}]}'
        if match[2] == "tags/list":
            return 200, "application/json", json.dumps({"name": match[1], "tags": [VERSION]}).encode()
        if match[4]:
            return 200, "application/octet-stream", self.blobs.get(match[4], b"")
        return 200, MANIFEST, self.manifests[match[1]]


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        registry = self.server.registry  # type: ignore[attr-defined]
        status, kind, body = registry.answer(self.path.partition("?")[0])
        if self.headers.get("Authorization") != registry.login:
            status, kind, body = 401, "application/json", b'{"errors":[{"code":"UNAUTHORIZED"}]}'
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if kind == MANIFEST:
            self.send_header("Docker-Content-Digest", _digest(body))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="pretended"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET
