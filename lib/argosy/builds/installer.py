"""Build the installer image, which is the release: rendered units, and the digest of each image they run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from argosy.builds.images import build_images, image_context, need_of
from argosy.builds.own_modules import installer_files
from argosy.builds.plan import installer_image
from argosy.builds.release import pinned_services, render_release
from argosy.builds.requests import refuse_unbuildable, tell_builder
from argosy.builds.templates import read_templates
from argosy.builds.versioning import Built, Need, build_version, building, known_versions, read_series, state_folder
from argosy.config.loading import Settings
from argosy.engine.connection import connect
from argosy.engine.names import CLUSTER_LABEL
from argosy.errors import ConfigError, Refused
from argosy.images.builders import choose_builder
from argosy.images.memo import ContentMemo
from argosy.images.store import (
    PINNED_LABEL,
    PROMOTED_LABEL,
    RELEASE_LABEL,
    render_pinned,
    render_pins,
    stored_images,
)
from argosy.images.versions import INSTALLER, newest_of
from argosy.model import Image, Step
from argosy.registry import access
from argosy.registry.push import plan_push, push
from argosy.report import Report

RELEASE_FOLDER = "release"


def plan_installer(settings: Settings) -> list[Step]:
    """Return what `build_installer` would do, changing nothing."""
    read_series(settings)
    read_templates(settings)
    with connect() as client:
        refuse_unbuildable(client, settings, [INSTALLER], choose_builder(settings.build.builder))
    here = _built_here(settings)
    pushes = plan_push(settings, here) if here else []
    return [*pushes, Step(INSTALLER, f"build the release of {', '.join(pinned_names(settings))}")]


def build_installer(settings: Settings, report: Report, *, fetch: bool = True) -> Built:
    """Build and version the installer image. Idempotent: the same release gets no new version.

    `fetch`: it is on this engine in the end, though the registry may have had it already.

    A digest exists only in a registry, so first the images that it pins are pushed where the registry lacks them. It
    pins the newest version of each that the registry then has. Raises Refused when an image has no version at all,
    ConfigError when the system's templates are not right.
    """
    read_series(settings)
    templates = read_templates(settings)
    here = _built_here(settings)
    if here:
        push(settings, report, only=here)
    return build_release(settings, report, _pins(settings), templates, fetch=fetch)


def build_release(
    settings: Settings,
    report: Report,
    pins: Mapping[str, Image],
    templates: Mapping[str, bytes],
    promoted: str = "",
    *,
    fetch: bool = True,
) -> Built:
    """Build and version the release that pins just these images. `promoted`: of what it was made, for its label;
    `fetch`: as of `build_installer`."""
    rendered = render_release(settings, pins, templates)
    release = {f"{RELEASE_FOLDER}/{path}": content for path, content in rendered.items()}
    pinned = pinned_services(json.loads(rendered["release.json"]))
    image = installer_image(settings.images)
    context = image_context(settings, INSTALLER, image)
    with connect() as client, building(settings, client):
        builder = tell_builder(client, settings, report)
        refuse_unbuildable(client, settings, [INSTALLER], builder)
        return build_version(
            client,
            settings,
            report,
            INSTALLER,
            replace(context, files={**context.files, **installer_files(context.folder), **release}),
            builder=builder,
            needs=_needs(settings),
            known=known_versions(client, settings, [INSTALLER], report),
            memo=ContentMemo(state_folder(settings)),
            labels={
                CLUSTER_LABEL: settings.cluster,
                RELEASE_LABEL: render_pins(pins),
                PROMOTED_LABEL: promoted,
                **({PINNED_LABEL: render_pinned(pinned)} if pinned else {}),
            },
            fetch=[INSTALLER] if fetch else [],
        )


def pinned_names(settings: Settings) -> list[str]:
    """Return the images that the release pins: those of its services, and of the scheduled ones, so that a machine has
    them before it is given an instance. Raises ConfigError if one is not to be pushed."""
    scheduled = {service.image for service in settings.scheduled.values() if service.own_image}
    names = sorted({service.image for service in settings.services.values()} | scheduled)
    for name in names:
        if not settings.images[name].push:
            raise ConfigError(
                "a service runs it, so machines need it from the registry: leave this out", f"images.{name}.push"
            )
    return names


def _built_here(settings: Settings) -> list[str]:
    with connect() as client:
        here = {stored.name for stored in stored_images(client, settings.system)}
    return [name for name in pinned_names(settings) if name in here]


def _pins(settings: Settings) -> dict[str, Image]:
    with access.opened(settings) as registry:
        newest = access.newest_in(registry, settings, pinned_names(settings))
    for name in pinned_names(settings):
        if name not in newest:
            raise Refused(f"{name}: no version of it was built yet: inv build.images")
    return {name: access.as_image(settings, stored) for name, stored in newest.items()}


def _needs(settings: Settings) -> dict[str, Need]:
    with connect() as client:
        newest = newest_of(stored_images(client, settings.system))
    needs = {}
    for argument, name in installer_image(settings.images).needs.items():
        if name not in newest:
            raise Refused(f"{INSTALLER}: it is built on {name}, of which there is no version here: inv build.images")
        needs[argument] = need_of(settings, newest[name])
    return needs


def build_all(settings: Settings, report: Report) -> list[Built]:
    """Build every image, push those that the release pins, build the installer. Idempotent."""
    return [*build_images(settings, report), build_installer(settings, report, fetch=False)]
