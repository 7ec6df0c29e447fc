"""Pure. fleet's unit files as definitions of scheduled services. Arbitrary text raises nothing.

1. Files that are instances of one template are one service.
2. Each is read: the container that it runs, the keys that it writes (`reading`).
3. Those that only write keys are the registration of another.
4. Each container becomes a definition (`docker_run`, `lifecycle`, `discovery`).
5. What one says of another is looked up: conflicts, links, order (`placement`).
6. The definition is checked as any other. Whoever has a refusal is left out; the others are imported all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal

from pydantic import ValidationError

from argosy.config.scheduled import ScheduledSettings
from argosy.config.scheduled_rules import check_name
from argosy.fleet.discovery import Registration, find_registration, registers, translate_endpoints
from argosy.fleet.docker_run import translate_container
from argosy.fleet.lifecycle import note_other_keys, translate_lifecycle
from argosy.fleet.placement import find_main, read_options, relate
from argosy.fleet.reading import BEFORE, RELOAD, Draft, Known, read_unit
from argosy.fleet.unit_file import Remark, UnitFile, parse_unit
from argosy.fleet.words import UnitName, shown, without_symbols


@dataclass(frozen=True, slots=True)
class Outcome:
    """`became`: what is `part of` a service is its registration. `service`: the definition's name; empty for what was
    refused. `draft`: of what was refused, its definition as far as it goes, by its name; empty without a container."""

    path: str
    became: Literal["service", "part of", "refused"]
    service: str = ""
    notes: Sequence[Remark] = ()
    refusals: Sequence[Remark] = ()
    draft: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Imported:
    """`services`: the definitions, as they stand under `scheduled:`; `outcomes`: one for each file, in their order."""

    services: Mapping[str, Mapping[str, Any]]
    outcomes: Sequence[Outcome]

    @property
    def refused(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.became == "refused"]


def import_units(texts: Mapping[str, str], known: Known) -> Imported:
    """Return the definitions that the units become, and what became of each file.

    `texts`: by the files' paths; bytes that are not UTF-8 stand in them as lone surrogates.
    """
    files = [parse_unit(text, path) for path, text in texts.items()]
    drafts = _grouped(files)
    for draft in drafts:
        read_unit(draft)
        read_options(draft, known.machines)
    mains = [draft for draft in drafts if draft.container]
    for draft in (draft for draft in drafts if not draft.container):
        _join(draft, mains)
    names: dict[str, str] = {}
    for draft in mains:
        _translate(draft, names, known)
    relate(mains, known.domain)
    services = {draft.name: definition for draft in mains if (definition := _checked(draft))}
    owners = {file: draft for draft in drafts for file in draft.files}
    return Imported(services, [_outcome(file, owners.get(file)) for file in files])


def _grouped(files: Sequence[UnitFile]) -> list[Draft]:
    """Return a draft for each unit, a template with its instances being one. What is not like the others of its group
    is refused."""
    drafts: dict[UnitName, Draft] = {}
    for file in (file for file in files if file.name.type == "service"):
        draft = drafts.setdefault(file.name.of(""), Draft(file))
        if same := next((unit_file.path for unit_file in draft.files if unit_file.name == file.name), ""):
            file.refuse(0, f"{same} is the unit {file.name} already")
        else:
            draft.files.append(file)
    for draft in drafts.values():
        unit = draft.unit = next((file for file in draft.files if file.name.instance == ""), draft.unit)
        for file in draft.files:
            pairs = zip_longest(unit.assignments, file.assignments)
            different = [own.line if own else 0 for theirs, own in pairs if theirs != own]
            if different:
                file.refuse(different[0], f"it differs from {unit.path}: the instances of a service are alike")
        draft.files = [file for file in draft.files if not file.refusals]
    return list(drafts.values())


def _join(draft: Draft, mains: Sequence[Draft]) -> None:
    """Bring a unit without a container to the one that it registers, or refuse it."""
    unit, line = draft.unit, registers(draft)
    main = find_main(draft, mains)
    if not line and draft.unclear:
        return
    if not line:
        unit.refuse(0, "it neither runs a container by `docker run` nor registers one: there is nothing to schedule")
    elif main is None:
        unit.refuse(line, "it registers a unit that is not imported: give both files together")
    else:
        main.sidekicks.append(draft)
        draft.main = main
        for other in draft.others:
            unit.note(
                other.line, f"{other.key}: {shown(other.words[0].text)!r} is not run any more: the agent registers"
            )


def _translate(draft: Draft, names: dict[str, str], known: Known) -> None:
    unit, container = draft.unit, draft.container
    if container is None:
        return
    note_other_keys(unit)
    for other in draft.others:
        words = repr(" ".join(shown(word.text) for word in other.words)[:60])
        if other.key == RELOAD:
            unit.note(other.line, f"{RELOAD}: {words} dropped: an update starts new instances instead")
        else:
            hook = ", or what it does for the machine into hooks.prepare_machine" if other.key == BEFORE else ""
            unit.refuse(other.line, f"{other.key}: {words} has no place in a definition: bring it into the image{hook}")
    registration = find_registration(draft)
    draft.name = _name(draft, registration, names, known)
    translate_container(draft, container)
    translate_lifecycle(draft)
    _count(draft)
    translate_endpoints(draft, registration, known)
    if draft.dropped:
        what = ", ".join(sorted(draft.dropped))
        unit.note(min(draft.dropped.values()), f"{what} dropped: Swarm pulls, names, stops and removes by itself")


def _name(draft: Draft, registration: Registration | None, names: dict[str, str], known: Known) -> str:
    """Return the definition's name: that of the registration, by which it is reached, else the unit's. `names`: those
    that are taken, and by which unit."""
    unit, prefix = draft.unit, draft.unit.name.prefix
    wanted = (without_symbols(registration.name) if registration else "") or prefix
    wanted = prefix if _as_name(wanted) in names else wanted
    name = _as_name(wanted)
    if name in known.services:
        unit.note(0, f"the service is named {name}-service: {name} is a system service already")
        name = wanted = f"{name}-service"
    if not name:
        unit.refuse(0, f"{wanted!r} makes no name for a service: lower-case letters, digits and dashes")
    elif names.setdefault(name, unit.path) != unit.path:
        unit.refuse(0, f"{names[name]} is the service {name} already: rename one of the units")
    with unit.errors(0, "its name"):
        check_name(known.system, name, known.services, "")
    if name != wanted:
        unit.note(0, f"the service is named {name}, by which it is reached: {wanted} has characters no name has")
    elif name not in (prefix, f"{prefix}-service"):
        unit.note(0, f"the service is named {name}, as it is registered")
    if name in known.scheduled:
        unit.note(0, f"{name} is a scheduled service already: compare the two")
    return name


def _as_name(text: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", text.lower())[:63].strip("-")


def _count(draft: Draft) -> None:
    """Add `replicas` of a template."""
    instances = sorted(draft.instances)
    if draft.unit.name.instance is None or "global" in draft.settings:
        return
    draft.settings["replicas"] = len(instances) or 1
    if not instances:
        draft.unit.note(0, "no file says how many instances there are: replicas does")
    elif instances != sorted(str(number) for number in range(1, len(instances) + 1)):
        draft.unit.note(0, f"its instances are numbered from 1 on, not named {', '.join(instances[:5])}")


def _checked(draft: Draft) -> dict[str, Any] | None:
    """Return the definition, checked as Argosy checks any; None when it is refused."""
    definition = draft.definition()
    if not draft.unit.refusals:
        try:
            ScheduledSettings.model_validate(definition)
        except ValidationError as error:
            for wrong in error.errors(include_url=False, include_input=False, include_context=False):
                path = ".".join(map(str, wrong["loc"]))
                draft.unit.refuse(0, f"{path}: {wrong['msg'].removeprefix('Value error, ')}".removeprefix(": "))
    return None if draft.unit.refusals else definition


def _outcome(file: UnitFile, draft: Draft | None) -> Outcome:
    """Return what became of a file. The remarks of a draft stand at the one that counts for all of its files."""
    unit = draft.unit if draft else file
    main = draft and (draft.main or draft)
    if draft and draft.main and draft.main.unit.refusals:
        unit.refuse(0, f"it registers {draft.main.unit.name}, which is refused")
    notes, refusals = (sorted(unit.notes), sorted(unit.refusals)) if file is unit else ([], [])
    if unit.refusals or not main:
        said = refusals or [Remark(file.path, 0, f"{unit.path} is refused")]
        own = {draft.name or unit.name.prefix: draft.definition()} if draft and draft.container and refusals else {}
        return Outcome(file.path, "refused", "", notes, said, own)
    return Outcome(file.path, "service" if main is draft else "part of", main.name, notes)
