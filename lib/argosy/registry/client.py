"""A client of a Docker registry: what it has, by which digest, and taking it away.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md. The engine pushes what it has; all else is here:
tags page by page, digests by HEAD, a version's labels from its config blob, copies between registries. Bytes that have
another digest than they should are an error.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import httpx

from argosy.clock import retry
from argosy.config.references import split_address
from argosy.engine.connection import causes
from argosy.errors import RegistryError
from argosy.registry.auth import BUSY, RegistryAuth, TokenRefused, asked_to_wait
from argosy.registry.manifests import (
    MANIFEST_TYPES,
    Config,
    Manifest,
    is_digest,
    parse_config,
    parse_manifest,
)

T = TypeVar("T")

PAGE = 100
ATTEMPTS = 4
LONGEST_WAIT_SECONDS = 60
"""How long a busy registry may ask to be left alone; one that asks for more is given up at once."""
CHUNK_BYTES = 1024 * 1024
AS_IT_IS = {"Accept-Encoding": "identity"}
DIGEST = "docker-content-digest"
NO_CATALOG = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.NOT_IMPLEMENTED,
)
"""How registries of many users answer about all their repositories: the listing is no part of the OCI spec."""
NO_DELETES = (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
_API_VERSION = "docker-distribution-api-version"


class _Body:
    """A file as the body of a request, from its first byte again when the request is sent again."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self.size = content.seek(0, os.SEEK_END)

    def __iter__(self) -> Iterator[bytes]:
        self._content.seek(0)
        return iter(lambda: self._content.read(CHUNK_BYTES), b"")


class Registry:
    """One registry at `address` (HOST or HOST:PORT), over TLS.

    `ca`: a certificate to trust beside the system's. `attempts`: how often a request is tried while the registry can't
    be reached or is busy (429, 5xx), with the pauses that it asks for. Every method raises RegistryError, in one line:
    also when "not found" is not the word of a registry, but of what stands before it.
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

    def repositories(self, prefix: str = "") -> list[str] | None:
        """Return the repositories whose name begins with `prefix`, those without a tag too; None where the registry
        lists none for this user."""
        try:
            names = self._listing("/v2/_catalog", "repositories", fine=NO_CATALOG)
        except TokenRefused:
            return None
        return None if names is None else sorted(name for name in names if name.startswith(prefix))

    def tags(self, repository: str) -> list[str]:
        """Return the tags of `repository`; none when it isn't there."""
        return self._listing(f"/v2/{repository}/tags/list", "tags", absent=True) or []

    def digest(self, repository: str, reference: str) -> str:
        """Return the digest of the manifest that a tag (or digest) names, or nothing when there is none."""
        url = f"/v2/{repository}/manifests/{reference}"
        response = self._ask("HEAD", url, accept=MANIFEST_TYPES, absent=True)
        if not response.is_success:
            return ""
        told = response.headers.get(DIGEST, "")
        if is_digest(told):
            return str(told)
        found = self.manifest(repository, reference)
        return found.digest if found else ""

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """Return what a tag (or digest) names, byte for byte; nothing when it isn't there."""
        url = f"/v2/{repository}/manifests/{reference}"
        response = self._ask("GET", url, accept=MANIFEST_TYPES, absent=True)
        if not response.is_success:
            return None
        kind = response.headers.get("content-type", "").partition(";")[0].strip()
        told = response.headers.get(DIGEST, "")
        return self._parsed(
            _named(repository, reference), lambda: parse_manifest(response.content, kind, reference, told)
        )

    def image(self, repository: str, reference: str) -> Manifest | None:
        """Return the manifest of an image that a tag (or digest) names, if it is there; of an index, its first image
        for a real platform, with the digest of the index."""
        found = self.manifest(repository, reference)
        if found is None or found.config:
            return found
        where = f"{self.address}: {_named(repository, reference)}"
        first = found.first_image
        if first is None:
            raise RegistryError(f"{where} is an index that names no image")
        inner = self.manifest(repository, first.digest)
        if inner is None:
            raise RegistryError(f"{where} is an index, and the registry does not have its image {first.digest}")
        if inner.config is None:
            raise RegistryError(f"{where} is an index of an index, and no image")
        return replace(inner, digest=found.digest)

    def config(self, repository: str, image: Manifest) -> Config:
        """Return what an image says of itself; `image`: as `image` returns it."""
        digest = image.blobs[0].digest
        response = self._ask("GET", f"/v2/{repository}/blobs/{digest}")
        return self._parsed(_named(repository, digest), lambda: parse_config(response.content, digest))

    def delete(self, repository: str, digest: str) -> None:
        """Delete a manifest with all its tags; fine when it isn't there. Its layers go with a garbage collection."""
        response = self._ask("DELETE", f"/v2/{repository}/manifests/{digest}", absent=True, fine=NO_DELETES)
        if response.status_code in NO_DELETES:
            raise RegistryError(
                f"{self.address}: the registry does not allow deletes: set REGISTRY_STORAGE_DELETE_ENABLED=true there, "
                "or delete by its own means"
            )

    # Copies

    def put_manifest(self, repository: str, reference: str, manifest: Manifest) -> None:
        """Put a manifest whose blobs are there, under a tag or its digest."""
        headers = {"Content-Type": manifest.kind}
        self._ask("PUT", f"/v2/{repository}/manifests/{reference}", headers=headers, content=manifest.content)

    def has_blob(self, repository: str, digest: str) -> bool:
        return self._ask("HEAD", f"/v2/{repository}/blobs/{digest}", absent=True).is_success

    def mount_blob(self, repository: str, digest: str, source: str) -> bool:
        """Let `repository` have a blob of the repository `source`, without a copy. Returns whether the registry did: it
        may not let this user, and nothing is wrong then."""
        query = httpx.QueryParams({"mount": digest, "from": source})
        refusals = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        response = self._ask("POST", f"/v2/{repository}/blobs/uploads/?{query}", fine=refusals)
        return response.status_code == HTTPStatus.CREATED

    def download(self, repository: str, digest: str, into: IO[bytes]) -> None:
        """Write a blob into a file. Raises RegistryError when its bytes are not those of the digest."""
        self._again(lambda: self._download(f"/v2/{repository}/blobs/{digest}", repository, digest, into))

    def _download(self, url: str, repository: str, digest: str, into: IO[bytes]) -> None:
        found = hashlib.new(digest.partition(":")[0])
        into.seek(0)
        into.truncate()
        with self._client.stream("GET", url, headers=AS_IT_IS) as response:
            if not response.is_success:
                response.read()
                raise self._refused(response, f"GET {url}")
            for chunk in response.iter_raw():
                found.update(chunk)
                into.write(chunk)
        if digest.partition(":")[2] != found.hexdigest():
            raise RegistryError(f"{self.address}: {_named(repository, digest)} has other bytes than its digest says")

    def upload(self, repository: str, digest: str, content: IO[bytes]) -> None:
        """Upload a blob from a file, all of it."""
        self._again(lambda: self._upload(f"/v2/{repository}/blobs/uploads/", digest, _Body(content)))

    def _upload(self, begin: str, digest: str, body: _Body) -> None:
        begun = self._client.post(begin)
        if not begun.is_success or "location" not in begun.headers:
            raise self._refused(begun, f"POST {begin}")
        location = begun.request.url.join(begun.headers["location"])
        url = location.copy_merge_params({"digest": digest}).raw_path.decode()
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(body.size)}
        response = self._client.put(url, headers=headers, content=body)
        if not response.is_success:
            raise self._refused(response, f"PUT {begin}")

    # How it is asked

    def _listing(self, path: str, key: str, *, absent: bool = False, fine: Collection[int] = ()) -> list[str] | None:
        """Return the items of a listing, page by page; the Link headers may name only the registry itself.

        `absent`, `fine`: as of `_ask`; then there is none. A page that is missing later is an error: the rest isn't
        known.
        """
        response = self._ask("GET", str(httpx.URL(path, params={"n": PAGE})), absent=absent, fine=fine)
        if not response.is_success:
            return None
        found, asked = self._items(response, key), set()
        while following := response.links.get("next", {}).get("url"):
            url = self._again(partial(httpx.URL(path).join, following)).raw_path.decode()
            if url in asked:
                raise RegistryError(f"{self.address}: the registry's listing {path} leads in a circle")
            asked.add(url)
            response = self._ask("GET", url)
            found += self._items(response, key)
        return found

    def _ask(
        self,
        method: str,
        url: str,
        *,
        accept: tuple[str, ...] = (),
        absent: bool = False,
        fine: Collection[int] = (),
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
    ) -> httpx.Response:
        """Send one request, again while the registry is unreachable or busy. `absent`: 404 as the word of a registry is
        fine; `fine`: so are these statuses."""
        sent = {**(headers or {}), **({"Accept": ", ".join(accept)} if accept else {})}

        def send() -> httpx.Response:
            response = self._client.request(method, url, headers=sent, content=content)
            if response.status_code in BUSY:
                raise self._refused(response, f"{method} {url}")
            return response

        response = self._again(send)
        if response.is_success or response.status_code in fine:
            return response
        if response.status_code == HTTPStatus.NOT_FOUND and absent:
            if _is_word_of_registry(response):
                return response
            if method == "HEAD":
                return self._ask("GET", url, accept=accept, absent=True)
            raise RegistryError(
                f"{self.address}: {method} {url} is answered with 404, and not by a registry: check registry.address "
                "and what stands before it"
            )
        raise self._refused(response, f"{method} {url}")

    def _again(self, act: Callable[[], T]) -> T:
        """Do it, again while the registry is unreachable or busy. Raises RegistryError alone."""
        try:
            return retry(self._attempts, act, _passes, longest_seconds=3, asked=_asked)
        except httpx.InvalidURL as error:
            raise RegistryError(f"{self.address}: the registry leads to what is no address ({error})") from None
        except httpx.RequestError as error:
            raise RegistryError(self._unreachable(error)) from None

    def _parsed(self, what: str, parse: Callable[[], T]) -> T:
        try:
            return parse()
        except ValueError as error:
            raise RegistryError(f"{self.address}: {what} {error}") from None

    def _document(self, response: httpx.Response) -> dict[str, Any]:
        try:
            document = response.json()
        except (ValueError, RecursionError):
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
        if not all(isinstance(item, str) for item in items or ()):
            raise RegistryError(self._no_registry())
        return items or []

    def _no_registry(self) -> str:
        return f"{self.address}: what answers there is not a registry: check registry.address"

    def _unreachable(self, error: httpx.RequestError) -> str:
        if isinstance(error, httpx.DecodingError | httpx.TooManyRedirects | httpx.UnsupportedProtocol):
            return f"{self._no_registry()} ({error})"
        asked = error.request.url
        if asked.netloc != self._client.base_url.netloc:
            said = str(error) or type(error).__name__
            return (
                f"{self.address}: the registry leads to {asked.netloc.decode()}, for a token or a blob, "
                f"and that can't be reached ({said})"
            )
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

    def _refused(self, response: httpx.Response, what: str) -> RegistryError:
        """Return the error for an answer that is none of those that were hoped for."""
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            return RegistryError(
                f"{self.address}: the registry refused user {self.user} or the password: "
                "compare registry.user and registry.password with the registry's, and its rights there"
            )
        if response.status_code == HTTPStatus.FORBIDDEN:
            return RegistryError(
                f"{self.address}: the registry does not let user {self.user} {what}: give it the right to, or take "
                "another registry.user"
            )
        wait = asked_to_wait(response)
        later = f", to be asked again in {wait:.0f} s" if wait else ""
        return RegistryError(
            f"{self.address}: the registry answered {what} with {response.status_code} {response.reason_phrase}{later}",
            passes=response.status_code in BUSY,
            wait_seconds=wait,
        )


def _named(repository: str, reference: str) -> str:
    return f"{repository}{'@' if ':' in reference else ':'}{reference}"


def _asked(error: BaseException) -> float:
    return error.wait_seconds if isinstance(error, RegistryError) else 0


def _passes(error: BaseException) -> bool:
    """Return whether it may pass by itself: a busy registry, or no connection; never a bad certificate."""
    if isinstance(error, RegistryError):
        return error.passes and error.wait_seconds <= LONGEST_WAIT_SECONDS
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
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and isinstance(document.get("errors"), list)


def _is_near(address: str) -> bool:
    """Return whether the address is a private one, which no proxy of the environment leads to."""
    host = split_address(address)[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False
