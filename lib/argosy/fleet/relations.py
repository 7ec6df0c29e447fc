"""What one unit says of another: Conflicts, links, MachineOf, order. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from argosy.fleet.draft import Draft, Link
from argosy.fleet.glob import matching
from argosy.fleet.options import Options
from argosy.fleet.reading import ReadUnit
from argosy.fleet.sidekicks import related
from argosy.fleet.symbols import INSTANCE, UNESCAPED_INSTANCE, replaced, shown

ORDER = ("Requires", "Requisite", "BindsTo", "BindTo", "PartOf", "Wants", "After", "Before")
_OF_THE_MACHINE = re.compile(r"(.*docker|etcd|flannel|fleet|network|systemd-).*|.*\.(target|socket|mount|path|slice)")
"""Units that a machine has by itself: nothing is said of them."""


@dataclass(slots=True)
class Translated:
    """A container unit as it becomes a service. `unit_names`: of the unit and its sidekicks, as patterns see them."""

    name: str
    read: ReadUnit
    options: Options
    draft: Draft
    sidekicks: Sequence[ReadUnit] = ()

    @property
    def unit_names(self) -> list[str]:
        return [name for read in (self.read, *self.sidekicks) for name in read.group.unit_names]

    @property
    def refused(self) -> bool:
        return bool(self.read.findings.refusals)

    def is_named(self, unit: str) -> bool:
        return any(read.group.is_named(unit) for read in (self.read, *self.sidekicks))


def relate(units: Sequence[Translated], domain: str) -> None:
    """Look up what each unit says of the others. Who names one that is refused by that may be refused himself, so this
    goes on until nobody is any more."""
    for unit in units:
        _beside(unit, units)
        _order(unit, units)
    refused = -1
    while refused != (refused := sum(unit.refused for unit in units)):
        for unit in units:
            for link in unit.draft.links:
                _check_link(unit, link, units)
    for unit in units:
        for link in unit.draft.links:
            _note_link(unit, link, units, domain)
        _apart(unit, units)


def _beside(unit: Translated, units: Sequence[Translated]) -> None:
    for said in unit.options.beside:
        other = _find(said.value, units)
        if other is unit:
            unit.read.findings.note(
                said.line, f"MachineOf={shown(said.value)} dropped: the agent of the same machine registers it"
            )
        else:
            unit.read.findings.refuse(
                said.line,
                f"MachineOf: Swarm places {shown(said.value)} by itself: let them find each other by discovery",
            )


def _order(unit: Translated, units: Sequence[Translated]) -> None:
    told: set[str] = set()
    for key in ORDER:
        for name, line in related(unit.read.group.unit, key):
            other = _find(name, units)
            if other is unit or name in told:
                continue
            told.add(name)
            if other is not None:
                unit.read.findings.note(
                    line,
                    f"{key}={shown(name)} dropped: Swarm has no order: the program tries until {other.name} answers",
                )
            elif not _OF_THE_MACHINE.fullmatch(name):
                unit.read.findings.note(line, f"{key}={shown(name)} dropped: it is not imported")


def _check_link(unit: Translated, link: Link, units: Sequence[Translated]) -> None:
    if _linked(link, units) is None:
        unit.read.findings.refuse(
            link.line,
            f"--link: {shown(link.container)} is not imported: register it, and let the program use its name",
        )


def _note_link(unit: Translated, link: Link, units: Sequence[Translated], domain: str) -> None:
    other = _linked(link, units)
    if other is None:
        return
    scheme = other.draft.settings.get("discovery.scheme")
    port = other.draft.settings.get("discovery.host_port")
    address = f"{other.name}.{domain}" + (f":{port}" if port else "")
    if scheme in ("http", "https", "http-and-https") or (scheme and port):
        how = f"let the program ask {address}"
    else:
        how = f"give {other.name} discovery (port, scheme, host_port), and let the program ask {address}:HOST_PORT"
    alias = shown(link.alias)
    unit.read.findings.note(
        link.line, f"--link dropped: {alias} is no name any more, and no {_variable(alias)}_PORT is set: {how}"
    )


def _apart(unit: Translated, units: Sequence[Translated]) -> None:
    """Add `max_per_machine` and `conflicts` for the patterns of Conflicts."""
    findings = unit.read.findings
    others: list[str] = []
    for said in unit.options.apart:
        pattern = replaced(said.value, {INSTANCE: "*", UNESCAPED_INSTANCE: "*"})
        try:
            found = [other for other in units if matching(pattern, other.unit_names)]
        except ValueError as error:
            findings.refuse(said.line, f"Conflicts: {error}")
            continue
        if not found:
            findings.note(said.line, f"Conflicts={shown(said.value)} dropped: no unit that is imported has such a name")
        for other in found:
            if other is unit:
                if unit.read.group.is_template:
                    unit.draft.set("max_per_machine", 1)
            elif other.refused:
                findings.note(
                    said.line, f"Conflicts={shown(said.value)}: {other.name} is refused, so nothing keeps them apart"
                )
            elif other.name not in others:
                others.append(other.name)
    if others and not unit.options.everywhere:
        unit.draft.set("conflicts", others)


def _linked(link: Link, units: Sequence[Translated]) -> Translated | None:
    return next(
        (it for it in units if it.draft.container == link.container and link.container and not it.refused), None
    )


def _find(name: str, units: Sequence[Translated]) -> Translated | None:
    return next((it for it in units if it.is_named(name)), None)


def _variable(alias: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", alias.upper())
