"""`local.upgrade-machine`, `local.rolling-upgrade`: build and push what changed, then upgrade as any cluster does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from argosy import etcd, inventory
from argosy.config import Settings
from argosy.console import Report
from argosy.engine_connection import connect
from argosy.errors import Refused
from argosy.events import Said
from argosy.local_settings import localized
from argosy.model import Step
from argosy.operations import journal, registry
from argosy.operations.clock import SystemClock
from argosy.operations.local import choice, host_phases, lock, patience, preflight, preparing, record
from argosy.operations.local.procedure import Phase, run_phases
from argosy.operations.local.work import Work
from argosy.operations.rollout import running
from argosy.operations.rollout.running import Flags
from argosy.operations.rollout.seams import Events
from argosy.operations.rollout.upgrading import Wish
from argosy.rollout_record import Rollout, State

BUILD: Sequence[Phase[Work]] = (host_phases.Registry(), host_phases.Images(), host_phases.Release())


@dataclass(frozen=True)
class Upgrade:
    """An upgrade whose release is in the registry. `machine`: only this one; `resumed`: a rollout was in progress."""

    work: Work
    flags: Flags
    task: str
    machine: str
    resumed: bool

    def plan(self, events: Events) -> list[Step]:
        """Return what `run` would do. Raises what the cluster's preflight raises; changes nothing."""
        return running.plan(self.work.settings, self._existing, self._wish(), events)

    def run(self, events: Events) -> Rollout:
        """Bring the release to the machines, and return what was done. Raises what `running.upgrade` does."""
        settings = self.work.settings

        def act() -> Rollout:
            return running.upgrade(settings, self._existing, self._wish(), events, self.task)

        def tell(subject: str, message: str) -> None:
            events(Said(at=SystemClock().now(), message=f"{subject}: {message}"))

        done = patience.once_free(settings, tell, act) if self.resumed else act()
        if done.whole and done.state is State.DONE:
            remember_release(settings, done.release.version)
        return done

    @property
    def _existing(self) -> str:
        return self.work.machines[0].address

    def _wish(self) -> Wish:
        return running.wish(self.work.settings, self.flags, self.machine)


def plan(settings: Settings, flags: Flags, task: str, events: Events, machine: str = "") -> list[Step]:
    """Return what `prepared` and `Upgrade.run` would do. Changes nothing.

    What is not built yet has no version: shown is the way to the newest release that there is.
    """
    with _looked(settings, _silent) as work:
        begun = _in_progress(work)
        steps = [step for phase in build_phases(flags, begun) for step in phase.plan(work)]
        return steps + Upgrade(work, flags, task, machine, begun is not None).plan(events)


@contextmanager
def prepared(settings: Settings, flags: Flags, task: str, report: Report, machine: str = "") -> Iterator[Upgrade]:
    """Hold the local cluster's lock, build and push what changed, and give the upgrade to the new release.

    Nothing is built for a release that is named, or while a rollout is in progress: that one is gone on with, to its
    own release. Raises Refused when there is no cluster, or a machine is half-way in or out, and what the phases raise.
    """
    with lock.held(settings, task), _looked(settings, report) as work:
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
        record.save(settings, replace(known, release=registry.current_release(localized(settings), version)))


@contextmanager
def _looked(settings: Settings, report: Report) -> Iterator[Work]:
    preflight.refuse_other_provider(settings)
    settings = localized(settings)
    machines = inventory.load(settings)
    if not machines:
        raise Refused(f"cluster {settings.cluster!r} has no machines yet: `inv local.start` makes the first")
    with connect() as client:
        work = preparing.look(settings, client, machines, report)
        choice.refuse_half_done(work.record)
        preparing.complete(work)
        yield work


def build_phases(flags: Flags, begun: Rollout | None) -> Sequence[Phase[Work]]:
    """Return what makes the release: nothing when there is one already that is meant."""
    return () if flags.release or begun else BUILD


def _in_progress(work: Work) -> Rollout | None:
    """Return the rollout that goes on or was stopped. Raises EtcdError."""
    with etcd.connect(work.settings, work.machines) as store:
        return journal.read_rollout(store)


def _silent(_subject: str, _message: str) -> None:
    """Report nothing: a plan is all that is said."""
