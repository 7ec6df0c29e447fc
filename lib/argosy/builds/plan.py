"""Pure. Which images are built, in which order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter

from argosy.config.loading import ImageSettings
from argosy.errors import ConfigError, nearest
from argosy.images.versions import INSTALLER

DEFAULT_INSTALLER = ImageSettings(context="installer", needs={"PYTHON_IMAGE": "python"})


def build_order(images: Mapping[str, ImageSettings]) -> list[str]:
    """Return the images so that each comes after those it needs: first all that need none, in their own order.

    The installer isn't among them: it holds what the others' digests are. Raises ConfigError for a circle.
    """
    sorter = TopologicalSorter({name: list(images[name].needs.values()) for name in images if name != INSTALLER})
    try:
        sorter.prepare()
    except CycleError as error:
        circle = [str(name) for name in reversed(error.args[1])]
        path = f"images.{circle[0]}.needs"
        raise ConfigError(f"they need each other in a circle: {' -> '.join(circle)}", path) from None
    order: list[str] = []
    given = list(images)
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=given.index)
        order += ready
        sorter.done(*ready)
    return order


def select_images(images: Mapping[str, ImageSettings], only: Collection[str], have: Collection[str]) -> list[str]:
    """Return, in their order, the images `only` (when empty all but those on demand) and what they need of which no
    version is in `have`.

    Raises ConfigError for a name that isn't under images:.
    """
    order = build_order(images)
    for name in only:
        if name not in order:
            raise ConfigError(f"no image {name!r} under images:{nearest(name, dict.fromkeys(order))}", "only")
    wanted = set(only) or {name for name in order if not images[name].on_demand}
    for name in reversed(order):
        if name in wanted:
            wanted |= {need for need in images[name].needs.values() if not only or need not in have}
    return [name for name in order if name in wanted]


def installer_image(images: Mapping[str, ImageSettings]) -> ImageSettings:
    """Return how the installer is built: images.installer, or the one that Argosy brings along."""
    if INSTALLER in images:
        return images[INSTALLER]
    built = {name for name, image in images.items() if not image.on_demand}
    needs = {argument: name for argument, name in DEFAULT_INSTALLER.needs.items() if name in built}
    return DEFAULT_INSTALLER.model_copy(update={"needs": needs})
