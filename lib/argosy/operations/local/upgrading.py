"""`local.upgrade-machine`, `local.rolling-upgrade`: build and push what changed, then upgrade as any cluster does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from argosy import etcd, inventory
from argosy.config import Settings
from argosy.console import Report
from argosy.engine_connection import connect
from argosy.errors import Refused
from argosy.local_settings import localized
from argosy.model import Step
from argosy.operations import journal, registry
from argosy.operations.local import choice, host_phases, lock, preflight, preparing, record
from argosy.operations.local.procedure import Phase, run_phases
from argosy.operations.local.work import Work
from argosy.rollout_record import Rollout, State

BUILD: Sequence[Phase[Work]] = (host_phases.Registry(), host_phases.Images(), host_phases.Release())


def plan_build(settings: Settings, release: str = "") -> list[Step]:
    """Return what `prepared` would do before anything is upgraded. Changes nothing."""
    with _looked(settings, _silent) as work:
        if release or _in_progress(work.settings) is not None:
            return []
        return [step for phase in BUILD for step in phase.plan(work)]


@contextmanager
def prepared(settings: Settings, task: str, report: Report, release: str = "") -> Iterator[None]:
    """Hold the local cluster's lock, with what changed in a new release that is in the registry.

    Nothing is built for a `release` that is there already, or while a rollout is in progress: that one is gone on with,
    to its own release. Raises Refused when there is no cluster, or a machine is half-way in or out, and what the phases
    raise.
    """
    with lock.held(settings, task), _looked(settings, report) as work:
        begun = _in_progress(work.settings)
        if begun is not None:
            report("rollout", f"{begun.id} to release {begun.release} is {begun.state}: nothing new is built for it")
        elif not release:
            run_phases(BUILD, work, report, task)
        yield


def remember(settings: Settings, done: Rollout) -> None:
    """Remember the release that all machines have now: what `local.start` speaks of. Idempotent."""
    if done.whole and done.state is State.DONE and done.release.version:
        remember_release(settings, done.release.version)


def remember_release(settings: Settings, version: str) -> None:
    """The same, by the release's version. Raises Refused when the registry lacks it."""
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


def _in_progress(settings: Settings) -> Rollout | None:
    """Return the rollout that goes on or was stopped. Raises EtcdError."""
    with etcd.connect(settings, inventory.load(settings)) as store:
        return journal.read_rollout(store)


def _silent(_subject: str, _message: str) -> None:
    """Report nothing: a plan is all that is said."""
