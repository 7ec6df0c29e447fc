"""The files of a release, read out of its image in the registry: no engine has to pull it."""

from __future__ import annotations

import tarfile
import tempfile
from typing import IO

from argosy.builds.installer import RELEASE_FOLDER
from argosy.config.loading import Settings
from argosy.errors import RegistryError
from argosy.images.versions import Stored
from argosy.model import Image
from argosy.registry import access
from argosy.registry.client import Registry
from argosy.releases.differences import Content, by_name

DOCUMENT = f"{RELEASE_FOLDER}/release.json"


def read(settings: Settings, stored: Stored) -> Content:
    """Return what is in a release that the cluster's registry has. Raises RegistryError when it holds none."""
    image = access.as_image(settings, stored)
    with access.opened(settings) as registry:
        files = _files(registry, image)
    return Content(f"{stored.cluster or settings.cluster} {stored.version}", by_name(stored.pins), files)


def _files(registry: Registry, image: Image) -> dict[str, bytes]:
    """Return the files below /release. The build brings them all in one layer, and it is one of the last."""
    manifest = registry.manifest(image.repository, image.digest)
    for layer in reversed(manifest.layers if manifest else []):
        with tempfile.TemporaryFile() as content:
            registry.download(image.repository, layer.digest, content)
            content.seek(0)
            files = _in_layer(content)
        if DOCUMENT in files:
            return {path.removeprefix(f"{RELEASE_FOLDER}/"): text for path, text in files.items()}
    raise RegistryError(f"{registry.address}/{image.repository}:{image.version}: it holds no release")


def _in_layer(content: IO[bytes]) -> dict[str, bytes]:
    files = {}
    with tarfile.open(fileobj=content) as archive:
        for member in archive:
            path = member.name.removeprefix("./")
            if member.isfile() and path.startswith(f"{RELEASE_FOLDER}/"):
                stream = archive.extractfile(member)
                files[path] = stream.read() if stream else b""
    return files
