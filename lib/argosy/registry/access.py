"""Reading a cluster's registry: which versions it has, which is the newest, what a release pins."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from argosy import pki
from argosy.config import Settings
from argosy.engine_images import CONTENT_LABEL, RELEASE_LABEL, parse_pins
from argosy.errors import ConfigError, Refused, RegistryError
from argosy.model import Image
from argosy.operations import secret_sources
from argosy.registry import ATTEMPTS, Registry
from argosy.versions import INSTALLER, Stored, Version, parse_version


def required_address(settings: Settings) -> str:
    """Return registry.address. Raises ConfigError when there is none."""
    if not settings.registry.address:
        raise ConfigError(
            "no registry is set: give HOST:PORT as the machines reach it, such as 10.0.0.5:5000", "registry.address"
        )
    return settings.registry.address


def password(settings: Settings) -> str:
    """Return the registry's password; one line break at its end isn't part of it. Makes nothing.

    Raises RegistryError when it is ours to make and `registry.start` hasn't made it yet.
    """
    source = secret_sources.registry_password_source(settings)
    if secret_sources.will_be_made(source):
        raise RegistryError(
            f"{settings.registry.address}: there is no password for the registry yet: `inv registry.start` makes it, "
            f"or write that of a registry which runs already into {source.path}"
        )
    try:
        return secret_sources.read(settings, source).reveal().removesuffix(b"\n").decode()
    except UnicodeDecodeError:
        raise ConfigError("the password isn't UTF-8 text", "registry.password") from None


@contextmanager
def opened(settings: Settings, attempts: int = ATTEMPTS) -> Iterator[Registry]:
    """Yield a client of the cluster's registry. Raises ConfigError when none is configured."""
    with Registry(
        required_address(settings),
        settings.registry.user,
        password(settings),
        ca=pki.authority_path(settings.secrets_path),
        timeout_seconds=settings.registry.timeout_seconds,
        attempts=attempts,
    ) as registry:
        yield registry


def repository(settings: Settings, name: str) -> str:
    """Return the repository of image `name`, in any registry and on any engine."""
    return f"{settings.system}/{name}"


def versions_in(registry: Registry, settings: Settings, name: str) -> list[Version]:
    """Return the versions of image `name` in the registry, oldest first; tags that aren't versions are left out."""
    tags = registry.tags(repository(settings, name))
    return sorted(version for version in map(parse_version, tags) if version)


def read_version(registry: Registry, settings: Settings, name: str, version: Version) -> Stored | None:
    """Return one version as the registry has it, with the labels of its image; nothing when it has just gone."""
    where = repository(settings, name)
    manifest = registry.manifest(where, str(version))
    if manifest is None:
        return None
    labels = registry.labels(where, manifest)
    return Stored(
        name=name,
        version=version,
        digest=manifest.digest,
        content=labels.get(CONTENT_LABEL, ""),
        size_bytes=manifest.size_bytes,
        pins=parse_pins(labels.get(RELEASE_LABEL, ""), settings.system),
    )


def newest_in(registry: Registry, settings: Settings, names: Collection[str]) -> dict[str, Stored]:
    """Return the newest version of each of `names` that the registry has, by name."""
    newest: dict[str, Stored] = {}
    for name in names:
        versions = versions_in(registry, settings, name)
        found = read_version(registry, settings, name, versions[-1]) if versions else None
        if found:
            newest[name] = found
    return newest


def everything_in(registry: Registry, settings: Settings) -> list[Stored]:
    """Return every version of every image of the system in the registry."""
    prefix = repository(settings, "")
    names = [where.removeprefix(prefix) for where in registry.repositories(prefix)]
    found = [
        read_version(registry, settings, name, version)
        for name in names
        for version in versions_in(registry, settings, name)
    ]
    return [stored for stored in found if stored]


def as_image(settings: Settings, stored: Stored) -> Image:
    return Image(stored.name, repository(settings, stored.name), str(stored.version), stored.digest)


def pushed_names(settings: Settings) -> list[str]:
    """Return the images that machines need: what goes to the registry, the installer last."""
    return [*(name for name, image in settings.images.items() if image.push and name != INSTALLER), INSTALLER]


def current_images(settings: Settings) -> dict[str, Image]:
    """Return the newest version in the registry of each image that machines need, by name; those it has."""
    with opened(settings) as registry:
        newest = newest_in(registry, settings, pushed_names(settings))
    return {name: as_image(settings, stored) for name, stored in newest.items()}


def current_release(settings: Settings, version: str = "") -> Image:
    """Return the installer image of release `version`, or the newest one, as the registry has it.

    Raises Refused when it isn't there.
    """
    with opened(settings) as registry:
        wanted = parse_version(version) if version else None
        if version and wanted is None:
            raise ConfigError(f"{version!r} is not a version, such as 0.1.3", "release")
        candidates = [wanted] if wanted else versions_in(registry, settings, INSTALLER)[-1:]
        found = read_version(registry, settings, INSTALLER, candidates[0]) if candidates else None
    if found is None:
        missing = f"release {version}" if version else "a release"
        raise Refused(f"{settings.registry.address}: the registry does not have {missing}: inv build.all registry.push")
    return as_image(settings, found)


def pinned_images(settings: Settings, version: str) -> tuple[Image, ...]:
    """Return the images that release `version` pins. Raises Refused when the registry does not have it."""
    wanted = parse_version(version)
    with opened(settings) as registry:
        found = read_version(registry, settings, INSTALLER, wanted) if wanted else None
    if found is None:
        raise Refused(f"{settings.registry.address}: the registry does not have release {version}")
    return found.pins
