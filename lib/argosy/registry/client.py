"""A client of a Docker registry: what it has, by which digest, and taking it away.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md. The engine pushes what it has; all else is here:
tags page by page, digests by HEAD, a version's labels from its config blob, copies between registries.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Self

import httpx

from argosy.clock import retry
from argosy.engine.connection import causes
from argosy.errors import RegistryError
from argosy.registry.auth import BUSY, RegistryAuth

PAGE = 100
ATTEMPTS = 4
CHUNK_BYTES = 1024 * 1024
AS_IT_IS = {"Accept-Encoding": "identity"}
_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    *_INDEX_TYPES,
)
DIGEST = "docker-content-digest"
_API_VERSION = "docker-distribution-api-version"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest: its own digest, its config blob's, and the bytes of all its layers, compressed."""

    digest: str
    config_digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RawManifest:
    """A manifest byte for byte. `kind`: its media type."""

    content: bytes
    kind: str

    @property
    def manifests(self) -> list[str]:
        """The digests of the manifests that an index names."""
        return [str(entry["digest"]) for entry in json.loads(self.content).get("manifests", ())]

    @property
    def layers(self) -> list[str]:
        """The digests of the layers, the lowest first."""
        return [str(layer["digest"]) for layer in json.loads(self.content).get("layers", ())]

    @property
    def blobs(self) -> list[str]:
        """The digests of the config and the layers."""
        config = json.loads(self.content).get("config")
        return [*([str(config["digest"])] if config else []), *self.layers]


@dataclass(frozen=True, slots=True)
class Config:
    """What an image says of itself, in its config blob. `created`: as RFC 3339."""

    labels: Mapping[str, str]
    created: str


class Registry:
    """One registry at `address` (HOST:PORT), over TLS.

    `ca`: a certificate to trust beside the system's. `attempts`: how often a request is tried while the registry can't
    be reached or is busy (429, 5xx). Every method raises RegistryError, in one line: also when "not found" is not the
    word of a registry, but of what stands before it.
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

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def check(self) -> None:
        """Raise RegistryError unless the registry answers and takes our password."""
        self._ask("GET", "/v2/")

    def repositories(self, prefix: str = "") -> list[str]:
        """Return the repositories whose name begins with `prefix`, those without a tag too."""
        names = self._pages("/v2/_catalog", "repositories", absent=False)
        return sorted(name for name in names if name.startswith(prefix))

    def tags(self, repository: str) -> list[str]:
        """Return the tags of `repository`; none when it isn't there."""
        return list(self._pages(f"/v2/{repository}/tags/list", "tags", absent=True))

    def digest(self, repository: str, reference: str) -> str:
        """Return the digest of the manifest that a tag (or digest) names, or nothing when there is none."""
        url = f"/v2/{repository}/manifests/{reference}"
        response = self._ask("HEAD", url, accept=_MANIFEST_TYPES, absent=True)
        if response.is_success and DIGEST not in response.headers:
            response = self._ask("GET", url, accept=_MANIFEST_TYPES, absent=True)
        return _digest(response) if response.is_success else ""

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """Return what a tag (or digest) names, if it is there; of an index, its first image for a real platform."""
        response = self._ask("GET", f"/v2/{repository}/manifests/{reference}", accept=_MANIFEST_TYPES, absent=True)
        if not response.is_success:
            return None
        document = self._document(response)
        where = f"{self.address}: {repository}:{reference}"
        if "manifests" in document:
            first = _first_image(document)
            inner = self.manifest(repository, first)
            if inner is None:
                raise RegistryError(f"{where} is an index, and the registry does not have its image {first}")
            return Manifest(_digest(response), inner.config_digest, inner.size_bytes)
        try:
            config = document["config"]
            size = config["size"] + sum(layer["size"] for layer in document["layers"])
            return Manifest(_digest(response), config["digest"], size)
        except (KeyError, TypeError):
            raise RegistryError(f"{where} is no image's manifest") from None

    def config(self, repository: str, manifest: Manifest) -> Config:
        """Return what an image says of itself."""
        document = self._document(self._ask("GET", f"/v2/{repository}/blobs/{manifest.config_digest}"))
        return Config(document.get("config", {}).get("Labels") or {}, document.get("created") or "")

    def delete(self, repository: str, digest: str) -> None:
        """Delete a manifest with all its tags; fine when it isn't there. Its layers go with a garbage collection."""
        response = self._ask("DELETE", f"/v2/{repository}/manifests/{digest}", absent=True, refused=True)
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            raise RegistryError(
                f"{self.address}: the registry does not allow deletes: set REGISTRY_STORAGE_DELETE_ENABLED=true there"
            )

    # Copies

    def raw_manifest(self, repository: str, reference: str) -> RawManifest | None:
        """Return what a tag (or digest) names, as it is; nothing when it isn't there."""
        response = self._ask("GET", f"/v2/{repository}/manifests/{reference}", accept=_MANIFEST_TYPES, absent=True)
        return RawManifest(response.content, response.headers["content-type"]) if response.is_success else None

    def put_manifest(self, repository: str, reference: str, manifest: RawManifest) -> None:
        """Put a manifest whose blobs are there, under a tag or its digest."""
        headers = {"Content-Type": manifest.kind}
        self._ask("PUT", f"/v2/{repository}/manifests/{reference}", headers=headers, content=manifest.content)

    def has_blob(self, repository: str, digest: str) -> bool:
        return self._ask("HEAD", f"/v2/{repository}/blobs/{digest}", absent=True).is_success

    def mount_blob(self, repository: str, digest: str, source: str) -> bool:
        """Let `repository` have a blob of the repository `source`, without a copy. Returns whether the registry did."""
        query = httpx.QueryParams({"mount": digest, "from": source})
        response = self._ask("POST", f"/v2/{repository}/blobs/uploads/?{query}")
        return response.status_code == HTTPStatus.CREATED

    def download(self, repository: str, digest: str, into: IO[bytes]) -> None:
        """Write a blob into a file. Raises RegistryError when its bytes are not those of the digest."""
        found = hashlib.sha256()
        try:
            with self._client.stream("GET", f"/v2/{repository}/blobs/{digest}", headers=AS_IT_IS) as response:
                if not response.is_success:
                    raise RegistryError(self._refusal(response, f"GET /v2/{repository}/blobs/{digest}"))
                for chunk in response.iter_raw():
                    found.update(chunk)
                    into.write(chunk)
        except httpx.RequestError as error:
            raise RegistryError(self._unreachable(error)) from None
        if digest != f"sha256:{found.hexdigest()}":
            raise RegistryError(
                f"{self.address}: the blob {digest} of {repository} has other bytes than its digest says"
            )

    def upload(self, repository: str, digest: str, content: IO[bytes]) -> None:
        """Upload a blob from a file, all of it."""
        location = httpx.URL(self._ask("POST", f"/v2/{repository}/blobs/uploads/").headers["location"])
        size = content.seek(0, os.SEEK_END)
        content.seek(0)
        url = location.copy_merge_params({"digest": digest}).raw_path.decode()
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        chunks = iter(lambda: content.read(CHUNK_BYTES), b"")
        try:
            response = self._client.request("PUT", url, headers=headers, content=chunks)
        except httpx.RequestError as error:
            raise RegistryError(self._unreachable(error)) from None
        if not response.is_success:
            raise RegistryError(self._refusal(response, f"PUT /v2/{repository}/blobs/uploads/"))

    # How it is asked

    def _pages(self, path: str, key: str, *, absent: bool) -> Iterator[str]:
        """Yield the items of a listing, following its Link headers; they may name only the registry itself.

        `absent`: there may be no such listing. A page that is missing later is an error: the rest isn't known.
        """
        url: httpx.URL | None = httpx.URL(path, params={"n": PAGE})
        while url is not None:
            response = self._ask("GET", str(url), absent=absent)
            if not response.is_success:
                return
            absent = False
            yield from self._items(response, key)
            following = response.links.get("next", {}).get("url")
            url = httpx.URL(path).join(following) if following else None
            if url is not None:
                url = httpx.URL(url.raw_path.decode())

    def _ask(
        self,
        method: str,
        url: str,
        *,
        accept: tuple[str, ...] = (),
        absent: bool = False,
        refused: bool = False,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
    ) -> httpx.Response:
        """Send one request, again while the registry is unreachable or busy. `absent`: 404, `refused`: 405 is fine."""
        sent = {**(headers or {}), **({"Accept": ", ".join(accept)} if accept else {})}
        try:
            response = retry(self._attempts, lambda: self._send(method, url, sent, content), _passes, longest_seconds=3)
        except _Busy as error:
            response = error.response
        except httpx.RequestError as error:
            raise RegistryError(self._unreachable(error)) from None
        allowed = {int(HTTPStatus.NOT_FOUND): absent, int(HTTPStatus.METHOD_NOT_ALLOWED): refused}
        if response.status_code == HTTPStatus.NOT_FOUND and absent and not _is_word_of_registry(response):
            if method == "HEAD":
                return self._ask("GET", url, accept=accept, absent=True)
            raise RegistryError(
                f"{self.address}: {method} {url} is answered with 404, and not by a registry: check registry.address "
                "and what stands before it"
            )
        if response.is_success or allowed.get(response.status_code):
            return response
        raise RegistryError(self._refusal(response, f"{method} {url}"))

    def _send(self, method: str, url: str, headers: Mapping[str, str], content: bytes) -> httpx.Response:
        response = self._client.request(method, url, headers=headers, content=content)
        if response.status_code in BUSY:
            raise _Busy(response)
        return response

    def _document(self, response: httpx.Response) -> dict[str, Any]:
        try:
            document = response.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise RegistryError(self._no_registry())
        return document

    def _items(self, response: httpx.Response, key: str) -> list[str]:
        """Return the items of one page of a listing; some registries say null where there are none."""
        document = self._document(response)
        items = document.get(key)
        if key not in document or not isinstance(items, list | None):
            raise RegistryError(self._no_registry())
        return items or []

    def _no_registry(self) -> str:
        return f"{self.address}: what answers there is not a registry: check registry.address"

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
    if isinstance(error, RegistryError):
        return error.passes
    return isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)) and not _has_bad_certificate(error)


def _has_bad_certificate(error: BaseException) -> bool:
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes(error))


def _is_word_of_registry(response: httpx.Response) -> bool:
    """Return whether a refusal comes from a registry itself: by its header, or the form of its body.

    https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
    """
    if _API_VERSION in response.headers:
        return True
    try:
        document = response.json()
    except ValueError:
        return False
    return isinstance(document, dict) and isinstance(document.get("errors"), list)


def _digest(response: httpx.Response) -> str:
    """Return the digest of a manifest that came: as the registry says, else of its bytes."""
    return response.headers.get(DIGEST) or f"sha256:{hashlib.sha256(response.content).hexdigest()}"


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
