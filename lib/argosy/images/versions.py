"""Versions of images, `major.minor.patch`: which one comes next, which ones stay. Pure.

VERSION gives major.minor. The patch grows only when the content has changed since the newest version, wherever that
one is known (on this engine or in the registry); so the same sources get the same number on every build server.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from argosy.errors import ConfigError, Refused
from argosy.model import Image

_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_SERIES = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)")
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


def parse_series(text: str, where: str) -> tuple[int, int]:
    """Return major and minor from the text of a VERSION file. `where`: the file, for the error's message."""
    found = _SERIES.fullmatch(text.strip())
    if not found:
        raise ConfigError(
            f"{where} must hold MAJOR.MINOR, such as 0.1, and holds {text.strip()[:40]!r}", "version_file"
        )
    return int(found[1]), int(found[2])


@dataclass(frozen=True, slots=True)
class Decision:
    """The version that some content gets. `is_new`: nobody has it yet."""

    version: Version
    is_new: bool


def decide(name: str, series: tuple[int, int], known: Mapping[Version, str], content: str) -> Decision:
    """Return the version of image `name` whose digest of content is `content`.

    `known`: every known version -> its digest of content. Going back to an older content makes a new version too,
    since the newest is what gets installed. Raises ConfigError when VERSION is behind what exists.
    """
    newest = max(known, default=None)
    if newest is None or (newest.major, newest.minor) < series:
        return Decision(Version(*series, 0), is_new=True)
    if (newest.major, newest.minor) > series:
        raise ConfigError(
            f"it says {series[0]}.{series[1]}, but {name} {newest} exists: raise it to {newest.major}.{newest.minor}",
            "version_file",
        )
    if known[newest] == content:
        return Decision(newest, is_new=False)
    return Decision(Version(*series, newest.patch + 1), is_new=True)


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of an image, as an engine or a registry has it.

    `digest`: of the manifest in a registry, or the image's id on an engine. `content`: the digest of its content.
    `pins`: for the installer, the images of its release by name.
    """

    name: str
    version: Version
    digest: str
    content: str = ""
    size_bytes: int = 0
    pins: tuple[Image, ...] = ()


def newest_of(stored: Iterable[Stored]) -> dict[str, Stored]:
    """Return each image's newest version by its name."""
    newest: dict[str, Stored] = {}
    for item in stored:
        if item.name not in newest or item.version > newest[item.name].version:
            newest[item.name] = item
    return newest


def last_versions(stored: Iterable[Stored], keep: int) -> set[tuple[str, Version]]:
    """Return the newest `keep` versions of each image, as (name, version)."""
    by_name: dict[str, list[Version]] = {}
    for item in stored:
        by_name.setdefault(item.name, []).append(item.version)
    return {(name, version) for name, found in by_name.items() for version in sorted(found, reverse=True)[:keep]}


def plan_prune(
    stored: Collection[Stored],
    keep: int,
    in_use: Collection[str] = (),
    never: Collection[str] = (),
    running: Collection[str] = (),
) -> list[Stored]:
    """Return the versions that can go, oldest first.

    Kept are: the newest `keep` of each image, which makes as many releases to roll back to; the releases `in_use` by
    machines; every image that a kept release pins; all of the images named in `never`; what has one of the digests
    `running`; and whatever shares its digest with a kept version, as deleting by digest would take both.
    Raises Refused when a release in use isn't among `stored`: what it pins can't be known.
    """
    _refuse_unknown_releases(stored, in_use)
    last = last_versions(stored, keep)
    kept = [item for item in stored if (item.name, item.version) in last or item.name in never or _used(item, in_use)]
    pinned = {(image.name, image.version) for item in kept for image in item.pins}
    digests = {item.digest for item in kept} | {image.digest for item in kept for image in item.pins} | set(running)
    gone = [
        item
        for item in stored
        if item not in kept and item.digest not in digests and (item.name, str(item.version)) not in pinned
    ]
    return sorted(gone, key=lambda item: (item.name, item.version))


def _used(item: Stored, in_use: Collection[str]) -> bool:
    return item.name == INSTALLER and str(item.version) in in_use


def _refuse_unknown_releases(stored: Collection[Stored], in_use: Collection[str]) -> None:
    known = {str(item.version) for item in stored if item.name == INSTALLER}
    unknown = sorted(set(in_use) - known)
    if unknown:
        raise Refused(
            f"release {', '.join(unknown)} is in use but not here, so what it needs can't be known and nothing "
            "was pruned: push it (inv registry.push), or upgrade its machines first"
        )
