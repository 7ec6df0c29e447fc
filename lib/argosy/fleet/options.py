"""The options of `[X-Fleet]`, in their old and new spellings: translated, or refused with the reason. Pure.

Sources: https://github.com/coreos/fleet/blob/v1.0.0/Documentation/unit-files-and-scheduling.md, and where that is
silent job/job.go and unit/unit.go there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from argosy.errors import nearest
from argosy.fleet.remarks import Findings
from argosy.fleet.specifiers import expand_fleet
from argosy.fleet.symbols import shown, symbols
from argosy.fleet.unit_file import UnitFile
from argosy.scheduled_settings import MACHINE, parse_constraint

SECTION = "X-Fleet"
SPELLINGS = {
    "MachineID": "MachineID",
    "X-ConditionMachineID": "MachineID",
    "MachineBootID": "MachineID",
    "X-ConditionMachineBootID": "MachineID",
    "MachineOf": "MachineOf",
    "X-ConditionMachineOf": "MachineOf",
    "MachineMetadata": "MachineMetadata",
    "X-ConditionMachineMetadata": "MachineMetadata",
    "Conflicts": "Conflicts",
    "X-Conflicts": "Conflicts",
    "Global": "Global",
    "Replaces": "Replaces",
}
TRUE = ("true", "yes", "1", "on", "t")


@dataclass(frozen=True, slots=True)
class Said:
    """One value of an option, and where it stands."""

    value: str
    line: int


@dataclass(slots=True)
class Options:
    """What `[X-Fleet]` says. `everywhere`: Global; `beside`: MachineOf; `apart`: patterns of Conflicts and Replaces."""

    everywhere: bool = False
    constraints: list[str] = field(default_factory=list)
    beside: list[Said] = field(default_factory=list)
    apart: list[Said] = field(default_factory=list)
    global_line: int = 0


def read_options(unit: UnitFile, machines: Mapping[str, Mapping[str, str]], findings: Findings) -> Options:
    """Return what `[X-Fleet]` of a unit says. `machines`: the cluster's, each with its metadata, so that a MachineID
    that one of them has among its metadata becomes that machine."""
    found = Options()
    given = _values(unit, findings)
    for said in given.get("Global", []):
        found.everywhere, found.global_line = said.value.lower() in TRUE, said.line
    found.beside = given.get("MachineOf", [])
    found.apart = given.get("Conflicts", [])
    for said in given.get("Replaces", []):
        findings.note(said.line, f"Replaces={shown(said.value)}: it keeps the two apart, as Conflicts does")
        found.apart = [*found.apart, said]
    if found.everywhere:
        for name in ("MachineOf", "MachineID", "Conflicts", "Replaces"):
            for said in given.pop(name, []):
                findings.note(said.line, f"{name} dropped: fleet ignores it beside Global")
        found.beside, found.apart = [], []
    found.constraints = [*_metadata(given.get("MachineMetadata", []), findings)]
    for said in given.get("MachineID", []):
        found.constraints += _machine(said, machines, findings)
    return found


def _values(unit: UnitFile, findings: Findings) -> dict[str, list[Said]]:
    """Return the values of each option under its new name. fleet knows no resetting by an empty value."""
    found: dict[str, list[Said]] = {}
    for entry in unit.assignments:
        if entry.section != SECTION:
            continue
        if entry.key not in SPELLINGS:
            findings.refuse(entry.line, f"fleet has no option {entry.key}{nearest(entry.key, SPELLINGS)}")
            continue
        for value in _several(entry.value):
            said = Said(expand_fleet(value, unit.name), entry.line_at(entry.value.find(value)))
            found.setdefault(SPELLINGS[entry.key], []).append(said)
    return found


def _several(value: str) -> Iterator[str]:
    """Yield the values of `"a=b" "c=d"`; anything else is one value, quotes and all. An escape means nothing."""
    if not (value.startswith('"') and value.endswith('"')):
        yield value
        return
    current, quoted = "", False
    for char in value:
        if char == '"':
            quoted = not quoted
        elif char == " " and not quoted:
            yield current
            current = ""
        else:
            current += char
    yield current


def _metadata(given: list[Said], findings: Findings) -> Iterator[str]:
    """Yield the constraints of MachineMetadata: fleet drops what is not KEY=VALUE; of several values of a key any will
    do."""
    wanted: dict[str, str] = {}
    for said in given:
        key, _, value = said.value.partition("=")
        if not key or not value or "=" in value:
            findings.note(said.line, f"MachineMetadata={shown(said.value)} dropped: fleet takes KEY=VALUE alone")
        elif key not in wanted:
            wanted[key] = value
            yield from _constraint(said, f"{key}={value}", "MachineMetadata", findings)
        elif wanted[key] != value:
            findings.refuse(
                said.line,
                f"MachineMetadata: {shown(key)} may be {shown(wanted[key])} or {shown(value)}, and a constraint is "
                f"one value: give those machines a key that they share (machines: NAME: metadata)",
            )


def _constraint(said: Said, text: str, option: str, findings: Findings) -> Iterator[str]:
    if symbols(text):
        findings.refuse(said.line, f"{option}: {shown(text)} differs between the instances, which share one definition")
        return
    try:
        yield str(parse_constraint(text))
    except ValueError as error:
        findings.refuse(said.line, f"{option}: {error}")


def _machine(said: Said, machines: Mapping[str, Mapping[str, str]], findings: Findings) -> Iterator[str]:
    named = [name for name, metadata in machines.items() if said.value in (name, *metadata.values())]
    if len(named) == 1:
        findings.note(said.line, f"MachineID={said.value} is the machine {named[0]}")
        yield from _constraint(said, f"{MACHINE}={named[0]}", "MachineID", findings)
        return
    findings.refuse(
        said.line,
        f"MachineID: no machine is known by the ID {shown(said.value)!r}: write MachineMetadata instead, or put the ID "
        f"among the metadata of one (machines: NAME: metadata)",
    )
