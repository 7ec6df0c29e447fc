"""Debian's Docker registry on loopback, over TLS, that takes the tokens of a service beside it: each lets its bearer do
in one repository what the service allows, and nobody may list them all.

https://distribution.github.io/distribution/spec/auth/jwt/
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import docker_registry
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from ssh_server import free_port
from waiting import until

from argosy.pki import authority

SERVICE, ISSUER = "token-registry", "token-service"
SECONDS = 60
CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "{address}", tls: {{certificate: {certificate}, key: {key}}}}}
auth:
  token:
    realm: "{realm}"
    service: {audience}
    issuer: {issuer}
    rootcertbundle: {certificate}
"""


@dataclass
class TokenRegistry:
    """`service`: the address of what gives tokens. `users`: their passwords; `places`: what the paths of repositories
    begin with that these may use; `asked`: the scopes of every request for a token, with its user."""

    folder: Path
    address: str = ""
    service: str = ""
    users: dict[str, str] = field(default_factory=dict)
    places: dict[str, tuple[str, ...]] = field(default_factory=dict)
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def token(self, user: str, scopes: list[str]) -> str:
        """Return a token for those of the scopes that the user may have: perhaps for none, as the spec has it."""
        self.asked.append((user, tuple(scopes)))
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            if kind == "repository" and name.startswith(self.places.get(user, ())):
                access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {
            "iss": ISSUER, "sub": user, "aud": SERVICE, "exp": now + SECONDS, "nbf": now - 10, "iat": now, "jti": "1",
            "access": access,
        }  # fmt: skip
        return self._signed(claims)

    def _signed(self, claims: dict[str, object]) -> str:
        pair = self._pair()
        certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        chain = [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]
        key = load_pem_private_key(pair.key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        head = _encoded(json.dumps({"typ": "JWT", "alg": "ES256", "x5c": chain}).encode())
        signed = f"{head}.{_encoded(json.dumps(claims).encode())}"
        first, second = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encoded(first.to_bytes(32, 'big') + second.to_bytes(32, 'big'))}"

    def _pair(self) -> authority.Pair:
        return authority.ensure_registry_certificate(self.folder, ["127.0.0.1"])


@contextmanager
def token_registry(folder: Path, cache: Path) -> Iterator[TokenRegistry]:
    """Yield a running registry whose certificate is of the CA of `folder`, a cluster's; skip where there is none."""
    program = docker_registry.binary(cache)
    if program is None:
        pytest.skip("no docker-registry here: apt-get update")
    made = TokenRegistry(folder, f"127.0.0.1:{free_port()}")
    with _service(made) as made.service:
        pair = made._pair()
        settings = folder / "token-registry.yml"
        settings.write_text(
            CONFIG.format(
                folder=folder,
                address=made.address,
                certificate=pair.certificate,
                key=pair.key,
                realm=f"https://{made.service}/token?tenant=7",
                audience=SERVICE,
                issuer=ISSUER,
            )
        )
        with (folder / "token-registry.log").open("ab") as log:
            process = subprocess.Popen([str(program), "serve", str(settings)], stdout=log, stderr=log)
        try:
            until(lambda: _listens(made.address) or process.poll() is not None, 20)
            assert process.poll() is None, (folder / "token-registry.log").read_text()
            yield made
        finally:
            process.kill()
            process.wait()


@contextmanager
def _service(registry: TokenRegistry) -> Iterator[str]:
    """Run the service that gives tokens, and yield its address."""

    class Request(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            kind, _, login = self.headers.get("Authorization", "").partition(" ")
            user, _, password = base64.b64decode(login).decode().partition(":")
            known = kind == "Basic" and registry.users.get(user) == password
            assert query["tenant"] == ["7"]
            scopes = [scope for text in query.get("scope", ()) for scope in text.split(" ")]
            answer = json.dumps({"token": registry.token(user, scopes)} if known else {}).encode()
            self.send_response(200 if known else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_POST(self) -> None:
            self.send_error(404)  # as services do that know no OAuth: then it is asked by GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    pair = registry._pair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Request) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _listens(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
