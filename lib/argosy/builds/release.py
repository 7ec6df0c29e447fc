"""Pure. The release: what the installer image holds under /release.

    release.json      the services in start order, the digest of each image, how the installer behaves
    units/X.service   one systemd unit for each service
    templates/        the system's own template resources: conf.d/*.toml and templates/ (docs/templates.md)

It names its system and its cluster, and a machine of another one refuses it. It names neither a registry nor its own
version: both come to a machine from its machine.env and release.env. So a release is the same bytes in every registry,
and building it again without a change makes no new version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from argosy.config.loading import CheckSettings, ServiceSettings, Settings
from argosy.errors import Refused
from argosy.images.versions import PinnedService
from argosy.model import Image
from argosy.order import start_order
from argosy.rendering.service_unit import marker, render_unit, unit_name
from argosy.schema import DEFAULT_SERVICE, SSL_SUPPORT

LOOPBACK = "127.0.0.1"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def render_release(
    settings: Settings, images: Mapping[str, Image], templates: Mapping[str, bytes] | None = None
) -> dict[str, bytes]:
    """Return the files of the release by their paths below /release.

    `images`: the image of each service, also of the scheduled ones, which machines have before Swarm places an instance
    (others are ignored), with the digest that the registry knows it by.
    `templates`: the files of the folder `templates:`, by their paths in it.
    Raises Refused when an image has no digest, ConfigError when services require each other in a circle.
    """
    files = {f"templates/{path}": content for path, content in sorted((templates or {}).items())}
    services: list[dict[str, Any]] = []
    wanted = {}
    for name in start_order({name: entry.requires for name, entry in settings.services.items()}):
        image = wanted[settings.services[name].image] = _pinned(images, name, settings.services[name].image)
        unit, revision = render_unit(settings, name, image)
        files[f"units/{unit_name(settings.system, name)}"] = unit.encode()
        services.append(_service(settings.system, name, settings.services[name], revision))
    for name, entry in settings.scheduled.items():
        if entry.own_image and entry.image not in wanted:
            wanted[entry.image] = _pinned(images, name, entry.image)
    document = {
        "system": settings.system,
        "cluster": settings.cluster,
        "marker": marker(settings.system),
        "pull_attempts": settings.install.pull_attempts,
        "deadline_seconds": settings.install.deadline_seconds,
        "keys": _keys(settings),
        "images": {
            name: {"repository": image.repository, "version": image.version, "digest": image.digest}
            for name, image in wanted.items()
        },
        "services": services,
    }
    return {"release.json": json.dumps(document, indent=2).encode() + b"\n", **files}


def pinned_services(document: Mapping[str, Any]) -> dict[str, PinnedService]:
    """Return the services of a release.json that run on some machines only."""
    return {
        service["name"]: PinnedService(
            tuple(service["machines"]), service["revision"], service["stop"]["grace_seconds"]
        )
        for service in document["services"]
        if "machines" in service
    }


def _keys(settings: Settings) -> dict[str, str]:
    """Return the keys that the first machine writes to etcd, beside /settings/ (argosy.schema)."""
    discovery = settings.discovery
    keys = {}
    if discovery.enabled and discovery.default_service:
        keys[DEFAULT_SERVICE] = discovery.default_service
    if discovery.enabled and discovery.ssl_support:
        keys[SSL_SUPPORT] = "true"
    return keys


def _pinned(images: Mapping[str, Image], service: str, name: str) -> Image:
    image = images.get(name)
    if image is None or not _DIGEST.fullmatch(image.digest):
        raise Refused(f"no version of image {name}, which {service} runs, is in the registry: inv registry.push")
    return image


def _service(system: str, name: str, entry: ServiceSettings, revision: str) -> dict[str, Any]:
    return {
        "name": name,
        "unit": unit_name(system, name),
        "image": entry.image,
        "revision": revision,
        **({"machines": entry.machines} if entry.machines else {}),
        "requires": entry.requires,
        "check": _check(entry, entry.check),
        "stop": {"signal": entry.stop.signal, "grace_seconds": entry.stop.grace_seconds},
        "console": entry.console,
        "shell": entry.shell,
    }


def _check(entry: ServiceSettings, check: CheckSettings | None) -> dict[str, Any]:
    """Return the check as the installer runs it. `address`: where its port is on the machine; empty means the
    container's own address, for a port that is not published."""
    if check is None:
        return {"kind": "none", "deadline_seconds": 60, "timeout_seconds": 5}
    limits = {"deadline_seconds": check.deadline_seconds, "timeout_seconds": check.timeout_seconds}
    if check.http:
        http = check.http
        where = {"address": _address(entry, http.port), "port": http.port, "path": http.path, "status": http.status}
        return {"kind": "http", **where, **limits}
    if check.tcp:
        return {"kind": "tcp", "address": _address(entry, check.tcp.port), "port": check.tcp.port, **limits}
    return {"kind": "command", "command": check.command, **limits}


def _address(entry: ServiceSettings, port: int) -> str:
    if entry.network == "host":
        return LOOPBACK
    for published in entry.ports:
        *bind, outside, _inside = published.partition("/")[0].split(":")
        if int(outside) == port:
            return LOOPBACK if not bind or bind[0] == "0.0.0.0" else bind[0]  # noqa: S104
    return ""
