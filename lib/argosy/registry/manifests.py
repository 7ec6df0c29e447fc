"""Pure. What a registry's documents say: the manifest of an image, an index of several, an image's config.

https://github.com/opencontainers/image-spec: manifest.md, image-index.md, config.md, descriptor.md. What is read comes
from elsewhere: ValueError says what is wrong with it, in words that follow its name. `null` is an empty list of Go's.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    *INDEX_TYPES,
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


class Malformed(ValueError):
    """It is not what it should be."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest names. `runs`: there is a machine for it; attestations, which lie beside images, have none."""

    digest: str
    size: int
    runs: bool = True


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest byte for byte. `kind`: its media type; `manifests`: of an index, whose `config` is None."""

    digest: str
    content: bytes
    kind: str
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The config and the layers, the lowest first."""
        return (self.config, *self.layers) if self.config else self.layers

    @property
    def size_bytes(self) -> int:
        """Of the config and all layers, compressed."""
        return sum(blob.size for blob in self.blobs)

    @property
    def first_image(self) -> Descriptor | None:
        """Of an index, the first image that a machine runs; None when it has no image at all."""
        return next((entry for entry in self.manifests if entry.runs), next(iter(self.manifests), None))


@dataclass(frozen=True, slots=True)
class Config:
    """What an image says of itself, in its config blob. `created`: as RFC 3339."""

    labels: Mapping[str, str]
    created: str


def is_digest(text: str) -> bool:
    """Return whether it is a digest that can be checked: sha256 or sha512, those that the image spec registers."""
    return bool(_DIGEST.fullmatch(text))


def digest_of(content: bytes, like: str = "sha256:") -> str:
    """Return the digest of bytes, by the same algorithm as the digest `like`."""
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def parse_manifest(content: bytes, kind: str, reference: str, told: str = "") -> Manifest:
    """Return the manifest that came for a tag or digest. `kind`: its Content-Type; `told`: what the registry says its
    digest is. Raises ValueError when the bytes have another digest than they were asked for by, or than was told."""
    digest = digest_of(content)
    for named in (reference, told):
        if is_digest(named):
            digest = named
            if digest_of(content, named) != named:
                raise Malformed("has other bytes than its digest says")
    document = _object(content, "is no manifest")
    if document.get("schemaVersion") == 1:
        raise Malformed("is no image's manifest of today, but of schema 1: push it again")
    kind = kind or str(document.get("mediaType") or "")
    if "manifests" in document or kind in INDEX_TYPES:
        return Manifest(digest, content, kind or INDEX_TYPES[0], manifests=_descriptors(document, "manifests"))
    if "config" not in document:
        raise Malformed("is no image's manifest")
    config = _descriptor(document["config"])
    return Manifest(digest, content, kind or MANIFEST_TYPES[0], config, _descriptors(document, "layers"))


def parse_config(content: bytes, digest: str) -> Config:
    """Return what the config blob `digest` says. Raises ValueError, also when its bytes are not those of the digest."""
    if digest_of(content, digest) != digest:
        raise Malformed("has other bytes than its digest says")
    document = _object(content, "is no image's config")
    config = document.get("config") or {}
    labels = (config.get("Labels") if isinstance(config, dict) else None) or {}
    if not isinstance(labels, dict):
        raise Malformed("is no image's config: its labels are no object")
    created = document.get("created")
    return Config({str(key): str(value) for key, value in labels.items()}, created if isinstance(created, str) else "")


def _descriptors(document: Mapping[str, Any], key: str) -> tuple[Descriptor, ...]:
    entries = document.get(key)
    if not isinstance(entries, list | None):
        raise Malformed(f"is no image's manifest: its {key} are no list")
    return tuple(map(_descriptor, entries or ()))


def _descriptor(entry: object) -> Descriptor:
    if not isinstance(entry, dict):
        raise Malformed("is no image's manifest: it names something without a digest")
    digest, size = str(entry.get("digest")), entry.get("size", 0)
    if not is_digest(digest):
        raise Malformed(f"is no image's manifest: it names something by {digest[:80]!r}, which is no digest")
    if type(size) is not int or size < 0:
        raise Malformed(f"is no image's manifest: {digest} has the size {str(size)[:80]!r}")
    platform = entry.get("platform")
    return Descriptor(digest, size, not (isinstance(platform, dict) and platform.get("architecture") == "unknown"))


def _object(content: bytes, otherwise: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Malformed(otherwise)
    return document
