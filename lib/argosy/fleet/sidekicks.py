"""Which unit registers which: a sidekick runs no container, writes keys of etcd, and is bound to another unit. Pure.

It is known by what it does, not by its name: MachineOf=, BindsTo=, PartOf= or Requires= say whom it follows. Only where
none of them does, its name may (`web-discovery@` follows `web@`).
"""

from __future__ import annotations

from collections.abc import Sequence

from argosy.fleet.grouping import Group
from argosy.fleet.options import Options
from argosy.fleet.reading import ReadUnit
from argosy.fleet.specifiers import UnknownSpecifier, expand
from argosy.fleet.unit_file import UnitFile

BINDING = (("BindsTo", "BindTo"), ("PartOf",), ("Requires", "Requisite"), ("After", "Wants"))
"""Keys of [Unit], from the one that binds most."""


def main_of(sidekick: ReadUnit, options: Options, mains: Sequence[ReadUnit]) -> ReadUnit | None:
    """Return the unit that `sidekick` registers; None when it is not among `mains`."""
    unit = sidekick.group.unit
    named = [[said.value for said in options.beside], *([name for name, _ in related(unit, *keys)] for keys in BINDING)]
    for names in named:
        for name in names:
            for main in mains:
                if main.group.is_named(name):
                    return main
    return _by_name(sidekick.group, mains)


def related(unit: UnitFile, *keys: str) -> list[tuple[str, int]]:
    """Return the units that keys of [Unit] name, and their lines. A specifier that is none leaves its unit out."""
    found: list[tuple[str, int]] = []
    for entry in unit.values("Unit", *keys):
        for word in entry.value.split():
            try:
                found.append((expand(word, unit.name), entry.line_at(entry.value.find(word))))
            except UnknownSpecifier:
                continue
    return found


def _by_name(group: Group, mains: Sequence[ReadUnit]) -> ReadUnit | None:
    fitting = [main for main in mains if group.prefix.startswith(tuple(f"{main.group.prefix}{mark}" for mark in "-_."))]
    return max(fitting, key=lambda main: len(main.group.prefix)) if fitting else None
