"""The name of a unit: `web@1.service` is instance `1` of the template `web@.service`. Pure.

Source: DESCRIPTION and STRING ESCAPING in https://www.freedesktop.org/software/systemd/man/252/systemd.unit.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

TYPES = ("service", "socket", "device", "mount", "automount", "timer", "path", "target", "swap", "slice", "scope")

_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")


@dataclass(frozen=True, slots=True)
class UnitName:
    """`prefix`@`instance`.`type`. `instance` is None for a unit that is no template, empty for a template itself."""

    prefix: str
    instance: str | None
    type: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the name's parts: the instance is what stands between the first @ and the type's dot.

        Raises ValueError for a name without a prefix or a known type.
        """
        whole, _, kind = text.rpartition(".")
        prefix, at, instance = whole.partition("@")
        if kind not in TYPES or not prefix:
            raise ValueError("no unit's name: it must be NAME.service, NAME@.service or NAME@INSTANCE.service")
        return cls(prefix, instance if at else None, kind)

    def __str__(self) -> str:
        return f"{self.stem}.{self.type}"

    @property
    def stem(self) -> str:
        """The name without its type."""
        return self.prefix if self.instance is None else f"{self.prefix}@{self.instance}"

    @property
    def is_template(self) -> bool:
        return self.instance == ""

    @property
    def template(self) -> UnitName:
        """The template of an instance; a unit that is none is its own."""
        return self if self.instance is None else UnitName(self.prefix, "", self.type)


def unescape(text: str) -> str:
    r"""Return `text` with the escaping of unit names undone: `-` is a slash, `\xNN` a byte. Bad bytes become U+FFFD."""
    raw = text.replace("-", "/").encode("utf-8", "surrogateescape")
    return (
        _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), raw).decode("utf-8", "replace").replace("\0", "\ufffd")
    )
