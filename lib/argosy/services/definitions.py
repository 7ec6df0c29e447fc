"""The definitions of scheduled services, of the configuration or of a file of the same shape, and the image that each
runs: one of ours, by its digest in the registry, or another's as it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from argosy.commandline import settings_file
from argosy.config.loading import ScheduledSettings, Settings, load_scheduled
from argosy.config.references import parse_reference
from argosy.errors import ConfigError, Refused
from argosy.images.versions import parse_version
from argosy.model import Image
from argosy.registry import access
from argosy.services.plan import chosen
from argosy.services.record import ServiceImage

DIGEST_SHOWN = 19


@dataclass(frozen=True, slots=True)
class Definitions:
    """`every`: all that there are, the file's before the configuration's; `names`: those that are meant."""

    every: Mapping[str, ScheduledSettings]
    names: tuple[str, ...]


def read(settings: Settings, names: Sequence[str], *, file: str = "", everything: bool = False) -> Definitions:
    """Return the definitions that a command is about: those named, all with `everything`, and with a file and no names
    all of the file. Raises ConfigError."""
    own = _of_file(settings, file) if file else {}
    every = {**settings.scheduled, **own}
    wanted = list(own) if file and not names and not everything else list(names)
    return Definitions(every, tuple(chosen(wanted, every, everything, settings.services)))


def _of_file(settings: Settings, file: str) -> dict[str, ScheduledSettings]:
    try:
        text = Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", file) from None
    return load_scheduled(settings, settings_file.parse(text, file), file)


def resolve(settings: Settings, definition: ScheduledSettings, *, release: str = "", image: str = "") -> ServiceImage:
    """Return the image of a definition as machines pull it.

    `release`: the version that this release pins, instead of the newest in the registry. `image`: a version of ours
    (0.1.3), or a full reference, instead of the definition's. Raises ConfigError for what is neither, Refused when the
    registry does not have it.
    """
    if release and image:
        raise ConfigError("a release says which image: give one of the two", "image")
    version = parse_version(image)
    if image and version is None:
        return _foreign(image, "image")
    if not definition.own_image:
        if image or release:
            raise ConfigError(f"{definition.image} is not an image of ours: it has no such versions", "image")
        return _foreign(definition.image, "image")
    if release:
        return _ours(settings, _pinned(settings, release, definition.image))
    with access.opened(settings) as registry:
        if version:
            found = access.read_version(registry, settings, definition.image, version)
        else:
            found = access.newest_in(registry, settings, [definition.image]).get(definition.image)
    if found is None:
        what = f"{definition.image} {image}".strip()
        raise Refused(f"{settings.registry.address}: the registry does not have {what}: inv build.images registry.push")
    return _ours(settings, access.as_image(settings, found))


def registry_auth(settings: Settings, image: ServiceImage) -> str:
    """Return the value of X-Registry-Auth by which machines pull the image; empty where no login is for it."""
    login = access.login_for(settings, image.reference)
    return login.header() if login else ""


def _pinned(settings: Settings, release: str, name: str) -> Image:
    for image in access.pinned_images(settings, release):
        if image.name == name:
            return image
    raise Refused(f"release {release} does not pin {name}: it was made before a scheduled service ran it")


def _ours(settings: Settings, image: Image) -> ServiceImage:
    return ServiceImage(image.reference(settings.registry.address), image.version)


def _foreign(text: str, where: str) -> ServiceImage:
    """Return another's image; its version is its tag, or what can be read of its digest."""
    try:
        found = parse_reference(text)
    except ValueError as error:
        raise ConfigError(str(error), where) from None
    if not (found.tag or found.digest or "/" in text):
        raise ConfigError(f"{text!r} is neither a version, such as 0.1.3, nor a reference with its tag", where)
    return ServiceImage(text, found.tag or found.digest[:DIGEST_SHOWN] or "latest")
