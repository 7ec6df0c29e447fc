"""The logins of registries, as Docker has them: the cluster's own, and those under `registries:`.

Docker's config.json (https://docs.docker.com/reference/cli/docker/login/) knows a registry by its host alone. A login
for a path stands under HOST/PATH, where other clients look for it (containers-auth.json), and is that of the host as
well where the host has no other.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from argosy.config.loading import Settings
from argosy.config.references import DOCKER_HUB
from argosy.secrets import sources
from argosy.secrets.value import Secret

HUB_KEY = "https://index.docker.io/v1/"


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are in the registry at `address`."""

    address: str
    user: str
    password: str = field(repr=False)

    def for_engine(self) -> dict[str, str]:
        """Return what the engine's API takes as X-Registry-Auth."""
        return {"username": self.user, "password": self.password, "serveraddress": _key(self.address)}

    def header(self) -> str:
        """Return the value of that header: https://docs.docker.com/reference/api/engine/version/v1.41/."""
        return base64.urlsafe_b64encode(json.dumps(self.for_engine()).encode()).decode()


def further(settings: Settings, place: str) -> Login:
    """Return the login of `registries: PLACE`. Raises ConfigError when its password is not there, or no text."""
    password = sources.text(settings, sources.login_source(settings, place))
    return Login(place.partition("/")[0], settings.registries[place].user, password)


def by_host(settings: Settings) -> dict[str, tuple[str, str]]:
    """Return user and password of the logins under `registries:`, by Docker's names of the registries."""
    found = {_key(host): further(settings, place) for host, place in _hosts(settings.registries).items()}
    return {key: (login.user, login.password) for key, login in found.items()}


def docker_config(settings: Settings, own: Secret, others: Mapping[str, Secret]) -> Secret:
    """Return Docker's config.json. `own`: the password of the cluster's registry, whose entry comes first; `others`: of
    those under `registries:`, by place. A line break at the end of a file is no part of a password."""
    registry = settings.registry
    names = filter(None, (registry.address, settings.discovered_registry))
    auths = dict.fromkeys(names, _auth(registry.user, own))
    keys = {**_hosts(others), **{place: place for place in others}}
    for key, place in sorted(keys.items()):
        auths.setdefault(_key(key), _auth(settings.registries[place].user, others[place]))
    return Secret(json.dumps({"auths": {name: {"auth": auth} for name, auth in auths.items()}}, indent=2).encode())


def passwords_in(config: bytes) -> dict[str, bytes]:
    """Return the passwords in Docker's config.json by the places of their registries, in its order; those that can be
    read."""
    try:
        entries = json.loads(config)["auths"].items()
        found = {name: base64.b64decode(entry["auth"]).partition(b":")[2] for name, entry in entries}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {DOCKER_HUB if name == HUB_KEY else name: password for name, password in found.items() if password}


def _auth(user: str, password: Secret) -> str:
    return base64.b64encode(f"{user}:".encode() + password.reveal().removesuffix(b"\n")).decode()


def _hosts(places: Iterable[str]) -> dict[str, str]:
    """Return the place whose login is for all of a host: the host's own, else the only one below it."""
    below: dict[str, list[str]] = {}
    for place in places:
        below.setdefault(place.partition("/")[0], []).append(place)
    return {
        host: host if host in found else found[0] for host, found in below.items() if host in found or len(found) == 1
    }


def _key(place: str) -> str:
    return HUB_KEY if place == DOCKER_HUB else place
