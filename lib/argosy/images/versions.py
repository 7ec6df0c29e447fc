"""Pure. Versions of images, `major.minor.patch`: which one comes next, which ones stay.

VERSION gives major.minor. The patch grows only when the content has changed since the newest version, wherever that
one is known (on this engine or in the registry); so the same sources get the same number on every build server. The
versions of images are counted for all clusters together, those of releases for each cluster.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from argosy.errors import ConfigError, Refused
from argosy.model import Image

_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_SERIES = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)")
_BESIDE = re.compile(r"-[0-9a-f]{12}$")
INSTALLER = "installer"


@dataclass(frozen=True, order=True, slots=True)
class Version:
    """`major.minor.patch`; compares as numbers, so 0.1.10 is newer than 0.1.9."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


def parse_version(text: str) -> Version | None:
    """Return the version that a tag spells, or nothing: other tags (`latest`, `1.0-rc1`) aren't ours."""
    found = _VERSION.fullmatch(text)
    return Version(*map(int, found.groups())) if found else None


def parse_tag(text: str) -> Version | None:
    """Return the version that a tag spells, also one beside which another image has the version itself."""
    return parse_version(_BESIDE.sub("", text))


def tag_beside(version: str, digest: str) -> str:
    """Return the tag of an image whose version's own tag another one has: two registries may know one version by two
    digests. Such a tag counts as no version."""
    return f"{version}-{digest.partition(':')[2][:12]}"


def parse_series(text: str, where: str) -> tuple[int, int]:
    """Return major and minor from the text of a VERSION file. `where`: the file, for the error's message."""
    found = _SERIES.fullmatch(text.strip())
    if not found:
        raise ConfigError(
            f"{where} must hold MAJOR.MINOR, such as 0.1, and holds {text.strip()[:40]!r}", "version_file"
        )
    return int(found[1]), int(found[2])


def decide(name: str, series: tuple[int, int], known: Mapping[Version, str], content: str) -> Version:
    """Return the version of image `name` whose digest of content is `content`; a new one is not among the known.

    `known`: every known version -> its digest of content. Going back to an older content makes a new version too,
    since the newest is what gets installed. Raises ConfigError when VERSION is behind what exists.
    """
    newest = max(known, default=None)
    if newest is None or (newest.major, newest.minor) < series:
        return Version(*series, 0)
    if (newest.major, newest.minor) > series:
        raise ConfigError(
            f"it says {series[0]}.{series[1]}, but {name} {newest} exists: raise it to {newest.major}.{newest.minor}",
            "version_file",
        )
    if known[newest] == content:
        return newest
    return Version(*series, newest.patch + 1)


@dataclass(frozen=True, slots=True)
class PinnedService:
    """A service of a release that runs on some machines only. `revision`: of its unit, which names its image;
    `grace_seconds`: what it may take to stop."""

    machines: tuple[str, ...]
    revision: str
    grace_seconds: float


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of an image, as an engine or a registry has it.

    `digest`: of the manifest in a registry, or the image's id on an engine. `content`: the digest of its content;
    `inputs`: of what it was made of, empty for one of before that was noted.
    `pins`: for the installer, the images of its release by name; `pinned`: those of its services that run on some
    machines only; `cluster`: whose release it is, by the repository that it lies in, empty for other images and for a
    release that names none; `foreign`: why what lies there is none, by its labels; `promoted`: of which cluster's
    release it was made, and its version; `created`: when, as RFC 3339; `etcd`: the version of etcd that it holds,
    as its label says, empty where none does.
    """

    name: str
    version: Version
    digest: str
    content: str = ""
    size_bytes: int = 0
    pins: tuple[Image, ...] = ()
    pinned: Mapping[str, PinnedService] = field(default_factory=dict, hash=False)
    cluster: str = ""
    foreign: str = ""
    promoted: str = ""
    created: str = ""
    inputs: str = ""
    etcd: str = ""

    @property
    def identity(self) -> str:
        """What stands for it in the inputs of an image that needs it."""
        return self.inputs or self.content


def of_cluster(stored: Iterable[Stored], cluster: str) -> list[Stored]:
    """Return the images, and of the releases those of `cluster`."""
    return [item for item in stored if item.name != INSTALLER or item.cluster == cluster]


def counted(stored: Iterable[Stored], cluster: str) -> dict[str, dict[Version, str]]:
    """Return what versions are counted from, image -> version -> digest of content, for a build for `cluster`.

    Releases that name no cluster count as well, with a content that no build has: a machine of `cluster` may run one,
    and the next release must be newer.
    """
    known: dict[str, dict[Version, str]] = {}
    for item in stored:
        versions = known.setdefault(item.name, {})
        if item.name != INSTALLER or (item.cluster == cluster and not item.foreign):
            versions[item.version] = item.content
        elif item.cluster in ("", cluster):
            versions.setdefault(item.version, "")
    return known


def unchanged(
    series: tuple[int, int], known: Mapping[Version, str], stored: Iterable[Stored], inputs: str
) -> Stored | None:
    """Return the newest version of an image if it was made of these `inputs`, be its content what it may.

    `known`: as of `decide`; `stored`: the image wherever it is. None when the inputs are not known, and when VERSION
    has another series.
    """
    newest = max(known, default=None)
    if newest is None or not inputs or not known[newest] or (newest.major, newest.minor) != series:
        return None
    return next(
        (item for item in stored if (item.version, item.content, item.inputs) == (newest, known[newest], inputs)), None
    )


def newest_of(stored: Iterable[Stored]) -> dict[str, Stored]:
    """Return each image's newest version by its name."""
    newest: dict[str, Stored] = {}
    for item in stored:
        if item.name not in newest or item.version > newest[item.name].version:
            newest[item.name] = item
    return newest


def last_versions(stored: Iterable[Stored], keep: int) -> set[tuple[str, Version]]:
    """Return the newest `keep` versions of each image, as (name, version)."""
    by_name: dict[str, set[Version]] = {}
    for item in stored:
        by_name.setdefault(item.name, set()).add(item.version)
    return {(name, version) for name, found in by_name.items() for version in sorted(found, reverse=True)[:keep]}


@dataclass(frozen=True, slots=True)
class ReleaseInUse:
    """A release that machines run. `cluster`: which one's machines; empty where only the version was told."""

    version: str
    cluster: str = ""

    def is_at(self, item: Stored) -> bool:
        """Return whether `item` is this release, as far as it can be told."""
        same = not self.cluster or item.cluster in ("", self.cluster)
        return item.name == INSTALLER and str(item.version) == self.version and same


def plan_prune(
    stored: Collection[Stored],
    keep: int,
    in_use: Collection[ReleaseInUse] = (),
    never: Collection[str] = (),
    running: Collection[str] = (),
    cluster: str = "",
) -> list[Stored]:
    """Return the versions that can go, oldest first.

    Kept are: the newest `keep` of each image, which makes as many releases to roll back to; the releases `in_use` by
    machines; all that belong to another cluster than `cluster`, or to nobody we know; every image that a kept release
    pins; all of the images named in `never`; what has one of the digests `running`; and whatever shares its digest with
    a kept version, as deleting by digest would take both.
    Raises Refused when a release in use isn't among `stored`: what it pins can't be known.
    """
    _refuse_unknown_releases(stored, in_use)
    ours = [item for item in stored if item.cluster in ("", cluster) and not item.foreign]
    last = {place: last_versions((item for item in ours if item.cluster == place), keep) for place in ("", cluster)}
    kept = [
        item
        for item in stored
        if item not in ours
        or (item.name, item.version) in last[item.cluster]
        or item.name in never
        or any(release.is_at(item) for release in in_use)
    ]
    pinned = {(image.name, image.version) for item in kept for image in item.pins}
    digests = {item.digest for item in kept} | {image.digest for item in kept for image in item.pins} | set(running)
    gone = [
        item
        for item in stored
        if item not in kept and item.digest not in digests and (item.name, str(item.version)) not in pinned
    ]
    return sorted(gone, key=lambda item: (item.name, item.version))


def _refuse_unknown_releases(stored: Collection[Stored], in_use: Collection[ReleaseInUse]) -> None:
    unknown = sorted({release.version for release in in_use if not any(map(release.is_at, stored))})
    if unknown:
        raise Refused(
            f"release {', '.join(unknown)} is in use but not here, so what it needs can't be known and nothing "
            "was pruned: push it (inv registry.push), or upgrade its machines first"
        )
