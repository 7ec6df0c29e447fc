"""The settings of a local cluster, completed with what is known only on the host that carries it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, StrictUndefined, TemplateError

from argosy.config.loading import ImageSettings, Settings
from argosy.engine.checkout import Choice, host_record
from argosy.errors import ConfigError
from argosy.local.addressing import host_address
from argosy.local.place import placed


def localized(settings: Settings, bip: str = "", chosen: Mapping[str, Choice] | None = None) -> Settings:
    """Return a copy with what was chosen for this host (argosy.local.place), `registry.address` filled in where it is
    empty, `docker.bip`, and `settings` rendered; and whose images that run on this host are built with all others.

    `chosen`: what host.json says when left out. Values under `settings` are Jinja templates that know `host_address`.
    Raises ConfigError, with the key's dotted path, for a template that names anything else. Idempotent.
    """
    here = placed(settings, host_record(settings).chosen if chosen is None else chosen)
    host = host_address(here)
    update: dict[str, Any] = {
        "images": {**here.images, **_needed_here(here)},
        "settings": {key: _render(key, value, host) for key, value in here.settings.items()},
    }
    if bip:
        update["docker"] = here.docker.model_copy(update={"bip": bip})
    return here.model_copy(update=update)


def _needed_here(settings: Settings) -> dict[str, ImageSettings]:
    """Return the images of what runs on this host, which are no longer only on demand."""
    local = settings.local
    names = {local.registry_image, *(entry.image for entry in local.dependencies.values())}
    if local.provider == "docker":
        names.add(local.machine_image)
    return {
        name: image.model_copy(update={"on_demand": False}) for name, image in settings.images.items() if name in names
    }


def _render(key: str, value: str | int | float | bool, host: str) -> str | int | float | bool:
    if not isinstance(value, str):
        return value
    try:
        environment = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701 (a plain text, not HTML)
        return environment.from_string(value).render(host_address=host)
    except TemplateError as error:
        raise ConfigError(
            f"{error}; a local cluster's settings know {{{{ host_address }}}}", f"settings.{key}"
        ) from None
