"""`local.add-machine` and `local.remove-machine`: what they do to the cluster is cluster.add-machine's and
cluster.remove-machine's own; what they do to the host beside that is here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from argosy import inventory
from argosy.config import Settings
from argosy.console import Report
from argosy.engine_connection import connect
from argosy.errors import Refused
from argosy.local_settings import localized
from argosy.model import Machine, Step
from argosy.operations.local import balancer, choice, lock, machine_phases, preflight, preparing, record, stop
from argosy.operations.local.growth_phases import (
    Destroy,
    Enlist,
    Follow,
    Gate,
    Join,
    Leave,
    MachineImage,
    Make,
    NoteJoining,
    NoteLeaving,
    Settled,
    Wake,
)
from argosy.operations.local.procedure import Phase, Timing, rows_of, run_phases
from argosy.operations.local.work import Work
from argosy.providers.base import ABSENT
from argosy.providers.vagrant import refuse_without_vagrant

ADD, REMOVE = "local.add-machine", "local.remove-machine"


@dataclass(frozen=True, slots=True)
class Changed:
    """`machine`: the one that came or went; `machines`: all that there are now; `timings`: of each phase, in order."""

    machine: Machine
    machines: Sequence[Machine]
    balancer: str
    timings: Sequence[Timing]

    def rows(self) -> list[tuple[str, str, str]]:
        """Return phase, seconds and what it did, for a table."""
        return rows_of(self.timings)

    def lines(self, outcome: str) -> list[str]:
        """Return what a person wants to know in the end. `outcome`: what became of the machine."""
        count, seconds = len(self.machines), sum(timing.seconds for timing in self.timings)
        return [
            *(f"{machine.name}  {machine.address}" for machine in self.machines),
            f"balancer  {self.balancer}",
            f"{self.machine.name} is {outcome}: {count} healthy machine{'s' * (count != 1)}, {seconds:.1f} s",
        ]


@dataclass(frozen=True, slots=True)
class Leaver:
    """The machine that shall go. `last`: the cluster goes with it."""

    machine: Machine
    last: bool


def plan_add(settings: Settings) -> list[Step]:
    """Return what `add` would do. Raises what its preflight raises; changes nothing."""
    with _joining(settings, _silent) as (work, new):
        return [step for phase in _add_phases(work, new) for step in phase.plan(work)]


def add(settings: Settings, report: Report) -> Changed:
    """Make one more machine, which joins the cluster, installs what it runs, and serves.

    A machine that a killed run left half-way in is completed, instead of one more made. Raises Refused before anything
    is changed: no cluster, no number left, a machine that is gone, a host that can't carry one more; later what the
    phases raise.
    """
    preflight.refuse_other_provider(settings)
    with lock.held(settings, ADD), _joining(settings, report) as (work, new):
        timings = run_phases(_add_phases(work, new), work, report, ADD)
        return Changed(new, work.machines, balancer.address(work.settings), timings)


def choose_leaver(settings: Settings, word: str = "") -> Leaver:
    """Return the machine that `remove` would take out, and whether it is the last. Raises ConfigError, Refused."""
    preflight.refuse_other_provider(settings)
    known = inventory.load(settings)
    machine = choice.leaver(settings, known, record.load(settings), word)
    return Leaver(machine, last=not _rest(known, machine))


def plan_remove(settings: Settings, leaver: Leaver, *, force: bool = False) -> list[Step]:
    """Return what `remove` would do. Raises what cluster.remove-machine refuses; changes nothing."""
    if leaver.last:
        return stop.plan_stop(settings, everything=False)
    with _leaving(settings, leaver, _silent) as work:
        return [step for phase in _remove_phases(work, leaver.machine, force) for step in phase.plan(work)]


def remove(settings: Settings, leaver: Leaver, report: Report, *, force: bool = False) -> Changed:
    """Take the machine out of the cluster, destroy it with its disk, and forget it; with the last the cluster ends.

    Killed at any moment, the same goes on. Raises Refused and QuorumAtRisk, with the arithmetic, before anything is
    changed, unless `force`; later what the phases raise.
    """
    if leaver.last:
        stop.stop(settings, report)
        return Changed(leaver.machine, (), balancer.address(settings), ())
    task = f"{REMOVE} {leaver.machine.name}"
    with lock.held(settings, task), _leaving(settings, leaver, report) as work:
        timings = run_phases(_remove_phases(work, leaver.machine, force), work, report, task)
        return Changed(leaver.machine, work.machines, balancer.address(work.settings), timings)


def _add_phases(work: Work, new: Machine) -> Sequence[Phase[Work]]:
    resumed = work.record.joining == new.name
    return (
        NoteJoining(new),
        MachineImage(),
        Wake(new),
        Enlist(new, resumed),
        Make(new),
        machine_phases.Ssh(),
        Join(new, resumed),
        Follow(),
        Gate(),
        Settled(new),
    )


def _remove_phases(work: Work, leaver: Machine, force: bool) -> Sequence[Phase[Work]]:
    resumed = leaver.name in (work.record.leaving, work.record.joining)
    return (
        NoteLeaving(leaver, force),
        Leave(leaver, force, resumed),
        Follow(),
        Destroy(leaver),
        Settled(leaver),
        Gate(),
    )


@contextmanager
def _joining(settings: Settings, report: Report) -> Iterator[tuple[Work, Machine]]:
    """Observe, refuse what can't be, and yield what the phases work with, and the newcomer."""
    preflight.refuse_other_provider(settings)
    settings = localized(settings)
    known = inventory.load(settings)
    new = choice.newcomer(settings, known, record.load(settings))
    refuse_without_vagrant()
    with connect() as client:
        work = preparing.look(settings, client, [*_rest(known, new), new], report)
        work.machines = sorted(work.machines, key=lambda machine: machine.name)
        gone = [machine for machine in work.absent if machine.name != new.name]
        if gone:
            raise Refused(
                f"{', '.join(machine.name for machine in gone)}: gone with the etcd member on its disk: "
                f"`inv local.remove-machine {gone[0].name}` first"
            )
        preflight.refuse_unfit_host(settings, work.facts, work.absent)
        preparing.complete(work)
        yield work, new


@contextmanager
def _leaving(settings: Settings, leaver: Leaver, report: Report) -> Iterator[Work]:
    settings = localized(settings)
    rest = _rest(inventory.load(settings), leaver.machine)
    refuse_without_vagrant()
    with connect() as client:
        work = preparing.look(settings, client, [*rest, leaver.machine], report)
        work.machines = rest
        if all(work.states[machine.name] == ABSENT for machine in rest):
            raise Refused(f"no other machine is there: `inv local.stop` ends the cluster with {leaver.machine.name}")
        preparing.complete(work)
        yield work


def _rest(known: Sequence[Machine], gone: Machine) -> list[Machine]:
    return [machine for machine in known if machine.name != gone.name]


def _silent(_subject: str, _message: str) -> None:
    """Report nothing: a plan is all that is said."""
