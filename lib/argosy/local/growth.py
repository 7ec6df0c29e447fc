"""`local.add-machine` and `local.remove-machine`: what they do to the cluster is cluster.add-machine's and
cluster.remove-machine's own; what they do to the host beside that is here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from argosy import inventory
from argosy.config.loading import Settings
from argosy.errors import Refused
from argosy.local import balancer, choice, machine_phases, preflight, preparing, record, stop
from argosy.local.growth_phases import (
    SAFE,
    Destroy,
    Enlist,
    Follow,
    Gate,
    Growth,
    Join,
    Leave,
    MachineImage,
    Make,
    NoteJoining,
    NoteLeaving,
    Risks,
    Settled,
    Wake,
)
from argosy.local.makers.base import ABSENT
from argosy.local.procedure import Phase, Timing, run_phases
from argosy.model import Machine, Step
from argosy.report import Report, silent

ADD, REMOVE = "local.add-machine", "local.remove-machine"
ADDING: Sequence[Phase[Growth]] = (
    NoteJoining(),
    MachineImage(),
    Wake(),
    Enlist(),
    Make(),
    machine_phases.Ssh(),
    Join(),
    Follow(),
    Gate(),
    Settled(),
)
REMOVING: Sequence[Phase[Growth]] = (NoteLeaving(), Leave(), Follow(), Destroy(), Settled(), Gate())


@dataclass(frozen=True, slots=True)
class Changed:
    """`machine`: the one that came or went; `machines`: all that there are now; `timings`: of each phase, in order."""

    machine: Machine
    machines: Sequence[Machine]
    balancer: str
    timings: Sequence[Timing]

    def lines(self, outcome: str) -> list[str]:
        """Return what a person wants to know in the end. `outcome`: what became of the machine."""
        count, seconds = len(self.machines), sum(timing.seconds for timing in self.timings)
        return [
            *(f"{machine.name}  {machine.address}" for machine in self.machines),
            f"balancer  {self.balancer}",
            f"{self.machine.name} is {outcome}: {count} healthy machine{'s' * (count != 1)}, {seconds:.1f} s",
        ]


@dataclass(frozen=True, slots=True)
class LeavingMachine:
    """The machine that leaves. `last`: the cluster ends with it."""

    machine: Machine
    last: bool


def plan_add(settings: Settings) -> list[Step]:
    """Return what `add` would do. Raises what its preflight raises; changes nothing."""
    with _joining(settings, silent) as work:
        return [step for phase in ADDING for step in phase.plan(work)]


def add(settings: Settings, report: Report) -> Changed:
    """Make one more machine, which joins the cluster, installs what it runs, and serves.

    A machine that a killed run left half-way in is completed, instead of one more made. Raises Refused before anything
    is changed: no cluster, no number left, a machine that is gone, a host that can't carry one more; later what the
    phases raise.
    """
    with _joining(settings, report, ADD) as work:
        timings = run_phases(ADDING, work, report, ADD)
        return Changed(work.changing, work.machines, balancer.address(work.settings), timings)


def choose_leaver(settings: Settings, word: str = "") -> LeavingMachine:
    """Return the machine that `remove` would take out, and whether it is the last. Raises ConfigError, Refused."""
    preflight.refuse_other_provider(settings)
    known = inventory.load(settings)
    machine = choice.leaver(settings, known, record.load(settings), word)
    return LeavingMachine(machine, last=not _rest(known, machine))


def plan_remove(settings: Settings, leaver: LeavingMachine, risks: Risks = SAFE) -> list[Step]:
    """Return what `remove` would do. Raises what cluster.remove-machine refuses; changes nothing."""
    if leaver.last:
        return stop.plan_stop(settings, everything=False)
    with _leaving(settings, leaver, silent, risks) as work:
        return [step for phase in REMOVING for step in phase.plan(work)]


def remove(settings: Settings, leaver: LeavingMachine, report: Report, risks: Risks = SAFE) -> Changed:
    """Take the machine out of the cluster, destroy it with its disk, and forget it; with the last the cluster ends.

    Killed at any moment, the same call resumes. Raises Refused and QuorumAtRisk, with the arithmetic, before anything
    is changed, unless `risks` allows it; later what the phases raise.
    """
    if leaver.last:
        stop.stop(settings, report)
        return Changed(leaver.machine, (), balancer.address(settings), ())
    task = f"{REMOVE} {leaver.machine.name}"
    with _leaving(settings, leaver, report, risks, task) as work:
        timings = run_phases(REMOVING, work, report, task)
        return Changed(leaver.machine, work.machines, balancer.address(work.settings), timings)


@contextmanager
def _joining(settings: Settings, report: Report, task: str = "") -> Iterator[Growth]:
    """Observe, refuse what can't be, and yield what the phases work with."""
    with preparing.opened(settings, task) as (here, client):
        known = inventory.load(here)
        new = choice.newcomer(here, known, record.load(here))
        work = preparing.look(here, client, [*_rest(known, new), new], report)
        preparing.choose_maker(work, needed=True)
        work.machines = sorted(work.machines, key=lambda machine: machine.name)
        gone = [machine for machine in work.absent if machine.name != new.name]
        if gone:
            raise Refused(
                f"{', '.join(machine.name for machine in gone)}: gone with the etcd member on its disk: "
                f"`inv local.remove-machine {gone[0].name}` first"
            )
        preflight.refuse_unfit_host(here, work.facts, work.absent)
        preparing.complete(work)
        yield Growth(**vars(work), changing=new, resumed=work.record.joining == new.name)


@contextmanager
def _leaving(
    settings: Settings, leaver: LeavingMachine, report: Report, risks: Risks, task: str = ""
) -> Iterator[Growth]:
    with preparing.opened(settings, task) as (here, client):
        rest = _rest(inventory.load(here), leaver.machine)
        work = preparing.look(here, client, [*rest, leaver.machine], report)
        preparing.choose_maker(work, needed=True)
        work.machines = rest
        if all(work.states[machine.name] == ABSENT for machine in rest):
            raise Refused(f"no other machine is there: `inv local.stop` ends the cluster with {leaver.machine.name}")
        preparing.complete(work)
        name = leaver.machine.name
        resumed = name in (work.record.leaving, work.record.joining)
        yield Growth(**vars(work), changing=leaver.machine, resumed=resumed, risks=risks)


def _rest(known: Sequence[Machine], gone: Machine) -> list[Machine]:
    return [machine for machine in known if machine.name != gone.name]
