"""The rollouts of a real cluster: its machines, its etcd and its registry behind the driver's seams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from argosy import maintenance
from argosy.config import Settings
from argosy.console import Report
from argosy.errors import ConfigError
from argosy.events import Said
from argosy.model import Step
from argosy.operations import registry
from argosy.operations.clock import Clock, SystemClock
from argosy.operations.cluster_lock import Who, held
from argosy.operations.journal import read_rollout
from argosy.operations.membership.observing import Work, opened
from argosy.operations.rollout import upgrading
from argosy.operations.rollout.looking import Looking
from argosy.operations.rollout.machines import RemoteMachines
from argosy.operations.rollout.seams import Events, Operator
from argosy.operations.rollout.upgrading import Wish
from argosy.rollout_plan import parse_batch, plan_lines
from argosy.rollout_record import Options, Release, Rollout
from argosy.rollout_record import Step as RolloutStep

ROLLING, SINGLE = "cluster.rolling-upgrade", "cluster.upgrade-machine"


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says; what it leaves out (empty, None) the configuration does."""

    release: str = ""
    batch: str = ""
    canary: bool = False
    soak_seconds: float | None = None
    rollback: bool = False


def wish(settings: Settings, flags: Flags, machine: str = "") -> Wish:
    """Return what is wished. Raises ConfigError for a bad flag, and RegistryError, Refused for the release."""
    rules = settings.rollout
    soak = rules.soak_seconds if flags.soak_seconds is None else flags.soak_seconds
    if soak < 0:
        raise ConfigError("it can't be less than nothing", "soak")
    options = Options(flags.batch or rules.batch, flags.canary or rules.canary, soak, flags.rollback)
    parse_batch(options.batch, 1)
    return Wish(machine, release_of(settings, flags.release) if flags.release else None, options)


def plan(settings: Settings, existing: str, wished: Wish, events: Events) -> list[Step]:
    """Return what `upgrade` would do, after the same look at all machines. Changes nothing and takes no lock."""
    clock = SystemClock()
    with opened(settings, existing, _report(events, clock)) as work:
        looks = Looking(settings, work.hosts, work.store, events, clock, lambda version: release_of(settings, version))
        present = read_rollout(work.store)
        by = str(Who.here())
        decision = upgrading.decide(_named(wished, work), present, looks, lambda: release_of(settings), by, clock.now())
    return plan_lines(decision.rollout)


def upgrade(settings: Settings, existing: str, wished: Wish, events: Events, task: str = ROLLING) -> Rollout:
    """Bring the wished release to the machines of the cluster of `existing`. See `upgrading.upgrade`."""
    with _operating(settings, existing, events, task) as (work, operator):
        return upgrading.upgrade(_named(wished, work), operator)


def plan_abort(settings: Settings, existing: str) -> list[Step]:
    """Return what `abort` would do. Raises Refused when there is no rollout."""
    with opened(settings, existing, lambda _subject, _message: None) as work:
        rollout = upgrading.unfinished(work.store)
    undrained = [*rollout.drained_only, *rollout.at(RolloutStep.UNDRAINING)]
    return [
        *(Step(name, "put back into service") for name in undrained),
        Step("cluster", f"give up rollout {rollout.id}"),
    ]


def abort(settings: Settings, existing: str, events: Events) -> Rollout:
    """Give up the rollout in progress. See `upgrading.abort`."""
    with _operating(settings, existing, events, f"{ROLLING} --abort") as (_, operator):
        return upgrading.abort(operator)


def release_of(settings: Settings, version: str = "") -> Release:
    """Return a release as the registry has it, the newest without a version. Raises Refused when it has none such."""
    image = registry.current_release(settings, version)
    return Release(image.version, image.reference(settings.registry.address))


def images_of(settings: Settings, release: Release) -> list[str]:
    """Return the references of all images that a release needs, its own among them."""
    pinned = registry.pinned_images(settings, release.version)
    return [release.image, *(image.reference(settings.registry.address) for image in pinned)]


def closed_reason(windows: Sequence[str], now: datetime) -> str:
    """Return why no batch may begin now; empty when one may."""
    parsed = [maintenance.parse_window(text) for text in windows]
    if maintenance.is_open(parsed, now):
        return ""
    opening = maintenance.next_opening(parsed, now)
    return f"no maintenance window is open (rollout.windows); the next opens at {opening:%Y-%m-%d %H:%M} UTC"


@contextmanager
def _operating(settings: Settings, existing: str, events: Events, task: str) -> Iterator[tuple[Work, Operator]]:
    clock = SystemClock()
    report = _report(events, clock)
    ttl = settings.rollout.lock_ttl_seconds
    with (
        opened(settings, existing, report) as work,
        held(work.store, task, ttl_seconds=ttl, report=report, clock=clock) as lock,
    ):
        machines = RemoteMachines(
            settings,
            work.hosts,
            work.store,
            lock,
            events,
            clock,
            lambda version: release_of(settings, version),
            lambda release: images_of(settings, release),
        )
        lock.on_lost(machines.cancel)
        operator = Operator(
            store=work.store,
            lock=lock,
            machines=machines,
            events=events,
            clock=clock,
            newest=lambda: release_of(settings),
            closed=lambda now: closed_reason(settings.rollout.windows, now),
            max_parallel=settings.ssh.max_parallel,
        )
        yield work, operator


def _report(events: Events, clock: Clock) -> Report:
    return lambda subject, message: events(Said(at=clock.now(), machine=subject, message=message))


def _named(wished: Wish, work: Work) -> Wish:
    """Return the wish with the machine by its name, which may have been given by its address."""
    names = {it.address: it.name for it in work.seen.machines}
    return replace(wished, machine=names.get(wished.machine, wished.machine))
