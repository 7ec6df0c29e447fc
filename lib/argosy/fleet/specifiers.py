"""systemd's specifiers: what `%i`, `%n`, `%H` stand for. Pure.

What the unit's name says is put in its place, and so is what is the same on every machine. What only the machine or the
instance knows becomes a symbol (`argosy.fleet.symbols`).
Source: SPECIFIERS in https://www.freedesktop.org/software/systemd/man/252/systemd.unit.html
"""

from __future__ import annotations

import re

from argosy.fleet.symbols import INSTANCE, UNESCAPED_INSTANCE, symbol
from argosy.fleet.unit_name import UnitName, unescape

_SPECIFIER = re.compile("%(.)", re.DOTALL)

SYSTEM = {
    "%": "%",
    "C": "/var/cache",
    "E": "/etc",
    "L": "/var/log",
    "S": "/var/lib",
    "T": "/tmp",  # noqa: S108 (named, not written to)
    "V": "/var/tmp",  # noqa: S108
    "g": "root",
    "G": "0",
    "h": "/root",
    "t": "/run",
    "u": "root",
    "U": "0",
}
"""The same wherever the system's own manager (not a user's) reads the unit."""

MACHINE = "aAbBdHlmMoqsvwWyY"
"""Known on the machine only: its name, its ID, its kernel..."""

FLEET = "nNpi"
"""Those that fleet itself replaced, in [X-Fleet]: https://github.com/coreos/fleet/blob/v1.0.0/job/job.go"""


class UnknownSpecifier(ValueError):
    pass


def expand(text: str, name: UnitName) -> str:
    """Return `text` with its specifiers replaced. Instances of a template share their translation, so there `%i` is a
    symbol, as in the template itself. Raises UnknownSpecifier for a `%` before another letter or digit; before
    anything else it stays."""
    return _SPECIFIER.sub(lambda match: _value(match[1], name), text)


def expand_fleet(text: str, name: UnitName) -> str:
    """Return a value of [X-Fleet] with the four specifiers replaced that fleet knew there."""
    return _SPECIFIER.sub(lambda match: _value(match[1], name) if match[1] in FLEET else match[0], text)


def _value(letter: str, name: UnitName) -> str:
    if letter in SYSTEM:
        return SYSTEM[letter]
    if letter in MACHINE:
        return symbol(f"%{letter}")
    instance = "" if name.instance is None else symbol(INSTANCE)
    stem = name.prefix if name.instance is None else f"{name.prefix}@{instance}"
    last = name.prefix.rpartition("-")[2]
    known = {
        "i": instance,
        "I": "" if name.instance is None else symbol(UNESCAPED_INSTANCE),
        "n": f"{stem}.{name.type}",
        "N": stem,
        "p": name.prefix,
        "P": unescape(name.prefix),
        "j": last,
        "J": unescape(last),
        "f": f"/{unescape(name.prefix)}" if name.instance is None else f"/{symbol(UNESCAPED_INSTANCE)}",
    }
    if letter not in known and letter.isascii() and letter.isalnum():
        raise UnknownSpecifier(f"%{letter} is no specifier of systemd; a percent sign is written %%")
    return known.get(letter, f"%{letter}")
