"""Build the installer image, which is the release: rendered units, and the digest of each image they run."""

from __future__ import annotations

from dataclasses import replace

from argosy.build_plan import installer_image
from argosy.config import Settings
from argosy.console import Report
from argosy.content_memo import ContentMemo
from argosy.engine_connection import connect
from argosy.engine_images import RELEASE_LABEL, render_pins, stored_images
from argosy.errors import ConfigError, Refused
from argosy.model import Image, Step
from argosy.operations.build.images import image_context
from argosy.operations.build.templates import read_templates
from argosy.operations.build.versioning import (
    Built,
    build_version,
    building,
    known_versions,
    read_series,
    state_folder,
)
from argosy.operations.registry import access, plan_push, push
from argosy.release import render_release
from argosy.versions import INSTALLER, newest_of

RELEASE_FOLDER = "release"


def plan_installer(settings: Settings) -> list[Step]:
    """Return what `build_installer` would do, changing nothing."""
    read_series(settings)
    read_templates(settings)
    here = _built_here(settings)
    pushes = plan_push(settings, here) if here else []
    return [*pushes, Step(INSTALLER, f"build the release of {', '.join(pinned_names(settings))}")]


def build_installer(settings: Settings, report: Report) -> Built:
    """Build and version the installer image. Idempotent: the same release gets no new version.

    A digest exists only in a registry, so first the images that it pins are pushed where the registry lacks them. It
    pins the newest version of each that the registry then has. Raises Refused when an image has no version at all,
    ConfigError when the system's templates are not right.
    """
    read_series(settings)
    templates = read_templates(settings)
    here = _built_here(settings)
    if here:
        push(settings, report, only=here)
    pins = _pins(settings)
    rendered = render_release(settings, pins, templates)
    release = {f"{RELEASE_FOLDER}/{path}": content for path, content in rendered.items()}
    image = installer_image(settings.images)
    context = image_context(settings, INSTALLER, image)
    with connect() as client, building(settings, client):
        return build_version(
            client,
            settings,
            report,
            INSTALLER,
            replace(context, files={**context.files, **release}),
            arguments=_arguments(settings),
            known=known_versions(client, settings, [INSTALLER], report).get(INSTALLER, {}),
            memo=ContentMemo(state_folder(settings)),
            labels={RELEASE_LABEL: render_pins(pins)},
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


def _arguments(settings: Settings) -> dict[str, str]:
    with connect() as client:
        newest = newest_of(stored_images(client, settings.system))
    arguments = {}
    for argument, name in installer_image(settings.images).needs.items():
        if name not in newest:
            raise Refused(f"{INSTALLER}: it is built on {name}, of which there is no version here: inv build.images")
        arguments[argument] = f"{access.repository(settings, name)}:{newest[name].version}"
    return arguments
