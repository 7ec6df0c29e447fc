"""The settings of a local cluster, completed with what is known only on the host that carries it."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, StrictUndefined, TemplateError

from argosy.addressing import host_address
from argosy.config import Settings
from argosy.errors import ConfigError

REGISTRY_PORT = 5000


def localized(settings: Settings, bip: str = "") -> Settings:
    """Return a copy with `registry.address` filled in where it is empty, `docker.bip`, and `settings` rendered.

    Values under `settings` are Jinja templates that know `host_address`. Raises ConfigError, with the key's dotted
    path, for a template that names anything else. Idempotent.
    """
    host = host_address(settings)
    update: dict[str, Any] = {
        "settings": {key: _render(key, value, host) for key, value in settings.settings.items()},
    }
    if not settings.registry.address:
        update["registry"] = settings.registry.model_copy(update={"address": f"{host}:{REGISTRY_PORT}"})
    if bip:
        update["docker"] = settings.docker.model_copy(update={"bip": bip})
    return settings.model_copy(update=update)


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
