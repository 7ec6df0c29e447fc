"""How a registry learns who asks: basic authentication, or a bearer token that its challenge says where to get.

https://distribution.github.io/distribution/spec/auth/token/, RFC 7617 and RFC 9110. The password goes over TLS only.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from argosy.errors import RegistryError

BUSY = (httpx.codes.TOO_MANY_REQUESTS, 500, 502, 503, 504)
_WORD = r"[\w!#$%&'*+.^`|~-]+"
_PART = re.compile(rf'({_WORD})(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?')
_TOKEN = re.compile("[!-~]+")
_REPOSITORY = re.compile(r"^/v2/(.+?)/(?:manifests|blobs|tags)/")


@dataclass(frozen=True)
class Challenge:
    """One challenge of a WWW-Authenticate header: its scheme in lower case, and its parameters."""

    scheme: str
    parameters: dict[str, str]


class TokenRefused(RegistryError):
    """The token service does not give this user a token for what was asked."""


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Return the challenges of WWW-Authenticate headers: each may hold several, separated by commas as their own
    parameters are. A word without a value begins the next one."""
    found: list[Challenge] = []
    for header in headers:
        for part in _PART.finditer(header):
            name, quoted, bare = part.groups()
            if quoted is None and bare is None:
                found.append(Challenge(name.lower(), {}))
            elif found:
                found[-1].parameters[name.lower()] = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return found


def retry_after_seconds(value: str, now: datetime) -> float:
    """Return how long a Retry-After header asks to wait, 0 for none that can be understood. Pure."""
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())


def asked_to_wait(response: httpx.Response) -> float:
    return retry_after_seconds(response.headers.get("retry-after", ""), datetime.now(UTC))


@dataclass
class RegistryAuth(httpx.Auth):
    """Answers a registry's challenges. Tokens are kept, one for each repository, for as long as the registry takes
    them; several threads may ask at once.

    httpx drops the Authorization header when a registry redirects a download to a storage elsewhere. It would take the
    last answer of this flow for the registry's: so a token service that gives no token raises RegistryError.
    """

    user: str
    password: str = field(repr=False)
    _answers: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        found = _REPOSITORY.match(request.url.path)
        place = found[1] if found else ""
        if place in self._answers:
            request.headers["Authorization"] = self._answers[place]
        response = yield request
        if response.status_code != httpx.codes.UNAUTHORIZED:
            return
        challenges = parse_challenges(response.headers.get_list("www-authenticate"))
        realms = [(each, request.url.join(each.parameters.get("realm", ""))) for each in challenges]
        bearers = [(each, realm) for each, realm in realms if each.scheme == "bearer" and each.parameters.get("realm")]
        safe = next((found for found in bearers if found[1].scheme == "https"), None)
        if safe:
            token = yield self._token_request(*safe)
            answer = self._bearer(token)
        elif any(each.scheme == "basic" for each in challenges):
            answer = self._basic()
        elif bearers:
            raise RegistryError(
                f"{request.url.netloc.decode()}: its token service {bearers[0][1]} is not asked, "
                "since the password goes over TLS only"
            )
        else:
            return
        self._answers[place] = request.headers["Authorization"] = answer
        yield request

    def _basic(self) -> str:
        request = next(httpx.BasicAuth(self.user, self.password).auth_flow(httpx.Request("GET", "https://x")))
        return request.headers["Authorization"]

    def _token_request(self, challenge: Challenge, realm: httpx.URL) -> httpx.Request:
        """Return the request for a token. The realm may have a query of its own; several scopes are separated by
        spaces, and each is asked for by itself."""
        wanted: dict[str, str | list[str]] = {}
        if service := challenge.parameters.get("service"):
            wanted["service"] = service
        if scopes := challenge.parameters.get("scope", "").split():
            wanted["scope"] = scopes
        headers = {"Authorization": self._basic()}
        return httpx.Request("GET", realm.copy_with(params=realm.params.merge(wanted)), headers=headers)

    def _bearer(self, response: httpx.Response) -> str:
        """Return the header with the token that the token service gave. Raises RegistryError when it gave none."""
        service = response.request.url.host
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise TokenRefused(
                f"{service}: the registry's token service refused user {self.user} or the password: "
                "compare registry.user and registry.password with the registry's"
            )
        if response.status_code != httpx.codes.OK:
            reason = f"the registry's token service answered with {response.status_code} {response.reason_phrase}"
        elif token := _token(response):
            return f"Bearer {token}"
        else:
            reason = "what answers as the registry's token service gives no token: is something else there?"
        raise RegistryError(
            f"{service}: {reason}", passes=response.status_code in BUSY, wait_seconds=asked_to_wait(response)
        )


def _token(response: httpx.Response) -> str:
    """Return the token in the answer; empty when there is none."""
    response.read()
    try:
        document = response.json()
    except (ValueError, RecursionError):
        return ""
    token = (document.get("token") or document.get("access_token")) if isinstance(document, dict) else ""
    return token if isinstance(token, str) and _TOKEN.fullmatch(token) else ""
