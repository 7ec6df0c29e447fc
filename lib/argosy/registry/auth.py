"""How a registry learns who asks: basic authentication, or a bearer token that its challenge says where to get.

https://distribution.github.io/distribution/spec/auth/token/ and RFC 7617. The password goes over TLS only.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, field

import httpx

_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True)
class Challenge:
    """A WWW-Authenticate header: its scheme in lower case, and its parameters."""

    scheme: str
    parameters: dict[str, str]


def parse_challenge(header: str) -> Challenge:
    """Return the challenge of a WWW-Authenticate header; its scheme is empty when there is none."""
    scheme, _, rest = header.strip().partition(" ")
    parameters = {key.lower(): quoted or bare for key, quoted, bare in _PARAMETER.findall(rest)}
    return Challenge(scheme.lower(), parameters)


@dataclass
class RegistryAuth(httpx.Auth):
    """Answers a registry's challenges. Tokens are kept for as long as the registry takes them.

    httpx drops the Authorization header when a registry redirects a download to a storage elsewhere.
    """

    user: str
    password: str = field(repr=False)
    requires_response_body = True
    _answer: str = field(default="", init=False, repr=False)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._answer:
            request.headers["Authorization"] = self._answer
        response = yield request
        if response.status_code != httpx.codes.UNAUTHORIZED:
            return
        challenge = parse_challenge(response.headers.get("www-authenticate", ""))
        if challenge.scheme == "basic":
            self._answer = self._basic()
        elif challenge.scheme == "bearer" and challenge.parameters.get("realm", "").startswith("https://"):
            token = yield self._token_request(challenge)
            self._answer = _bearer(token)
        else:
            self._answer = ""
        if self._answer:
            request.headers["Authorization"] = self._answer
            yield request

    def _basic(self) -> str:
        request = next(httpx.BasicAuth(self.user, self.password).auth_flow(httpx.Request("GET", "https://x")))
        return request.headers["Authorization"]

    def _token_request(self, challenge: Challenge) -> httpx.Request:
        wanted: dict[str, str] = {
            key: value for key, value in challenge.parameters.items() if key in ("service", "scope")
        }
        headers = {"Authorization": self._basic()}
        return httpx.Request("GET", challenge.parameters["realm"], params=wanted, headers=headers)


def _bearer(response: httpx.Response) -> str:
    if response.status_code != httpx.codes.OK:
        return ""
    document = response.json()
    token = document.get("token") or document.get("access_token") or ""
    return f"Bearer {token}" if token else ""
