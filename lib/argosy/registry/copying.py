"""Copy images between repositories, byte for byte: the same digest afterwards, nothing built or compressed again."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

from argosy.errors import RegistryError
from argosy.registry.client import Registry
from argosy.registry.manifests import Manifest


@dataclass(frozen=True, slots=True)
class Repository:
    registry: Registry
    path: str

    def __str__(self) -> str:
        return f"{self.registry.address}/{self.path}"


def copy_image(source: Repository, target: Repository, digest: str, tag: str) -> None:
    """Copy the image with this digest, and give it `tag` there. Idempotent; a blob that is there already stays.

    Raises RegistryError; what was copied until then is not copied again.
    """
    manifest = _copy_manifest(source, target, digest)
    target.registry.put_manifest(target.path, tag, manifest)
    found = target.registry.digest(target.path, tag)
    if found != digest:
        raise RegistryError(f"{target}:{tag}: copied {digest}, and the registry has {found or 'nothing'} there")


def _copy_manifest(source: Repository, target: Repository, digest: str) -> Manifest:
    """Copy what the manifest names, and for an index its manifests, and return it."""
    manifest = source.registry.manifest(source.path, digest)
    if manifest is None:
        raise RegistryError(f"{source}@{digest}: the registry does not have it any more")
    for inner in manifest.manifests:
        target.registry.put_manifest(target.path, inner.digest, _copy_manifest(source, target, inner.digest))
    for blob in manifest.blobs:
        _copy_blob(source, target, blob.digest)
    return manifest


def _copy_blob(source: Repository, target: Repository, digest: str) -> None:
    if target.registry.has_blob(target.path, digest):
        return
    one = source.registry.address == target.registry.address
    if one and target.registry.mount_blob(target.path, digest, source.path):
        return
    with tempfile.TemporaryFile() as content:
        source.registry.download(source.path, digest, content)
        target.registry.upload(target.path, digest, content)
