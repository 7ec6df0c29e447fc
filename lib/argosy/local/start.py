"""`local.start`: from a host with a Docker engine to a healthy cluster. A second run changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from argosy import inventory
from argosy.config.loading import Settings
from argosy.local import (
    balancer,
    choice,
    host_phases,
    machine_phases,
    preflight,
    preparing,
    record,
    retry,
    upgrading,
)
from argosy.local.addressing import machines_wanted
from argosy.local.procedure import Phase, Timing, run_phases
from argosy.local.work import LocalWork
from argosy.model import Machine, Step
from argosy.report import Report, silent
from argosy.secrets.syncing import Agree, refuse_taking

DEFAULT_COUNT = 3

PHASES: Sequence[Phase[LocalWork]] = (
    host_phases.SaveRecord(),
    host_phases.Network(),
    host_phases.Secrets(),
    host_phases.Registry(),
    host_phases.Images(),
    host_phases.Dependencies(),
    host_phases.Release(),
    host_phases.Balancer(),
    machine_phases.CloudConfig(),
    machine_phases.Machines(),
    machine_phases.Ssh(),
    machine_phases.Retry(),
    machine_phases.Install(),
    machine_phases.Swarm(),
    machine_phases.Gate(),
    machine_phases.Services(),
)


@dataclass(frozen=True, slots=True)
class Started:
    """A healthy cluster. `release`: what the machines were made to install; `timings`: of each phase, in order."""

    machines: Sequence[Machine]
    balancer: str
    registry: str
    release: str
    newest_release: str
    timings: Sequence[Timing]

    @property
    def changed(self) -> bool:
        return any(timing.changed for timing in self.timings)

    @property
    def seconds(self) -> float:
        return sum(timing.seconds for timing in self.timings)

    def lines(self) -> list[str]:
        """Return what a person wants to know in the end."""
        count = len(self.machines)
        healthy = f"{count} {'machine is' if count == 1 else 'machines are'} healthy"
        newer = (
            f"release {self.newest_release} is in the registry, the machines stay with {self.release}: "
            f"`inv local.rolling-upgrade` changes that"
        )
        return [
            *(f"{machine.name}  {machine.address}" for machine in self.machines),
            f"registry  {self.registry}",
            f"balancer  {self.balancer}",
            *([newer] if self.newest_release != self.release else []),
            f"{healthy} with release {self.release}: {'' if self.changed else 'nothing changed, '}{self.seconds:.1f} s",
        ]


def plan_start(settings: Settings, count: int) -> list[Step]:
    """Return what `start` would do. Raises what its preflight raises; changes nothing."""
    with _prepared(settings, count, silent) as work:
        return [step for phase in PHASES for step in phase.plan(work)]


def start(settings: Settings, count: int, report: Report, agree: Agree = refuse_taking) -> Started:
    """Make the local cluster of `count` machines exist and be healthy.

    `settings`: as the configuration has them: where the cluster is on this host may be chosen here; `agree`: asked
    before secrets that machines hold are replaced or removed.

    Idempotent; after a kill in any phase the same call resumes. Raises Refused before anything is changed: a count
    that is not allowed or not the existing cluster's, an engine that can't carry machines, a network, port or disk
    that is taken; later what the phases raise.
    """
    with _prepared(settings, count, report, "local.start") as work:
        work.agree = agree
        timings = run_phases(PHASES, work, report, f"local.start {count}")
        for version in work.releases:
            # After a rollout that was not ours, as by cluster.rolling-upgrade.
            upgrading.remember_release(work.settings, version)
        release = record.load(settings).release or work.newest_release
        return Started(
            machines=work.machines,
            balancer=balancer.address(work.settings),
            registry=work.settings.registry.address,
            release=release.version,
            newest_release=work.newest_release.version,
            timings=timings,
        )


@contextmanager
def _prepared(settings: Settings, count: int, report: Report, task: str = "") -> Iterator[LocalWork]:
    """Observe, refuse what can't be, and yield what the phases work with."""
    machines_wanted(settings, count)
    with preparing.opened(settings, task) as (_, client):
        here = preparing.settled(settings, client, report, save=bool(task))
        machines = machines_wanted(here, count)
        known = inventory.load(here)
        work = preparing.look(here, client, [*known, *machines], report)
        choice.refuse_half_done(work.record)
        work.machines = choice.machines_of_start(here, count, known, work.states)
        preflight.refuse_other_count(work.machines, known, work.states)
        preparing.choose_maker(work, needed=bool(work.down))
        preflight.refuse_unfit_host(here, work.facts, work.absent)
        if work.absent and len(work.absent) < len(work.machines):
            preflight.refuse_lost_machines(work.absent, retry.tried(work))
        preparing.complete(work)
        yield work
