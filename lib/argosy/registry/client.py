"""A client of a Docker registry: what it has, by which digest, and taking it away.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md. Uploads go through the engine's push; all else
is asked here: tags page by page, digests by HEAD, a version's labels from its config blob.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from argosy.errors import RegistryError
from argosy.registry_auth import RegistryAuth

PAGE = 100
ATTEMPTS = 4
_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    *_INDEX_TYPES,
)
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest: its own digest, its config blob's, and the bytes of all its layers, compressed."""

    digest: str
    config_digest: str
    size_bytes: int


class Registry:
    """One registry at `address` (HOST:PORT), over TLS.

    `ca`: a certificate to trust beside the system's. `attempts`: how often a request is tried while the registry can't
    be reached or is busy (429, 5xx). Every method raises RegistryError, in one line.
    """

    def __init__(
        self,
        address: str,
        user: str,
        password: str,
        *,
        ca: Path | None = None,
        timeout_seconds: float = 30,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.address = address
        self.user = user
        self._attempts = attempts
        self._timeout_seconds = timeout_seconds
        context = ssl.create_default_context()
        if ca and ca.is_file():
            context.load_verify_locations(ca)
        self._client = httpx.Client(
            base_url=f"https://{address}",
            auth=RegistryAuth(user, password),
            verify=context,
            timeout=timeout_seconds,
            trust_env=not _is_near(address),
            follow_redirects=True,
        )

    def __repr__(self) -> str:
        return f"Registry({self.address!r}, user={self.user!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def check(self) -> None:
        """Raise RegistryError unless the registry answers and takes our password."""
        self._ask("GET", "/v2/")

    def repositories(self, prefix: str = "") -> list[str]:
        """Return the repositories whose name begins with `prefix`, those without a tag too."""
        names = self._pages("/v2/_catalog", "repositories")
        return sorted(name for name in names if name.startswith(prefix))

    def tags(self, repository: str) -> list[str]:
        """Return the tags of `repository`; none when it isn't there."""
        return list(self._pages(f"/v2/{repository}/tags/list", "tags"))

    def digest(self, repository: str, reference: str) -> str:
        """Return the digest of the manifest that a tag (or digest) names, or nothing when there is none."""
        response = self._ask("HEAD", f"/v2/{repository}/manifests/{reference}", accept=_MANIFEST_TYPES, absent=True)
        return response.headers.get("docker-content-digest", "") if response.is_success else ""

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """Return what a tag (or digest) names, if it is there; of an index, its first image for a real platform."""
        response = self._ask("GET", f"/v2/{repository}/manifests/{reference}", accept=_MANIFEST_TYPES, absent=True)
        if not response.is_success:
            return None
        document = self._document(response)
        digest = response.headers.get("docker-content-digest", reference)
        if "manifests" in document:
            inner = self.manifest(repository, _first_image(document))
            return inner and Manifest(digest, inner.config_digest, inner.size_bytes)
        config = document["config"]
        size = config["size"] + sum(layer["size"] for layer in document["layers"])
        return Manifest(digest, config["digest"], size)

    def labels(self, repository: str, manifest: Manifest) -> dict[str, str]:
        """Return the labels of an image, from its config blob."""
        document = self._document(self._ask("GET", f"/v2/{repository}/blobs/{manifest.config_digest}"))
        labels: dict[str, str] = document.get("config", {}).get("Labels") or {}
        return labels

    def delete(self, repository: str, digest: str) -> None:
        """Delete a manifest with all its tags; fine when it isn't there. Its layers go with a garbage collection."""
        response = self._ask("DELETE", f"/v2/{repository}/manifests/{digest}", absent=True, refused=True)
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            raise RegistryError(
                f"{self.address}: the registry does not allow deletes: set REGISTRY_STORAGE_DELETE_ENABLED=true there"
            )

    def _pages(self, path: str, key: str) -> Iterator[str]:
        """Yield the items of a listing, following its Link headers; they may name only the registry itself."""
        url: httpx.URL | None = httpx.URL(path, params={"n": PAGE})
        while url is not None:
            response = self._ask("GET", str(url), absent=True)
            if not response.is_success:
                return
            yield from self._document(response).get(key) or ()
            following = response.links.get("next", {}).get("url")
            url = httpx.URL(path).join(following) if following else None
            if url is not None:
                url = httpx.URL(url.raw_path.decode())

    def _ask(
        self, method: str, url: str, *, accept: tuple[str, ...] = (), absent: bool = False, refused: bool = False
    ) -> httpx.Response:
        """Send one request, again while the registry is unreachable or busy. `absent`: 404, `refused`: 405 is fine."""
        headers = {"Accept": ", ".join(accept)} if accept else {}
        trying = Retrying(
            retry=retry_if_exception(_passes),
            stop=stop_after_attempt(self._attempts),
            wait=wait_exponential(multiplier=0.2, max=3),
            reraise=True,
        )
        try:
            response: httpx.Response = trying(self._send, method, url, headers)
        except _Busy as error:
            response = error.response
        except httpx.RequestError as error:
            raise RegistryError(self._unreachable(error)) from None
        allowed = {int(HTTPStatus.NOT_FOUND): absent, int(HTTPStatus.METHOD_NOT_ALLOWED): refused}
        if response.is_success or allowed.get(response.status_code):
            return response
        raise RegistryError(self._refusal(response, f"{method} {url}"))

    def _send(self, method: str, url: str, headers: dict[str, str]) -> httpx.Response:
        response = self._client.request(method, url, headers=headers)
        if response.status_code in _BUSY:
            raise _Busy(response)
        return response

    def _document(self, response: httpx.Response) -> dict[str, Any]:
        try:
            document = response.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise RegistryError(f"{self.address}: what answers there is not a registry: check registry.address")
        return document

    def _unreachable(self, error: httpx.RequestError) -> str:
        if _has_bad_certificate(error):
            return (
                f"{self.address}: the registry's certificate is not from this cluster's CA or not for this address: "
                "is it our registry? `inv registry.start` renews it"
            )
        if isinstance(error, httpx.TimeoutException):
            reason = f"it does not answer within {self._timeout_seconds:g} s"
        else:
            reason = str(error) or type(error).__name__
        return f"{self.address}: no registry can be reached there ({reason}): start it with `inv registry.start`"

    def _refusal(self, response: httpx.Response, what: str) -> str:
        if response.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return (
                f"{self.address}: the registry refused user {self.user} or the password: "
                "compare registry.user and registry.password with the registry's"
            )
        return f"{self.address}: the registry answered {what} with {response.status_code} {response.reason_phrase}"


class _Busy(Exception):
    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def _passes(error: BaseException) -> bool:
    """Return whether it may pass by itself: a busy registry, or no connection; never a bad certificate."""
    if isinstance(error, _Busy):
        return True
    return isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)) and not _has_bad_certificate(error)


def _has_bad_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _first_image(index: dict[str, Any]) -> str:
    entries = index["manifests"]
    images = [entry for entry in entries if (entry.get("platform") or {}).get("architecture") != "unknown"]
    return str((images or entries)[0]["digest"])


def _is_near(address: str) -> bool:
    """Return whether the address is a private one, which no proxy of the environment leads to."""
    host = address.rpartition(":")[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False
