"""The variables that a unit gives its commands: Environment= and EnvironmentFile=. Pure.

Sources: https://www.freedesktop.org/software/systemd/man/252/systemd.exec.html and replace_env() in
https://github.com/systemd/systemd/blob/v252/src/basic/env-util.c
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from argosy.fleet.remarks import Findings
from argosy.fleet.specifiers import UnknownSpecifier, expand
from argosy.fleet.symbols import symbol
from argosy.fleet.unit_file import Assignment, UnitFile
from argosy.fleet.words import BadWord, Escapes, split_words

_VARIABLE = re.compile(r"\$(?:\$|\{([^}]*)\})")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BY_SYSTEMD = ("HOME", "HOSTNAME", "INVOCATION_ID", "LOGNAME", "MACHINE_ID", "MAINPID", "PATH", "SHELL", "USER")
"""Set by systemd itself, or on its machines by whoever starts it."""


@dataclass(frozen=True, slots=True)
class Environment:
    """`values`: what Environment= says. `files`: the EnvironmentFile= lines. Those stand on the machine, so when there
    are any, or a script reads one itself (`more_there`), a variable that `values` lacks becomes a symbol."""

    values: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Assignment, ...] = ()
    more_there: bool = False

    def value(self, name: str) -> str:
        """Return the value of a variable; empty for one that nobody sets, as for systemd."""
        if name in self.values:
            return self.values[name]
        known_there = bool(self.files) or self.more_there or name in _BY_SYSTEMD
        return symbol(f"${{{name}}}") if known_there and _NAME.fullmatch(name) else ""

    def substituted(self, word: str) -> list[str]:
        """Return what becomes of one word of a command line."""
        if word.startswith("$") and word[1:2] not in ("{", "$"):
            return _split(self.value(word[1:]))
        return [_VARIABLE.sub(lambda match: "$" if match[1] is None else self.value(match[1]), word)]

    def with_values(self, values: Mapping[str, str]) -> Environment:
        return Environment({**self.values, **values}, self.files, self.more_there)

    def with_unknown(self) -> Environment:
        """Return these variables and others that a file on the machine sets."""
        return Environment(self.values, self.files, True)


def environment_of(unit: UnitFile, findings: Findings) -> Environment:
    """Return the variables of a service unit. What systemd would ignore is noted."""
    values: dict[str, str] = {}
    for entry in unit.values("Service", "Environment"):
        try:
            for word, begin in split_words(entry.value, Escapes.STRICT):
                _assign(values, word, entry.line_at(begin), unit, findings)
        except BadWord as error:
            findings.note(entry.line_at(error.position), f"Environment=: {error}, so the rest is ignored")
    return Environment(values, tuple(unit.values("Service", "EnvironmentFile")))


def _assign(values: dict[str, str], word: str, line: int, unit: UnitFile, findings: Findings) -> None:
    try:
        name, equals, value = expand(word, unit.name).partition("=")
    except UnknownSpecifier as error:
        findings.note(line, f"Environment=: {error}, so it is ignored")
        return
    if equals and _NAME.fullmatch(name):
        values[name] = value
    else:
        findings.note(line, f"Environment=: {word!r} is no NAME=VALUE, so it is ignored")


def _split(value: str) -> list[str]:
    """Return the words of a variable's value: quotes keep white space and go, an open one is closed by the end."""
    return [word for word, _ in split_words(value, Escapes.NONE)]
