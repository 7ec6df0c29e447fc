"""The rollouts of a real cluster: its machines, its etcd and its registry behind the interfaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, partial

from argosy.builds import stored
from argosy.clock import SystemClock
from argosy.cluster.events import CLUSTER, Events, reporting
from argosy.cluster.lock import Who
from argosy.cluster.release import Release
from argosy.config import windows as maintenance
from argosy.config.loading import Settings
from argosy.errors import ConfigError, Refused, RegistryError
from argosy.images.versions import INSTALLER, PinnedService
from argosy.membership.observing import Membership, opened
from argosy.model import Step
from argosy.registry import access
from argosy.report import Report, silent
from argosy.rollouts import upgrade as upgrading
from argosy.rollouts.interfaces import Operator
from argosy.rollouts.journal import OF_ROLLOUTS
from argosy.rollouts.machines import RemoteMachines
from argosy.rollouts.plan import down_lines, parse_batch, plan_lines
from argosy.rollouts.preflight import RemotePreflight
from argosy.rollouts.record import Options, Rollout, RolloutStep
from argosy.rollouts.upgrade import UpgradeRequest

ROLLING, SINGLE = "cluster.rolling-upgrade", "cluster.upgrade-machine"


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says; what it leaves out (empty, None) the configuration does."""

    release: str = ""
    batch: str = ""
    canary: bool = False
    soak_seconds: float | None = None
    rollback: bool = False


def request_of(settings: Settings, flags: Flags, machine: str = "") -> UpgradeRequest:
    """Return what is asked for. Raises ConfigError for a bad flag, and RegistryError, Refused for the release."""
    rules = settings.rollout
    soak = rules.soak_seconds if flags.soak_seconds is None else flags.soak_seconds
    if soak < 0:
        raise ConfigError("it can't be less than nothing", "soak")
    options = Options(flags.batch or rules.batch, flags.canary or rules.canary, soak, flags.rollback)
    parse_batch(options.batch, 1)
    return UpgradeRequest(machine, release_of(settings, flags.release) if flags.release else None, options)


def plan(settings: Settings, existing: str, request: UpgradeRequest, events: Events) -> list[Step]:
    """Return what `upgrade` would do, after the same look at all machines. Changes nothing and takes no lock."""
    report = reporting(events, SystemClock())
    with opened(settings, existing, report) as work:
        preflight = RemotePreflight(work, lambda version: release_of(settings, version))
        present = OF_ROLLOUTS.present(work.store)
        by = str(Who.here())
        decision = upgrading.decide(
            _named(request, work), present, preflight, lambda: release_of(settings), by, work.clock.now()
        )
        pinned = partial(pinned_of, settings)
        lines = [*plan_lines(decision.rollout), *down_lines(decision.rollout, cache(pinned))]
    _tell_unpushed(settings, request, decision.rollout, report)
    return lines


def upgrade(settings: Settings, existing: str, request: UpgradeRequest, events: Events, task: str = ROLLING) -> Rollout:
    """Bring the release to the machines of the cluster of `existing`. See `upgrading.upgrade`."""
    with _operating(settings, existing, events, task) as (work, operator):
        done = upgrading.upgrade(_named(request, work), operator)
        _tell_unpushed(settings, request, done, operator.report)
        return done


def plan_abort(settings: Settings, existing: str) -> list[Step]:
    """Return what `abort` would do. Raises Refused when there is no rollout."""
    with opened(settings, existing, silent) as work:
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
    image = access.current_release(settings, version)
    return Release(image.version, image.reference(settings.registry.address))


def pinned_of(settings: Settings, release: Release) -> Mapping[str, PinnedService] | None:
    """Return the services of a release that run on some machines only; None when its registry can't tell."""
    try:
        return access.pinned_services(settings, release.version)
    except (Refused, RegistryError):
        return None


def images_of(settings: Settings, release: Release) -> list[str]:
    """Return the references of all images that a release needs, its own among them."""
    pinned = access.pinned_images(settings, release.version)
    return [release.image, *(image.reference(settings.registry.address) for image in pinned)]


def closed_reason(windows: Sequence[str], now: datetime) -> str:
    """Return why no batch may begin now; empty when one may."""
    parsed = [maintenance.parse_window(text) for text in windows]
    if maintenance.is_open(parsed, now):
        return ""
    opening = maintenance.next_opening(parsed, now)
    return f"no maintenance window is open (rollout.windows); the next opens at {opening:%Y-%m-%d %H:%M} UTC"


@contextmanager
def _operating(settings: Settings, existing: str, events: Events, task: str) -> Iterator[tuple[Membership, Operator]]:
    report = reporting(events, SystemClock())
    with opened(settings, existing, report) as work, work.locked(task) as lock:
        machines = RemoteMachines(
            work,
            events,
            lambda version: release_of(settings, version),
            lambda release: images_of(settings, release),
        )
        lock.on_lost(machines.cancel)
        operator = Operator(
            work=work,
            machines=machines,
            events=events,
            newest=lambda: release_of(settings),
            closed=lambda now: closed_reason(settings.rollout.windows, now),
            max_parallel=settings.ssh.max_parallel,
        )
        yield work, operator


def _tell_unpushed(settings: Settings, request: UpgradeRequest, rollout: Rollout, report: Report) -> None:
    """Say of an upgrade to the newest release, with nothing to do, when a newer one was built and forgotten."""
    if request.release is None and not rollout.machines:
        forgotten = stored.unpushed(settings, INSTALLER, rollout.release.version)
        if forgotten:
            report(CLUSTER, forgotten)


def _named(request: UpgradeRequest, work: Membership) -> UpgradeRequest:
    """Return the request with the machine by its name, which may have been given by its address."""
    names = {machine.address: machine.name for machine in work.seen.machines}
    return replace(request, machine=names.get(request.machine, request.machine))
