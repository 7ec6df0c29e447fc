"""The releases of a cluster as its registry has them, with who uses each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from argosy.config.loading import Settings
from argosy.errors import EtcdError
from argosy.images.versions import INSTALLER, Stored, Version, parse_version
from argosy.model import Image
from argosy.registry import access
from argosy.releases.usage import Usage, chosen, usage
from argosy.report import Report

COLUMNS = ["RELEASE", "MADE", "PROMOTED FROM", "WANTED", "MACHINES"]
SHOWN_CREATED = 19


@dataclass(frozen=True, slots=True)
class Row:
    """`used`: None where the cluster's etcd could not be asked."""

    stored: Stored
    used: Usage | None

    @property
    def wanted(self) -> bool | None:
        if self.used is None:
            return None
        return self.used.wanted is not None and self.used.wanted.version == str(self.stored.version)

    @property
    def machines(self) -> list[str] | None:
        return None if self.used is None else list(self.used.machines.get(str(self.stored.version), ()))

    def to_json(self) -> dict[str, Any]:
        """Return `{"version", "cluster", "digest", "created", "promoted_from", "wanted", "machines", "images"}`.

        `cluster` is empty for a release of before releases named theirs; `promoted_from`: `{"cluster", "version"}`,
        null for one that was built; `wanted` and `machines` are null when etcd could not be asked; `images`: `{NAME:
        {"version", "digest"}}`.
        """
        stored = self.stored
        return {
            "version": str(stored.version),
            "cluster": stored.cluster,
            "digest": stored.digest,
            "created": stored.created,
            "promoted_from": promoted_from(stored.promoted),
            "wanted": self.wanted,
            "machines": self.machines,
            "images": {pin.name: {"version": pin.version, "digest": pin.digest} for pin in stored.pins},
        }

    def cells(self) -> list[object]:
        """Return the cells under COLUMNS."""
        stored = self.stored
        made = stored.created[:SHOWN_CREATED].replace("T", " ")
        if self.used is None:
            return [stored.version, made, stored.promoted, "unknown", "unknown"]
        return [stored.version, made, stored.promoted, "wanted" if self.wanted else "", " ".join(self.machines or [])]


def promoted_from(title: str) -> dict[str, str] | None:
    """Return what a release's label says of what it was made, `staging 0.1.7`, as JSON has it."""
    cluster, _, version = title.partition(" ")
    return {"cluster": cluster, "version": version} if title else None


def releases(settings: Settings, report: Report) -> list[Row]:
    """Return the cluster's releases in its registry, the newest first; those that name no cluster where one is used."""
    used = _asked(settings, report)
    with access.opened(settings) as registry:
        own = [
            access.read_version(registry, settings, INSTALLER, version)
            for version in access.versions_in(registry, settings, INSTALLER)
        ]
        found = [stored for stored in own if stored and not stored.foreign]
        before = sorted(_used_versions(used) - {stored.version for stored in found})
        older = [access.read_version(registry, settings, INSTALLER, version, "") for version in before]
    found += [stored for stored in older if stored and not stored.foreign]
    return [Row(stored, used) for stored in sorted(found, key=lambda item: item.version, reverse=True)]


def release(settings: Settings, version: str, report: Report) -> Row:
    """Return one release; without a version the one that the cluster runs, else the newest. Raises Refused."""
    used = _asked(settings, report)
    present = chosen(used) if used else None
    return Row(access.release_in_registry(settings, version or (present.version if present else "")), used)


def image_rows(pins: Sequence[Image]) -> list[list[object]]:
    return [[pin.name, pin.version, pin.digest] for pin in pins]


def _asked(settings: Settings, report: Report) -> Usage | None:
    try:
        return usage(settings)
    except EtcdError as error:
        report(settings.cluster, f"which release is wanted, and which machines have one, can't be told: {error}")
        return None


def _used_versions(used: Usage | None) -> set[Version]:
    if used is None:
        return set()
    told = [*used.machines, *([used.wanted.version] if used.wanted else [])]
    return {version for version in map(parse_version, told) if version}
