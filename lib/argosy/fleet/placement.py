"""Pure. Where a unit runs, and beside what: `[X-Fleet]` in its old and new spellings, links, and the order of units.

Sources: https://github.com/coreos/fleet/blob/v1.0.0/Documentation/unit-files-and-scheduling.md, and where that is
silent job/job.go and unit/unit.go there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from argosy.config.scheduled import MACHINE, parse_constraint
from argosy.errors import nearest
from argosy.fleet.options import TABLES, Option
from argosy.fleet.reading import Draft, literal
from argosy.fleet.unit_file import UnitFile
from argosy.fleet.words import FLEET, INSTANCE, NUL, Word, expand, shown, symbol
from argosy.text import matching

SPELLINGS = {spelling: name for name, spellings in TABLES["fleet"].items() for spelling in spellings.split()}
BINDING = (("BindsTo", "BindTo"), ("PartOf",), ("Requires", "Requisite"), ("After", "Wants"))
"""Keys of [Unit] that say whom a sidekick follows, from the one that binds most."""
ORDER = ("Requires", "Requisite", "BindsTo", "BindTo", "PartOf", "Wants", "After", "Before")
_OF_THE_MACHINE = re.compile(r"(.*docker|etcd|flannel|fleet|network|systemd-).*|.*\.(target|socket|mount|path|slice)")
"""Units that a machine has by itself: nothing is said of them."""


def read_options(draft: Draft, machines: Mapping[str, Mapping[str, str]]) -> None:
    """Add what `[X-Fleet]` says. `machines`: the cluster's, each with its metadata, so that a MachineID that one of
    them has among its metadata becomes that machine."""
    unit, given = draft.unit, _values(draft.unit)
    if given["Global"] and given["Global"][-1].text.lower() in ("true", "yes", "1", "on", "t"):
        draft.settings["global"] = True
        for name in ("MachineOf", "MachineID"):
            for said in given[name]:
                unit.note(said.line, f"{name} dropped: fleet ignores it beside Global")
            given[name] = []
    for said in given["Replaces"]:
        unit.note(said.line, f"Replaces={shown(said.text)}: it keeps the two apart, as Conflicts does")
    draft.beside, draft.apart = given["MachineOf"], [*given["Conflicts"], *given["Replaces"]]
    constraints: dict[str, str] = {}
    for said in given["MachineMetadata"]:
        key, _, value = said.text.partition("=")
        if not key or not value or "=" in value:
            unit.note(said.line, f"MachineMetadata={shown(said.text)} dropped: fleet takes KEY=VALUE alone")
            continue
        with unit.errors(said.line, "MachineMetadata"):
            constraint = str(parse_constraint(literal(said)))
            if constraints.setdefault(key, constraint) != constraint:
                why = "a constraint has one value: give those machines a common key (machines: NAME: metadata)"
                raise ValueError(f"{constraints[key]} or {constraint}: {why}")
    for said in given["MachineID"][:1]:  # For fleet the first counts.
        named = [name for name, metadata in machines.items() if said.text in (name, *metadata.values())]
        if len(named) == 1:
            constraints[f"{MACHINE} {said.text}"] = f"{MACHINE}={named[0]}"
            unit.note(said.line, f"MachineID={said.text} is the machine {named[0]}")
        else:
            why = "write MachineMetadata, or put the ID among one's metadata (machines: NAME: metadata)"
            unit.note(said.line, f"MachineID dropped: no machine is known by the ID {shown(said.text)!r}: {why}")
    if constraints:
        draft.settings["constraints"] = list(constraints.values())


def _values(unit: UnitFile) -> dict[str, list[Word]]:
    """Return the values of each option under its new name. fleet knows no resetting by an empty value, and divides
    Conflicts alone at blanks."""
    found: dict[str, list[Word]] = {name: [] for name in SPELLINGS.values()}
    for entry in unit.assignments:
        if entry.section != "X-Fleet":
            continue
        name = SPELLINGS.get(entry.key)
        if name is None:
            unit.refuse(entry.line, f"fleet has no option {entry.key}{nearest(entry.key, SPELLINGS)}")
            continue
        values = _several(entry.value)
        if name == "Conflicts":
            values = [name for value in values for name in value.split()]
        found[name] += [expand(word, unit.name, only=FLEET) for word in entry.words(*values)]
    return found


def _several(value: str) -> list[str]:
    """Return the values of `"a=b" "c=d"`; anything else is one value, quotes and all. An escape means nothing."""
    if not (value.startswith('"') and value.endswith('"')):
        return [value]
    parts = value.split('"')
    parts[::2] = [part.replace(" ", NUL) for part in parts[::2]]
    return "".join(parts).split(NUL)


def find_main(sidekick: Draft, mains: Sequence[Draft]) -> Draft | None:
    """Return the unit that a sidekick registers; None when it is not among `mains`.

    It is known by what it does, not by its name: MachineOf=, BindsTo=, PartOf= or Requires= say whom it follows. Only
    where none of them does, its name may (`web-discovery@` follows `web@`).
    """
    unit = sidekick.unit
    for word in (*sidekick.beside, *(word for keys in BINDING for word in _related(unit, *keys))):
        if main := _find(word.text, mains):
            return main
    prefix = unit.name.prefix
    fitting = [main for main in mains if prefix.startswith(tuple(f"{main.unit.name.prefix}{mark}" for mark in "-_."))]
    return max(fitting, key=lambda draft: len(draft.unit.name.prefix), default=None)


def _related(unit: UnitFile, *keys: str) -> list[Word]:
    """Return the units that keys of [Unit] name."""
    found: list[Word] = []
    for entry in unit.values("Unit", *keys):
        for word in entry.words(*entry.value.split()):
            with unit.errors(word.line, f"{entry.key}= dropped", unit.note):
                found.append(expand(word, unit.name))
    return found


def _find(name: str, drafts: Sequence[Draft]) -> Draft | None:
    return next((draft for draft in drafts if draft.is_named(name)), None)


def relate(drafts: Sequence[Draft], domain: str) -> None:
    """Look up what each unit says of the others. Who names one that is refused by that may be refused himself, so this
    continues until nobody is any more."""
    for draft in drafts:
        for said in draft.beside:
            named = shown(said.text)
            if _find(said.text, drafts) is draft:
                draft.unit.note(said.line, f"MachineOf={named} dropped: the agent of the same machine registers it")
            else:
                why = f"let discovery find {named}, or give both one constraint (machine=NAME)"
                draft.unit.note(said.line, f"MachineOf dropped: Swarm places each service by itself: {why}")
        _order(draft, drafts)
    refused = -1
    while refused != (refused := sum(bool(draft.unit.refusals) for draft in drafts)):
        for draft in drafts:
            for link in draft.container.named("link") if draft.container else ():
                if _linked(link, drafts) is None:
                    named = shown(link.text.partition(":")[0])
                    draft.unit.refuse(link.line, f"--link: {named} is not imported: register it, and use its name")
    for draft in drafts:
        for link in draft.container.named("link") if draft.container else ():
            if other := _linked(link, drafts):
                draft.unit.note(link.line, f"--link dropped: {_instead(link, other, domain)}")
        _apart(draft, drafts)


def _order(draft: Draft, drafts: Sequence[Draft]) -> None:
    said = {word.text: (key, word) for key in reversed(ORDER) for word in reversed(_related(draft.unit, key))}
    for key, word in said.values():
        other = _find(word.text, drafts)
        if other is draft or (other is None and _OF_THE_MACHINE.fullmatch(word.text)):
            continue
        why = f"Swarm has no order: the program tries until {other.name} answers" if other else "it is not imported"
        draft.unit.note(word.line, f"{key}={shown(word.text)} dropped: {why}")


def _linked(link: Option, drafts: Sequence[Draft]) -> Draft | None:
    name = link.text.partition(":")[0].lstrip("/")
    named = (
        draft
        for draft in drafts
        if name and draft.container and draft.container.name == name and not draft.unit.refusals
    )
    return next(named, None)


def _instead(link: Option, other: Draft, domain: str) -> str:
    """Return what takes the place of a link to an imported container."""
    scheme, port = other.settings.get("discovery.scheme"), other.settings.get("discovery.host_port")
    container, _, alias = shown(link.text).partition(":")
    alias = alias or container.lstrip("/")
    variable = re.sub(r"[^A-Z0-9]", "_", alias.upper())
    how = f"let the program ask {other.name}.{domain}" + (f":{port}" if port else "")
    if not scheme or (scheme == "tcp" and not port):
        how = f"give {other.name} discovery (port, scheme, host_port), and {how}:HOST_PORT"
    return f"{alias} is no name any more, and no {variable}_PORT is set: {how}"


def _apart(draft: Draft, drafts: Sequence[Draft]) -> None:
    """Add `max_per_machine` and `conflicts` for the patterns of Conflicts."""
    unit = draft.unit
    others: dict[str, None] = {}
    for said in draft.apart:
        pattern, what = re.sub(f"{NUL}%i{NUL}", "*", said.text), f"Conflicts={shown(said.text)}"
        if unit.name.instance is not None and said.text == str(unit.name.of(symbol(INSTANCE))):
            unit.note(said.line, f"{what} dropped: for fleet no unit is in conflict with itself")
            continue
        with unit.errors(said.line, "Conflicts"):
            found = [draft for draft in drafts if matching(pattern, map(str, draft.unit_names))]
            if not found:
                unit.note(said.line, f"{what} dropped: no unit that is imported has such a name")
            for other in found:
                if other is not draft and other.unit.refusals:
                    unit.note(said.line, f"{what}: {other.name} is refused, so nothing keeps them apart")
                elif other is not draft:
                    others[other.name] = None
                elif unit.name.instance is not None and "global" not in draft.settings:
                    draft.settings["max_per_machine"] = 1
            if found and pattern != said.text:
                unit.note(said.line, f"{what}: instances have no names here, so it keeps all of them apart")
    if others:
        draft.settings["conflicts"] = list(others)
