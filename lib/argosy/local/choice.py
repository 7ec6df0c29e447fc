"""Pure. Which machines a local task is about: what is known and was begun in, a machine or a refusal out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from argosy.config.loading import Settings
from argosy.errors import ConfigError, Refused, nearest
from argosy.local.addressing import machine_numbered, machines_wanted
from argosy.local.makers.base import ABSENT, ENGINE, VAGRANT
from argosy.machine.install_progress import State
from argosy.model import Image, Machine

if TYPE_CHECKING:
    from argosy.local.record import Record


def machines_of_start(
    settings: Settings, count: int, known: Sequence[Machine], states: Mapping[str, str]
) -> list[Machine]:
    """Return the machines that `local.start count` means: those that exist when they are as many, whatever their
    numbers; else the first ones."""
    there = any(states.get(machine.name, ABSENT) != ABSENT for machine in known)
    return list(known) if there and len(known) == count else machines_wanted(settings, count)


def refuse_no_cluster(settings: Settings, known: Sequence[Machine]) -> None:
    if not known:
        raise Refused(f"cluster {settings.cluster!r} has no machines yet: `inv local.start` makes the first")


def refuse_half_done(record: Record) -> None:
    """Raise Refused while a machine is on its way in or out: that comes first."""
    if record.joining:
        raise Refused(
            f"{record.joining} is half-way in: `inv local.add-machine` completes that, `inv local.remove-machine` "
            f"takes it back"
        )
    if record.leaving:
        raise Refused(f"{record.leaving} is half-way out: `inv local.remove-machine` completes that")


def newcomer(settings: Settings, known: Sequence[Machine], record: Record) -> Machine:
    """Return the machine that `local.add-machine` makes: one that is half-way in, else the lowest number that is free.

    Raises Refused when there is no cluster, a machine is half-way out, or all numbers up to `local.max_machines` are
    taken.
    """
    refuse_no_cluster(settings, known)
    if record.leaving:
        refuse_half_done(record)
    most = settings.local.max_machines
    numbered = [machine_numbered(settings, number) for number in range(1, most + 1)]
    half_made = next((machine for machine in numbered if machine.name == record.joining), None)
    if half_made is not None:
        return half_made
    taken = {word for machine in known for word in (machine.name, machine.address)}
    for machine in numbered:
        if machine.name not in taken and machine.address not in taken:
            return machine
    raise Refused(
        f"{len(known)} machines: a local cluster has at most {most}; raise local.max_machines, or take one out with "
        f"`inv local.remove-machine`"
    )


def leaver(settings: Settings, known: Sequence[Machine], record: Record, word: str = "") -> Machine:
    """Return the machine that `local.remove-machine` takes out.

    `word`: its name or address. Without one: a machine that is half-way out, else one that is half-way in, else the
    last by number. Raises ConfigError for a machine that is none, Refused when another one is half-way out or there is
    none.
    """
    machines = {machine.name: machine for machine in [*_half_done(settings, record), *known]}
    if record.leaving and word not in ("", record.leaving, machines[record.leaving].address):
        refuse_half_done(record)
    if word:
        chosen = next((machine for machine in machines.values() if word in (machine.name, machine.address)), None)
        if chosen is None:
            names = ", ".join(sorted(machines)) or "none"
            raise ConfigError(f"no such machine{nearest(word, machines)}; known: {names}", word)
        return chosen
    if not machines:
        raise Refused(f"cluster {settings.cluster!r} has no machines: there is nothing to remove")
    return machines.get(record.leaving) or machines.get(record.joining) or known[-1]


def _half_done(settings: Settings, record: Record) -> list[Machine]:
    """Return the machines on their way in or out, which the inventory may not know yet, or no longer."""
    numbered = (machine_numbered(settings, number) for number in range(1, 100))
    return [machine for machine in numbered if machine.name in (record.joining, record.leaving)]


def maker(settings: Settings, recorded: str, states: Mapping[str, str], has_vagrant: bool) -> str:
    """Return what makes the machines, vagrant or engine: those that are there stay with what made them.

    `recorded`: what made them, empty when nothing was made yet. Raises ConfigError, Refused.
    """
    wanted = settings.local.maker
    if settings.local.provider != "docker":
        if wanted == ENGINE:
            raise ConfigError(
                f"the engine makes containers: not with provider {settings.local.provider}", "local.maker"
            )
        return VAGRANT
    if recorded and any(state != ABSENT for state in states.values()):
        if wanted not in ("auto", recorded):
            raise Refused(
                f"local.maker is {wanted}, but {recorded} made the machines that are there: set it to {recorded} or "
                f"auto, or `inv local.stop` first"
            )
        return recorded
    if wanted != "auto":
        return wanted
    return VAGRANT if has_vagrant else ENGINE


def names_of_failed(tried: Mapping[str, State]) -> list[str]:
    return [name for name, state in tried.items() if state.has_ended]


def wanted_release(tried: Mapping[str, State], remembered: Image, newest: Image) -> Image:
    """Return what failed machines must install: the newest release, as long as none serves with the one remembered."""
    return remembered if any(state.is_active for state in tried.values()) else newest
