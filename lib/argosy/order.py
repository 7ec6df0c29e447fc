"""Pure. The order in which things that require each other start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from argosy.errors import ConfigError


def start_order(requires: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names so that each comes after those it requires; otherwise in the order that they were given.

    `requires`: name -> names that must run before it, each of them a key too.
    Raises ConfigError with the path `services.NAME.requires` when some require each other in a circle.
    """
    order: list[str] = []
    for name in requires:
        _place(name, requires, order, [])
    return order


def _place(name: str, requires: Mapping[str, Sequence[str]], order: list[str], path: list[str]) -> None:
    if name in order:
        return
    if name in path:
        circle = [*path[path.index(name) :], name]
        raise ConfigError(f"they require each other in a circle: {' -> '.join(circle)}", f"services.{name}.requires")
    for required in requires[name]:
        _place(required, requires, order, [*path, name])
    order.append(name)
