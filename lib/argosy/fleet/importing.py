"""fleet's unit files as definitions of scheduled services. Pure; arbitrary text raises nothing.

1. Files that are instances of one template are one service (`grouping`).
2. Each is read: the container that it runs, the keys that it writes (`reading`).
3. Those that only write keys are the registration of another (`sidekicks`).
4. Each container becomes a definition (`docker_run`, `lifecycle`, `options`, `endpoints`).
5. What one says of another is looked up: conflicts, links, order (`relations`).
6. The definition is checked as any other. Whoever has a refusal is left out, and the others go on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from argosy.errors import ConfigError
from argosy.fleet.actions import Action
from argosy.fleet.docker_run import translate_container
from argosy.fleet.draft import Draft
from argosy.fleet.endpoints import RouterPorts, translate_endpoints
from argosy.fleet.grouping import GivenUnit, group_units
from argosy.fleet.lifecycle import note_other_keys, translate_lifecycle
from argosy.fleet.options import Options, read_options
from argosy.fleet.outcomes import Became, Imported, Outcome
from argosy.fleet.reading import RELOAD, ReadUnit, read_unit
from argosy.fleet.registration import Registration, registrations
from argosy.fleet.relations import Translated, relate
from argosy.fleet.remarks import Findings, Remark
from argosy.fleet.sidekicks import main_of
from argosy.fleet.symbols import shown
from argosy.scheduled_rules import check_name
from argosy.scheduled_settings import ScheduledSettings


@dataclass(frozen=True, slots=True)
class Known:
    """What an import has to fit to. `services`: the system services' names; `machines`: each with its metadata."""

    system: str
    router: RouterPorts
    domain: str = "local"
    services: tuple[str, ...] = ()
    scheduled: tuple[str, ...] = ()
    machines: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(slots=True)
class _Unit:
    """A unit on its way: what it does, what [X-Fleet] says, and what it registers."""

    read: ReadUnit
    options: Options
    registers: list[Registration] = field(default_factory=list)
    sidekicks: list[_Unit] = field(default_factory=list)
    main: _Unit | None = None
    name: str = ""

    @property
    def refused(self) -> bool:
        return bool(self.read.findings.refusals)


def import_units(given: Sequence[GivenUnit], known: Known) -> Imported:
    """Return the definitions that the units become, and what became of each file."""
    groups, refused = group_units(given)
    units = [_read(read_unit(group), known) for group in groups]
    mains = [unit for unit in units if unit.read.container is not None]
    _find_mains([unit for unit in units if unit.read.container is None], mains)
    taken: dict[str, str] = {}
    translated = [_translated(unit, taken, known) for unit in mains]
    relate(translated, known.domain)
    services = {}
    for unit, entry in zip(mains, translated, strict=True):
        definition = _checked(unit, entry.draft)
        if not unit.refused:
            services[unit.name] = definition
    outcomes = {it.path: it for unit in units for it in _outcomes(unit)}
    for remark in refused:
        outcomes[remark.path] = Outcome(remark.path, Became.REFUSED, refusals=(remark,))
    return Imported(services, tuple(outcomes[it.path] for it in given))


def _read(read: ReadUnit, known: Known) -> _Unit:
    unit = _Unit(read, read_options(read.group.unit, known.machines, read.findings))
    unit.registers = registrations(read.written, read.findings)
    if read.container is not None:
        note_other_keys(read.group.unit, read.findings)
        for action in read.others:
            _other_work(action, read.findings)
    return unit


def _other_work(action: Action, findings: Findings) -> None:
    words = repr(" ".join(shown(word.text) for word in action.words)[:60])
    if action.key == RELOAD:
        findings.note(action.line, f"{RELOAD}: {words} dropped: an update starts new instances instead")
    else:
        findings.refuse(action.line, f"{action.key}: {words} does what no definition says: bring it into the image")


def _find_mains(others: list[_Unit], mains: list[_Unit]) -> None:
    """Bring each unit without a container to the one that it registers, or refuse it."""
    for unit in others:
        findings = unit.read.findings
        if not unit.registers:
            findings.refuse(
                0, "it runs no container by `docker run`, and it registers none: there is nothing to schedule"
            )
            continue
        found = main_of(unit.read, unit.options, [main.read for main in mains])
        if found is None:
            findings.refuse(
                unit.registers[0].line, "it registers a unit that is not imported: give both files together"
            )
            continue
        main = next(it for it in mains if it.read is found)
        main.sidekicks.append(unit)
        unit.main = main
        for action in unit.read.others:
            findings.note(
                action.line, f"{action.key}: {shown(action.words[0].text)!r} is not run any more: the agent registers"
            )


def _registration(unit: _Unit) -> tuple[Registration | None, _Unit]:
    """Return what is registered of a unit, and by which; others are refused where they are written."""
    found = [(entry, by) for by in (*unit.sidekicks, unit) for entry in by.registers]
    found.sort(key=lambda it: not it[0].name)
    if not found:
        return None, unit
    first, by = found[0]
    for entry, other in found[1:]:
        if entry.name and entry.name != first.name:
            other.read.findings.refuse(
                entry.line,
                f"a service has one name in discovery, here {shown(first.name)}: {shown(entry.name)} is another's",
            )
        elif not first.port:
            first.port, first.inside, first.line = entry.port, entry.inside, entry.line
        for key, value in entry.attributes.items():
            first.attributes.setdefault(key, value)
    return first, by


def _translated(unit: _Unit, taken: dict[str, str], known: Known) -> Translated:
    registration, by = _registration(unit)
    unit.name = _name(unit, registration, taken, known)
    read = unit.read
    draft = translate_container(read.container, read.environment, read.findings) if read.container else Draft()
    translate_lifecycle(read, draft)
    _instances(read, unit.options, draft)
    translate_endpoints(draft, registration, known.router, read.findings, by.read.findings)
    dropped = dict.fromkeys([*draft.dropped, *(f"docker {name}" for name in sorted(read.dropped))])
    if dropped and read.container:
        line = min([read.container.line, *read.dropped.values()])
        read.findings.note(line, f"{', '.join(dropped)} dropped: Swarm pulls, names, stops and removes by itself")
    return Translated(unit.name, read, unit.options, draft, [it.read for it in unit.sidekicks])


def _name(unit: _Unit, registration: Registration | None, taken: dict[str, str], known: Known) -> str:
    """Return the definition's name: that of the registration, by which it is reached, else the unit's."""
    findings = unit.read.findings
    prefix = unit.read.group.prefix
    wanted = shown(registration.name) if registration and registration.name else prefix
    if _as_name(wanted) in taken:
        wanted = prefix
    name = _as_name(wanted)
    if not name:
        findings.refuse(0, f"{wanted!r} makes no name for a service: lower-case letters, digits and dashes")
    elif name in taken:
        findings.refuse(0, f"{taken[name]} is the service {name} already: rename one of the units")
    else:
        taken[name] = findings.path
        try:
            check_name(known.system, name, known.services, "its name")
        except ConfigError as error:
            findings.refuse(0, str(error))
    if name != wanted:
        findings.note(0, f"the service is named {name}, by which it is reached: {wanted} has what no name has")
    elif name != prefix:
        findings.note(0, f"the service is named {name}, as it is registered")
    if name in known.scheduled:
        findings.note(0, f"{name} is a scheduled service already: compare the two")
    return name


def _as_name(text: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", text.lower())[:63].strip("-")


def _instances(read: ReadUnit, options: Options, draft: Draft) -> None:
    group, findings = read.group, read.findings
    if options.constraints:
        draft.set("constraints", options.constraints)
    if options.everywhere:
        draft.set("global", True)
    elif group.is_template and group.instances:
        draft.set("replicas", len(group.instances))
        if not group.numbered:
            findings.note(
                0, f"its instances are numbered from 1 on, not named {', '.join(sorted(group.instances)[:5])}"
            )
    elif group.is_template:
        draft.set("replicas", 1)
        findings.note(0, "no file says how many instances there are: replicas does")


def _checked(unit: _Unit, draft: Draft) -> dict[str, object]:
    """Return the definition, checked as Argosy checks any."""
    definition = draft.definition()
    if not unit.refused:
        try:
            ScheduledSettings.model_validate(definition)
        except ValidationError as error:
            for it in error.errors(include_url=False, include_input=False, include_context=False):
                path = ".".join(map(str, it["loc"]))
                unit.read.findings.refuse(0, f"{path}: {it['msg'].removeprefix('Value error, ')}".removeprefix(": "))
    return definition


def _outcomes(unit: _Unit) -> list[Outcome]:
    """Return what became of each of a unit's files. The remarks stand at the one that counts for all."""
    main = unit.main or unit
    if unit.main and unit.main.refused:
        unit.read.findings.refuse(0, f"it registers {unit.main.read.group.unit.name}, which is refused")
    findings = unit.read.findings
    became = Became.REFUSED if unit.refused else Became.PART if unit.main else Became.SERVICE
    first = Outcome(
        findings.path,
        became,
        "" if unit.refused else main.name,
        tuple(sorted(findings.notes)),
        tuple(sorted(findings.refusals)),
    )
    others = [path for path in unit.read.group.paths if path != findings.path]
    as_first = (Remark(findings.path, 0, "it is refused"),) if unit.refused else ()
    return [first, *(Outcome(path, became, first.service, refusals=as_first) for path in others)]
