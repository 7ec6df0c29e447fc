"""What a builder is asked for, by an image's settings: build arguments, secrets; and what it can't do, refused."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import docker

from argosy.builds.plan import installer_image
from argosy.config.loading import ImageSettings, Settings
from argosy.config.suites import ARGUMENT
from argosy.errors import ConfigError, RegistryError
from argosy.images.builders import Builder, choose_builder
from argosy.images.inputs import declares
from argosy.images.store import keeps_indices
from argosy.images.versions import INSTALLER
from argosy.registry import access
from argosy.report import Report
from argosy.secrets import sources
from argosy.secrets.logins import by_host


def image_settings(settings: Settings, name: str) -> ImageSettings:
    """Return how image `name` is built, the installer, too."""
    return installer_image(settings.images) if name == INSTALLER else settings.images[name]


def tell_builder(client: docker.DockerClient, settings: Settings, report: Report) -> Builder:
    """Return the builder that is used, with the logins of further registries, and report which one it is, and why.

    A cache in the registry makes builds faster and nothing else: where it can't be had, that is reported.
    """
    builder = replace(choose_builder(settings.build.builder), logins=by_host(settings))
    report("builder", builder.told)
    if not settings.build.registry_cache:
        return builder
    try:
        if not builder.buildkit or not keeps_indices(client):
            raise ConfigError("it needs BuildKit and an engine with containerd's image store", "build.registry_cache")
        login = (settings.registry.user, access.password(settings))
        logins = {**builder.logins, access.required_address(settings): login}
        return replace(builder, logins=logins, caches=True)
    except (RegistryError, ConfigError) as error:
        report("registry", f"no cache of builds there: {error}")
        return builder


def refuse_unbuildable(
    client: docker.DockerClient, settings: Settings, names: Collection[str], builder: Builder
) -> None:
    """Raise ConfigError when one of the images asks for what the builder, or the engine, can't do."""
    for name in names:
        image, where = image_settings(settings, name), f"images.{name}"
        builder.refuse_setting(image.secrets, f"{where}.secrets")
        builder.refuse_setting(image.platforms, f"{where}.platforms")
        if len(image.platforms) > 1 and not keeps_indices(client):
            raise ConfigError(
                "several need containerd's image store, and this engine has another: give one platform, or "
                'set "features": {"containerd-snapshotter": true} in its daemon.json',
                f"{where}.platforms",
            )
        file = settings.find(image.context) / image.dockerfile
        if file.is_file():  # else it is refused with its context
            given = {*image.args, *image.needs, ARGUMENT}
            builder.refuse_dockerfile(file.read_text(errors="replace"), str(file), f"{where}.dockerfile", given)


def suite_argument(settings: Settings, dockerfile: str) -> dict[str, str]:
    """Return the build argument that names Debian's suite, for a Dockerfile that takes it."""
    return {ARGUMENT: settings.build.suite} if declares(dockerfile, ARGUMENT) else {}


@contextmanager
def secret_files(settings: Settings, name: str, image: ImageSettings) -> Iterator[Mapping[str, str]]:
    """Yield by id the files that hold the secrets of an image's build: in memory alone, and open to this user alone.

    Raises ConfigError, with the path of the reference, when one can't be had.
    """
    with ExitStack() as opened:
        files = {}
        for secret in image.secrets:
            value = sources.read(settings, sources.build_source(settings, name, secret))
            descriptor = os.memfd_create(secret)
            opened.callback(os.close, descriptor)
            with open(descriptor, "wb", closefd=False) as written:
                written.write(value.reveal())
            files[secret] = f"/proc/{os.getpid()}/fd/{descriptor}"
        yield files
