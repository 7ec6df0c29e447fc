"""Where a cluster's machines come from: one provider for each word that `provider:` takes (docs/providers.md).

from argosy.providers import register

register("pool", "pool:Pool")  # in tasks.py; the module is imported when a cluster says `provider: pool`
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from argosy.config.providers import IMPLEMENTATIONS
from argosy.errors import ConfigError
from argosy.providers.base import Provider

if TYPE_CHECKING:
    from argosy.config.loading import Settings

__all__ = ["Provider", "provider_of", "register"]


def register(name: str, provider: Provider | str) -> None:
    """Let `provider: NAME` mean this provider, or the class at MODULE:CLASS. Raises ConfigError for a name that is
    taken. Idempotent."""
    if IMPLEMENTATIONS.setdefault(name, provider) != provider:
        raise ConfigError(f"a provider of this name is registered already: {IMPLEMENTATIONS[name]}", name)


def provider_of(settings: Settings) -> Provider:
    """Return the provider of the cluster's machines."""
    registered = IMPLEMENTATIONS[settings.provider]
    if not isinstance(registered, str):
        return cast(Provider, registered)
    module, _, name = registered.partition(":")
    return cast(Provider, getattr(import_module(module), name)())
