"""How the scheduled services fit together: their names, the images that they name, who is kept apart from whom."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

from argosy.config.references import parse_reference
from argosy.config.scheduled import ScheduledSettings
from argosy.errors import ConfigError, nearest

MAX_SWARM_NAME = 63
GENERATION_DIGITS = 6
"""What of a Swarm service's name is left to the number of its generation."""
RESERVED_FIRST, RESERVED_SLOTS = 21000, 1000
"""UDP ports of the machines, four for each pair of services that are kept apart by them."""


def reserved_ports(name: str, other: str, generation: int) -> list[int]:
    """Return the ports of a machine that keep an instance of `name` off the machines where `other` runs.

    Swarm never places two instances on one machine that publish the same of its ports: the one hard rule that it has
    between services (https://github.com/moby/swarmkit, manager/scheduler, HostPortFilter). A generation has to be kept
    apart from every generation of the other service, but not from the next one of its own, which an update starts
    beside it. So a pair has four ports, one for each combination of an odd or even generation of either.
    """
    first, second = sorted((name, other))
    base = RESERVED_FIRST + 4 * _slot(first, second)
    own, its = (2, 1) if name == first else (1, 2)
    return [base + own * (generation % 2) + its * parity for parity in (0, 1)]


def _slot(*pair: str) -> int:
    return zlib.crc32(" ".join(sorted(pair)).encode()) % RESERVED_SLOTS


def kept_apart(scheduled: Mapping[str, ScheduledSettings]) -> dict[str, ScheduledSettings]:
    """Return the definitions with each conflict said by both."""
    found = {}
    for name, entry in scheduled.items():
        others = {*entry.conflicts, *(other for other, settings in scheduled.items() if name in settings.conflicts)}
        found[name] = entry.model_copy(update={"conflicts": sorted(others)}) if others else entry
    return found


def check_name(system: str, name: str, services: Iterable[str], where: str) -> None:
    """Refuse a scheduled service's name that is a system service's, or makes a name too long for Swarm."""
    if name in services:
        raise ConfigError(f"{name} is a system service already: choose another name", where)
    longest = MAX_SWARM_NAME - GENERATION_DIGITS - len(f"{system}--")
    if len(name) > longest:
        raise ConfigError(f"Swarm takes at most {longest} characters here, and it has {len(name)}", where)


def check_references(
    scheduled: dict[str, ScheduledSettings], pushed: dict[str, bool], discovery: bool, where: str = "scheduled"
) -> None:
    """Refuse definitions that name an image, or each other, in vain. `pushed`: whether machines get each image of
    ours."""
    for name, entry in scheduled.items():
        path = f"{where}.{name}"
        if entry.own_image and entry.image not in pushed:
            known = nearest(entry.image, pushed)
            raise ConfigError(
                f"no image {entry.image!r} under images:{known}; another's has a tag: {entry.image}:TAG",
                f"{path}.image",
            )
        if entry.own_image and not pushed[entry.image]:
            raise ConfigError(f"images.{entry.image}.push is false, so no machine can get it", f"{path}.image")
        if not entry.own_image:
            try:
                parse_reference(entry.image)
            except ValueError as error:
                raise ConfigError(str(error), f"{path}.image") from None
        if entry.discovery and not discovery:
            raise ConfigError("discovery.enabled is false: nobody would register it", f"{path}.discovery")
        for other in entry.conflicts:
            if other == name:
                raise ConfigError("for never two of itself on one machine say max_per_machine: 1", f"{path}.conflicts")
            if other not in scheduled:
                raise ConfigError(f"no scheduled service {other!r}{nearest(other, scheduled)}", f"{path}.conflicts")
    _check_conflicts(kept_apart(scheduled), where)


def _check_conflicts(scheduled: Mapping[str, ScheduledSettings], where: str) -> None:
    seen: dict[int, tuple[str, ...]] = {}
    for name, entry in scheduled.items():
        if entry.conflicts and entry.max_per_machine > 1:
            raise ConfigError(
                f"a conflict (with {', '.join(entry.conflicts)}) keeps it to one instance on each machine",
                f"{where}.{name}.max_per_machine",
            )
        for other in entry.conflicts:
            pair = tuple(sorted((name, other)))
            if seen.setdefault(_slot(*pair), pair) != pair:
                taken = " and ".join(seen[_slot(*pair)])
                raise ConfigError(
                    f"{other} and {name} would be kept apart by the same ports as {taken}: rename one of them",
                    f"{where}.{name}.conflicts",
                )
