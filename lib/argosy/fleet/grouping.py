"""Which unit files belong together: a template and its instances are one service. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from argosy.fleet.remarks import Remark
from argosy.fleet.symbols import INSTANCE, symbol
from argosy.fleet.unit_file import UnitFile, parse_unit
from argosy.fleet.unit_name import UnitName


@dataclass(frozen=True, slots=True)
class GivenUnit:
    """A unit file as it was given. `name`: the unit's, such as `web@1.service`; `text`: bytes that are no UTF-8 stand
    in it as lone surrogates."""

    path: str
    name: str
    text: str


@dataclass(slots=True)
class Group:
    """A unit, or a template with its instances. `unit`: the file that counts for all; `paths`: of all its files."""

    unit: UnitFile
    instances: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @property
    def is_template(self) -> bool:
        return self.unit.name.instance is not None

    @property
    def prefix(self) -> str:
        return self.unit.name.prefix

    @property
    def unit_names(self) -> list[str]:
        """The names of its units, as fleet's patterns see them; of a template without instances that of its first."""
        if not self.is_template:
            return [str(self.unit.name)]
        return [str(UnitName(self.prefix, it, "service")) for it in self.instances or ["1"]]

    def is_named(self, text: str) -> bool:
        """Whether `text`, which may hold `%i`, is the name of one of its units."""
        generic = str(UnitName(self.prefix, symbol(INSTANCE), "service"))
        return text in self.unit_names or (self.is_template and text in (generic, str(self.unit.name)))

    @property
    def numbered(self) -> bool:
        """Whether its instances are 1, 2, 3 ..., as Swarm counts them."""
        return sorted(self.instances) == sorted(map(str, range(1, len(self.instances) + 1)))


def group_units(given: Sequence[GivenUnit]) -> tuple[list[Group], list[Remark]]:
    """Return the groups in the order of their first files, and why files are in none."""
    groups: dict[UnitName, Group] = {}
    refused: list[Remark] = []
    seen: dict[str, str] = {}
    for entry in sorted(given, key=lambda it: not it.name.partition("@")[2].startswith(".")):
        try:
            name = UnitName.parse(entry.name)
        except ValueError as error:
            refused.append(Remark(entry.path, 0, str(error)))
            continue
        if name.type != "service":
            refused.append(Remark(entry.path, 0, f"Swarm runs services: there is nothing in it for a {name.type}"))
            continue
        if entry.name in seen:
            refused.append(Remark(entry.path, 0, f"{seen[entry.name]} is the unit {entry.name} already"))
            continue
        seen[entry.name] = entry.path
        difference = _join(groups, name, parse_unit(entry.text, name, entry.path))
        if difference:
            refused.append(difference)
    order = {entry.path: number for number, entry in enumerate(given)}
    for group in groups.values():
        group.paths.sort(key=order.__getitem__)
    return sorted(groups.values(), key=lambda group: order[group.paths[0]]), refused


def _join(groups: dict[UnitName, Group], name: UnitName, unit: UnitFile) -> Remark | None:
    """Add a unit to its group; return why it can't, when it is not like the others."""
    group = groups.get(name.template)
    if group is None:
        group = groups[name.template] = Group(unit)
    else:
        line = _differs(group.unit, unit)
        if line is not None:
            return Remark(unit.path, line, f"it differs from {group.unit.path}: the instances of a service are alike")
    group.paths.append(unit.path)
    if name.instance:
        group.instances.append(name.instance)
    return None


def _differs(unit: UnitFile, other: UnitFile) -> int | None:
    """Return the line of `other` from which on it says another thing, or None."""
    first = [(it.section, it.key, it.value) for it in unit.assignments]
    second = [(it.section, it.key, it.value) for it in other.assignments]
    if first == second:
        return None
    for index, entry in enumerate(other.assignments):
        if index >= len(first) or first[index] != second[index]:
            return entry.line
    return other.assignments[-1].line if other.assignments else 0
