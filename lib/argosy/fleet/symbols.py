"""Parts of a word that only a machine, or an instance, knows: `%H`, `%i`, `${COREOS_PRIVATE_IPV4}`. Pure.

A symbol stands in a string as its own spelling between two NULs. No unit file can hold one there by itself: for
systemd a NUL ends the line, and an escape that would make one is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

NUL = "\0"
INSTANCE = "%i"
UNESCAPED_INSTANCE = "%I"
HOST = "%H"

_SYMBOL = re.compile(f"{NUL}([^{NUL}]*){NUL}")


def symbol(spelling: str) -> str:
    return f"{NUL}{spelling}{NUL}"


def symbols(text: str) -> list[str]:
    """Return the spellings of all symbols in `text`, in their order."""
    return _SYMBOL.findall(text)


def shown(text: str) -> str:
    """Return `text` as its author wrote it."""
    return text.replace(NUL, "")


def replaced(text: str, known: Mapping[str, str]) -> str:
    """Return `text` with those symbols replaced that `known` has; others stay."""
    return _SYMBOL.sub(lambda match: known.get(match[1], match[0]), text)
