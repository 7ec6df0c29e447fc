"""Reading a cluster's registry: which versions it has, which is the newest, what a release pins.

A release belongs to a cluster: its repository says so, and its labels. Where the labels name another cluster or system,
it is never the newest, and refused when it is named. One that names none, of before clusters were told apart, is found
when it is named, and never the newest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from argosy.config.loading import Settings
from argosy.config.references import parse_reference, place_of
from argosy.errors import ConfigError, Refused, RegistryError
from argosy.images.repositories import parse_repository, registry_prefix
from argosy.images.repositories import repository as repository_of
from argosy.images.store import described, foreign
from argosy.images.versions import INSTALLER, PinnedService, Stored, Version, parse_tag, parse_version
from argosy.model import Image
from argosy.pki import authority
from argosy.registry.client import ATTEMPTS, Registry
from argosy.report import Report
from argosy.secrets import sources
from argosy.secrets.logins import Login, further


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
    source = sources.registry_password_source(settings)
    if sources.will_be_made(source):
        raise RegistryError(
            f"{settings.registry.address}: there is no password for the registry yet: `inv registry.start` makes it, "
            f"or write that of a registry which runs already into {source.path}"
        )
    return sources.text(settings, source)


def own_login(settings: Settings) -> Login:
    """Return who we are in the cluster's registry. Raises as `password` does."""
    return Login(required_address(settings), settings.registry.user, password(settings))


def login_for(settings: Settings, reference: str) -> Login | None:
    """Return the login by which an image is pulled: the most specific one; None when none is for it."""
    address = settings.registry.address
    own = [address, f"{address}/{registry_prefix(settings)}"] if address else []
    place = place_of(parse_reference(reference), [*settings.registries, *own])
    if not place:
        return None
    return own_login(settings) if place in own else further(settings, place)


@contextmanager
def opened(settings: Settings, attempts: int = ATTEMPTS) -> Iterator[Registry]:
    """Yield a client of the cluster's registry. Raises ConfigError when none is configured."""
    with Registry(
        required_address(settings),
        settings.registry.user,
        password(settings),
        ca=authority.authority_path(settings.secrets_path),
        timeout_seconds=settings.registry.timeout_seconds,
        attempts=attempts,
    ) as registry:
        yield registry


def versions_in(registry: Registry, settings: Settings, name: str, cluster: str | None = None) -> list[Version]:
    """Return the versions of image `name` in the registry, oldest first; tags that aren't versions are left out.

    `cluster`: whose releases, of the installer; this one's when left out, `""` for those that name none.
    """
    tags = registry.tags(_where(settings, name, cluster))
    return sorted(version for version in map(parse_version, tags) if version)


def read_version(
    registry: Registry, settings: Settings, name: str, version: Version, cluster: str | None = None
) -> Stored | None:
    """Return one version as the registry has it, with the labels of its image; nothing when it has just gone."""
    return _read_tag(registry, settings, name, str(version), version, cluster)


def _read_tag(
    registry: Registry, settings: Settings, name: str, tag: str, version: Version, cluster: str | None
) -> Stored | None:
    where = _where(settings, name, cluster)
    manifest = registry.image(where, tag)
    if manifest is None:
        return None
    config = registry.config(where, manifest)
    place = name, _cluster(settings, name, cluster)
    prefix = registry_prefix(settings)
    stored = described(config.labels, prefix, place, version, manifest.digest, manifest.size_bytes)
    return replace(stored, foreign=foreign(config.labels, settings.system, *place), created=config.created)


def _where(settings: Settings, name: str, cluster: str | None) -> str:
    return repository_of(registry_prefix(settings), name, _cluster(settings, name, cluster))


def _cluster(settings: Settings, name: str, cluster: str | None) -> str:
    return (settings.cluster if cluster is None else cluster) if name == INSTALLER else ""


def newest_in(registry: Registry, settings: Settings, names: Collection[str]) -> dict[str, Stored]:
    """Return the newest version of each of `names` that the registry has, by name; of releases this cluster's."""
    newest: dict[str, Stored] = {}
    for name in names:
        for version in reversed(versions_in(registry, settings, name)):
            found = read_version(registry, settings, name, version)
            if found and not found.foreign:
                newest[name] = found
                break
    return newest


def counted_in(registry: Registry, settings: Settings, names: Collection[str]) -> list[Stored]:
    """Return what the next version of each of `names` has to be newer than."""
    places = [(name, None) for name in names] + [(name, "") for name in names if name == INSTALLER]
    newest = [(name, cluster, versions_in(registry, settings, name, cluster)[-1:]) for name, cluster in places]
    found = [
        read_version(registry, settings, name, version, cluster)
        for name, cluster, versions in newest
        for version in versions
    ]
    return [stored for stored in found if stored]


def everything_in(registry: Registry, settings: Settings, report: Report, clusters: Iterable[str] = ()) -> list[Stored]:
    """Return every version of every image of the system in the registry, and of the releases those of all clusters.

    A registry that lists no repositories, as those of many users do, is asked for those of the images of this
    configuration, and of the releases of its `clusters`; that is reported.
    """
    prefix = registry_prefix(settings)
    repositories = registry.repositories(f"{prefix}/")
    if repositories is None:
        every = sorted({settings.cluster, *clusters})
        report(
            "registry", f"it lists no repositories: looked for the images of here and releases of {', '.join(every)}"
        )
        repositories = [repository_of(prefix, name) for name in dict.fromkeys([*settings.images, INSTALLER])]
        repositories += [repository_of(prefix, INSTALLER, cluster) for cluster in every]
    places = [parse_repository(prefix, where) for where in repositories]
    found = [
        _read_tag(registry, settings, name, tag, version, cluster)
        for name, cluster in filter(None, places)
        for tag, version in sorted(_tags(registry.tags(_where(settings, name, cluster))))
    ]
    return [stored for stored in found if stored]


def _tags(tags: Iterable[str]) -> Iterator[tuple[str, Version]]:
    return ((tag, version) for tag in tags if (version := parse_tag(tag)))


def as_image(settings: Settings, stored: Stored) -> Image:
    where = _where(settings, stored.name, stored.cluster)
    return Image(stored.name, where, str(stored.version), stored.digest)


def pushed_names(settings: Settings) -> list[str]:
    """Return the images that machines need: what goes to the registry, the installer last."""
    return [*(name for name, image in settings.images.items() if image.push and name != INSTALLER), INSTALLER]


def current_images(settings: Settings) -> dict[str, Image]:
    """Return the newest version in the registry of each image that machines need, by name; those it has."""
    with opened(settings) as registry:
        newest = newest_in(registry, settings, pushed_names(settings))
    return {name: as_image(settings, stored) for name, stored in newest.items()}


def current_release(settings: Settings, version: str = "") -> Image:
    """Return the installer image of this cluster's release `version`, or of the newest one, as the registry has it.

    Raises Refused when it isn't there, or is another cluster's.
    """
    return as_image(settings, release_in_registry(settings, version))


def etcd_image(settings: Settings, version: str = "") -> Stored:
    """Return the image of etcd, `version` of it or the newest one, as the registry has it.

    Raises Refused when it isn't there, ConfigError for what is no version.
    """
    name, wanted = settings.etcd.image, parse_version(version)
    if version and wanted is None:
        raise ConfigError(f"{version!r} is not a version, such as 0.1.3", "image")
    with opened(settings) as registry:
        if wanted is None:
            found = newest_in(registry, settings, [name]).get(name)
        else:
            found = read_version(registry, settings, name, wanted)
    if found is None:
        what = f"image {name}{f' {version}' if version else ''}"
        raise Refused(f"{what} is not in the registry: inv build.all registry.push (inv registry.list shows what is)")
    return found


def pinned_images(settings: Settings, version: str) -> tuple[Image, ...]:
    """Return the images that release `version` pins. Raises as `current_release`."""
    return release_in_registry(settings, version).pins


def pinned_services(settings: Settings, version: str) -> Mapping[str, PinnedService]:
    """Return the services of release `version` that run on some machines only. Raises as `current_release`."""
    return release_in_registry(settings, version).pinned


def release_in_registry(settings: Settings, version: str = "") -> Stored:
    """Return release `version`, or the newest one, as the registry has it. Raises as `current_release`."""
    wanted = parse_version(version)
    if version and wanted is None:
        raise ConfigError(f"{version!r} is not a version, such as 0.1.3", "release")
    with opened(settings) as registry:
        if wanted is None:
            found = newest_in(registry, settings, [INSTALLER]).get(INSTALLER)
        else:
            own = read_version(registry, settings, INSTALLER, wanted)
            found = own or read_version(registry, settings, INSTALLER, wanted, "")
        if found is None:
            raise Refused(_absent(registry, settings, version))
    if found.foreign:
        what = f"{as_image(settings, found).repository}:{found.version}"
        raise Refused(f"{what} is refused: {found.foreign}, and this is the cluster {settings.cluster}")
    return found


def _absent(registry: Registry, settings: Settings, version: str) -> str:
    """Return that the registry does not have a release, and what to do: another cluster's may have been meant."""
    what = f"release {version}" if version else "a release"
    line = f"{registry.address}: the registry does not have {what} of the cluster {settings.cluster}: "
    others = sorted(_clusters_with(registry, settings, parse_version(version)))
    if not others:
        return f"{line}inv build.all registry.push"
    promote = f"inv release.promote --from {others[0]}" + (f" --release {version}" if version else "")
    return f"{line}inv build.all registry.push; {', '.join(others)} has one: {promote}"


def _clusters_with(registry: Registry, settings: Settings, version: Version | None) -> list[str]:
    """Return the other clusters that have a release `version`, or any; none when the registry lists no repositories."""
    prefix = registry_prefix(settings)
    try:
        repositories = registry.repositories(f"{prefix}/{INSTALLER}/") or ()
        places = [parse_repository(prefix, where) for where in repositories]
        return [
            cluster
            for _, cluster in filter(None, places)
            if cluster != settings.cluster
            and (found := versions_in(registry, settings, INSTALLER, cluster))
            and (version is None or version in found)
        ]
    except RegistryError:
        return []
