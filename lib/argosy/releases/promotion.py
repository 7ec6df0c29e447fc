"""Promote: a release of this cluster, with its own settings, of the very images that another cluster's release pins.

What this cluster's registry lacks of them is copied byte for byte. Nothing is built but the release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from argosy.builds.installer import build_release, pinned_names
from argosy.builds.release import render_release
from argosy.builds.templates import read_templates
from argosy.builds.versioning import Built, read_series
from argosy.config.loading import Settings
from argosy.errors import ConfigError, Refused
from argosy.images.repositories import registry_prefix, repository
from argosy.images.versions import INSTALLER, Stored, tag_beside
from argosy.model import Image, Step
from argosy.registry import access
from argosy.registry.client import Registry
from argosy.registry.copying import Repository, copy_image
from argosy.registry.push import push
from argosy.releases import contents
from argosy.releases.differences import Content, Differences, differences
from argosy.releases.listing import promoted_from
from argosy.releases.usage import running_release
from argosy.report import Report


@dataclass(frozen=True, slots=True)
class Promotion:
    """What is to be done. `origin`: the other cluster's release; `pins`: its images, where this cluster's lie;
    `copies`: what this registry lacks of them, and etcd where it has none: that is in no release; `changes`: how it
    differs from this cluster's newest release."""

    source: Settings
    target: Settings
    origin: Stored
    pins: Mapping[str, Image]
    copies: tuple[Image, ...]
    templates: Mapping[str, bytes]
    changes: Differences

    @property
    def title(self) -> str:
        return f"{self.source.cluster} {self.origin.version}"

    def steps(self) -> list[Step]:
        """Return what `promote` would do."""
        address = self.target.registry.address
        copies = [Step(image.name, f"copy {image.version} ({image.digest[:19]}) to {address}") for image in self.copies]
        pinned = ", ".join(f"{image.name} {image.version}" for image in self.pins.values())
        made = f"make a release of {self.target.cluster} of {self.title}, with {pinned}, and push it"
        return [*copies, Step("release", made)]


@dataclass(frozen=True, slots=True)
class Promoted:
    """What came of it. `copied`: the images that were."""

    built: Built
    promotion: Promotion

    def to_json(self) -> dict[str, Any]:
        """Return `{"cluster", "version", "is_new", "promoted_from": {"cluster", "version"}, "copied": [NAME],
        "images": {NAME: {"version", "digest"}}}`."""
        pins = self.promotion.pins
        return {
            "cluster": self.promotion.target.cluster,
            "version": self.built.version,
            "is_new": self.built.is_new,
            "promoted_from": promoted_from(self.promotion.title),
            "copied": [image.name for image in self.promotion.copies],
            "images": {name: {"version": pin.version, "digest": pin.digest} for name, pin in pins.items()},
        }


def plan(target: Settings, source: Settings, version: str = "") -> Promotion:
    """Return what it takes to promote the release that `source` runs, or its release `version`. Changes nothing.

    Raises Refused when it can't be told which that is, or it does not pin an image that this cluster runs.
    """
    if (source.system, source.cluster) == (target.system, target.cluster):
        raise ConfigError(f"{source.cluster} is this cluster: give another one's name", "from")
    if source.system != target.system:
        raise Refused(f"{source.cluster} is a cluster of the system {source.system}, this one of {target.system}")
    read_series(target)
    templates = read_templates(target)
    origin = access.release_in_registry(source, version) if version else running_release(source)
    pins = _pins(target, origin, f"release {origin.version} of {source.cluster}")
    with access.opened(target) as registry:
        copies = [pin for pin in pins.values() if not registry.digest(pin.repository, pin.digest)]
        if not access.versions_in(registry, target, target.etcd.image):
            copies += _etcd(target, source)
        present = access.newest_in(registry, target, [INSTALLER]).get(INSTALLER)
    rendered = render_release(target, pins, templates)
    # To a cluster that has none yet all of it is new, and no difference.
    before = contents.read(target, present) if present else Content("nothing", files=rendered)
    after = Content(f"{target.cluster} (new)", pins, rendered)
    return Promotion(source, target, origin, pins, tuple(copies), templates, differences(before, after))


def promote(planned: Promotion, report: Report) -> Promoted:
    """Do it. Idempotent: the same images and settings make no new version, and nothing is copied twice."""
    _copy(planned, report)
    built = build_release(planned.target, report, planned.pins, planned.templates, planned.title)
    push(planned.target, report, only=[INSTALLER])
    return Promoted(built, planned)


def _pins(target: Settings, origin: Stored, what: str) -> dict[str, Image]:
    known = {pin.name: pin for pin in origin.pins}
    lacking = [name for name in pinned_names(target) if name not in known]
    if lacking:
        raise Refused(f"{what} does not pin {', '.join(lacking)}, which {target.cluster} runs")
    prefix = registry_prefix(target)
    return {name: replace(known[name], repository=repository(prefix, name)) for name in pinned_names(target)}


def _etcd(target: Settings, source: Settings) -> list[Image]:
    """Return the other cluster's newest image of etcd, if any, with the place of this cluster's."""
    found = access.current_images(source).get(source.etcd.image)
    return [replace(found, repository=repository(registry_prefix(target), target.etcd.image))] if found else []


def _copy(planned: Promotion, report: Report) -> None:
    if not planned.copies:
        return
    prefix = registry_prefix(planned.source)
    with access.opened(planned.source) as source, access.opened(planned.target) as target:
        for pin in planned.copies:
            there = Repository(target, pin.repository)
            copy_image(Repository(source, repository(prefix, pin.name)), there, pin.digest, _tag(target, pin))
            report(pin.name, f"copied {pin.version} to {there}")


def _tag(registry: Registry, pin: Image) -> str:
    """Return the tag for an image: its version, unless another image has that there."""
    taken = registry.digest(pin.repository, pin.version)
    return tag_beside(pin.version, pin.digest) if taken not in ("", pin.digest) else pin.version
