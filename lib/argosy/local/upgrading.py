"""`local.upgrade-machine`, `local.rolling-upgrade`: build and push what changed, then upgrade as any cluster does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from argosy import etcd, inventory
from argosy.clock import SystemClock
from argosy.cluster.change import State
from argosy.cluster.events import Events, Said
from argosy.config.loading import Settings
from argosy.local import choice, host_phases, lock, preparing, record
from argosy.local.procedure import Phase, run_phases
from argosy.local.settings import localized
from argosy.local.work import LocalWork
from argosy.model import Step
from argosy.registry import access
from argosy.report import Report, silent
from argosy.rollouts import run as running
from argosy.rollouts.journal import OF_ROLLOUTS
from argosy.rollouts.record import Rollout
from argosy.rollouts.run import Flags
from argosy.rollouts.upgrade import UpgradeRequest

BUILD: Sequence[Phase[LocalWork]] = (host_phases.Registry(), host_phases.Images(), host_phases.Release())


@dataclass(frozen=True)
class Upgrade:
    """An upgrade whose release is in the registry. `machine`: only this one; `resumed`: a rollout was in progress."""

    work: LocalWork
    flags: Flags
    task: str
    machine: str
    resumed: bool

    def plan(self, events: Events) -> list[Step]:
        """Return what `run` would do. Raises what the cluster's preflight raises; changes nothing."""
        return running.plan(self.work.settings, self._existing, self._request(), events)

    def run(self, events: Events) -> Rollout:
        """Bring the release to the machines, and return what was done. Raises what `running.upgrade` does."""
        settings = self.work.settings

        def act() -> Rollout:
            return running.upgrade(settings, self._existing, self._request(), events, self.task)

        def tell(subject: str, message: str) -> None:
            events(Said(at=SystemClock().now(), message=f"{subject}: {message}"))

        done = lock.retry_when_unlocked(settings, tell, act) if self.resumed else act()
        if done.whole and done.state is State.DONE:
            remember_release(settings, done.release.version)
        return done

    @property
    def _existing(self) -> str:
        return self.work.machines[0].address

    def _request(self) -> UpgradeRequest:
        return running.request_of(self.work.settings, self.flags, self.machine)


def plan(settings: Settings, flags: Flags, task: str, events: Events, machine: str = "") -> list[Step]:
    """Return what `prepared` and `Upgrade.run` would do. Changes nothing.

    What is not built yet has no version: shown is the way to the newest release that there is.
    """
    with _looked(settings, silent) as work:
        begun = _in_progress(work)
        steps = [step for phase in build_phases(flags, begun) for step in phase.plan(work)]
        return steps + Upgrade(work, flags, task, machine, begun is not None).plan(events)


@contextmanager
def prepared(settings: Settings, flags: Flags, task: str, report: Report, machine: str = "") -> Iterator[Upgrade]:
    """Hold the local cluster's lock, build and push what changed, and give the upgrade to the new release.

    Nothing is built for a release that is named, or while a rollout is in progress: that one is resumed, to its
    own release. Raises Refused when there is no cluster, or a machine is half-way in or out, and what the phases raise.
    """
    with _looked(settings, report, task) as work:
        begun = _in_progress(work)
        if begun is not None:
            report("rollout", f"{begun.id} to release {begun.release} is {begun.state}: nothing new is built for it")
        run_phases(build_phases(flags, begun), work, report, task)
        yield Upgrade(work, flags, task, machine, begun is not None)


def remember_release(settings: Settings, version: str) -> None:
    """Remember the release that all machines have now: what `local.start` speaks of. Idempotent.

    Raises Refused when the registry lacks it.
    """
    known = record.load(settings)
    if known.release is None or known.release.version != version:
        record.save(settings, replace(known, release=access.current_release(localized(settings), version)))


@contextmanager
def _looked(settings: Settings, report: Report, task: str = "") -> Iterator[LocalWork]:
    with preparing.opened(settings, task) as (here, client):
        machines = inventory.load(here)
        choice.refuse_no_cluster(here, machines)
        work = preparing.look(here, client, machines, report)
        choice.refuse_half_done(work.record)
        preparing.complete(work)
        yield work


def build_phases(flags: Flags, begun: Rollout | None) -> Sequence[Phase[LocalWork]]:
    """Return what makes the release: nothing when there is one already that is meant."""
    return () if flags.release or begun else BUILD


def _in_progress(work: LocalWork) -> Rollout | None:
    """Return the rollout that is in progress or was stopped. Raises EtcdError."""
    with etcd.connect(work.settings, work.machines) as store:
        return OF_ROLLOUTS.present(store)
