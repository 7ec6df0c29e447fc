"""How a registry learns who asks: basic authentication, or a bearer token that its challenge says where to get.

https://distribution.github.io/distribution/spec/auth/token/ and RFC 7617. The password goes over TLS only.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, field

import httpx

from argosy.errors import RegistryError

BUSY = (httpx.codes.TOO_MANY_REQUESTS, 500, 502, 503, 504)
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

    httpx drops the Authorization header when a registry redirects a download to a storage elsewhere. It would take the
    last answer of this flow for the registry's: so a token service that gives no token raises RegistryError.
    """

    user: str
    password: str = field(repr=False)
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
            self._answer = ""
            self._answer = self._bearer(token)
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

    def _bearer(self, response: httpx.Response) -> str:
        """Return the header with the token that the token service gave. Raises RegistryError when it gave none."""
        service = response.request.url.host
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            reason = (
                f"the registry's token service refused user {self.user} or the password: "
                "compare registry.user and registry.password with the registry's"
            )
        elif response.status_code != httpx.codes.OK:
            reason = f"the registry's token service answered with {response.status_code} {response.reason_phrase}"
        elif token := _token(response):
            return f"Bearer {token}"
        else:
            reason = "what answers as the registry's token service gives no token: is something else there?"
        raise RegistryError(f"{service}: {reason}", passes=response.status_code in BUSY)


def _token(response: httpx.Response) -> str:
    """Return the token in the answer; empty when there is none."""
    response.read()
    try:
        document = response.json()
    except ValueError:
        return ""
    token = (document.get("token") or document.get("access_token")) if isinstance(document, dict) else ""
    return token if isinstance(token, str) else ""
