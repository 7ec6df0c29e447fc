"""What is known of a service while its units are translated. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Published:
    """A port of the container: `outside`: of the machine, as it was written; empty where Docker chooses one."""

    outside: str
    inside: int
    protocol: str
    line: int


@dataclass(frozen=True, slots=True)
class Link:
    """`--link CONTAINER:ALIAS`."""

    container: str
    alias: str
    line: int


@dataclass(slots=True)
class Draft:
    """A definition in the making. `settings`: keys of ScheduledSettings, with dots for those of a section.

    `container`: the name that the unit gives it. `exposed`: ports that it names without publishing them;
    `publish_all`: the line that publishes them after all, with those of the image, or 0. `dropped`: options that are
    Swarm's own business.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    container: str = ""
    published: list[Published] = field(default_factory=list)
    exposed: list[int] = field(default_factory=list)
    publish_all: int = 0
    links: list[Link] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def set(self, path: str, value: Any) -> None:
        self.settings[path] = value

    def definition(self) -> dict[str, Any]:
        """Return the definition as it stands under `scheduled:`, keys in the order of ScheduledSettings."""
        found: dict[str, Any] = {}
        for path in sorted(self.settings, key=_position):
            section, _, key = path.rpartition(".")
            target = found
            for name in section.split(".") if section else ():
                target = target.setdefault(name, {})
            target[key] = self.settings[path]
        return found


_ORDER = (
    "image",
    "replicas",
    "global",
    "constraints",
    "max_per_machine",
    "conflicts",
    "memory_megabytes",
    "cpus",
    "reserve",
    "env",
    "entrypoint",
    "command",
    "volumes",
    "ports",
    "discovery",
    "check",
    "stop",
    "restart",
    "update",
)


def _position(path: str) -> int:
    return _ORDER.index(path.partition(".")[0])
