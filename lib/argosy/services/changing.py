"""Submit, start, stop, scale, destroy, revive: look, plan, and under the cluster's lock look, plan and do.

`plan` of each is what `--dry-run` prints; what is done is planned anew under the lock, from what is there then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from argosy.cluster.lock import Who
from argosy.config.loading import ScheduledSettings, Settings
from argosy.config.scheduled_rules import kept_apart
from argosy.discovery.rendering import conflicts
from argosy.errors import ArgosyError, ConfigError, Refused, Unhealthy
from argosy.report import Report
from argosy.services.actions import Create, Plan, Scale, WaitUntilServing
from argosy.services.applying import apply
from argosy.services.definitions import resolve
from argosy.services.plan import (
    Wanted,
    chosen,
    difference,
    of_every_machine,
    plan_destroy,
    plan_revive,
    plan_scale,
    plan_start,
    plan_stop,
    plan_submit,
)
from argosy.services.preflight import refuse_unready
from argosy.services.record import Generation
from argosy.services.report import ServicesReport
from argosy.services.spec import routing_of
from argosy.services.state import ServicesState
from argosy.services.work import ServicesCluster, opened

Planner = Callable[[ServicesState], Plan]


@dataclass(frozen=True, slots=True)
class Change:
    """What a task wants. `what`: for the audit trail, with {} for the service; `planners`: by service, in order."""

    task: str
    what: str
    planners: Mapping[str, Planner]


def wanted(
    work: ServicesCluster,
    definitions: Mapping[str, ScheduledSettings],
    names: Sequence[str],
    replicas: int | None = None,
    release: str = "",
) -> list[Wanted]:
    """Return what is to be submitted. `definitions`: all there are, for who is kept apart from whom."""
    known = kept_apart(definitions)
    found = []
    for name in names:
        image = resolve(work.settings, known[name], release=release)
        attributes = routing_of(work.settings, name, Generation(1, known[name], image)).attributes
        found.append(Wanted(name, known[name], image, replicas, attributes or {}))
    return found


def submit(work: ServicesCluster, services: Iterable[Wanted]) -> Change:
    claims = partial(conflicts, work.settings)
    plan = partial(plan_submit, now=work.clock.now(), by=str(Who.here()), conflicts=claims)
    return Change("service.submit", "submit {}", {service.name: partial(plan, wanted=service) for service in services})


def start(names: Sequence[str]) -> Change:
    return Change("service.start", "start {}", {name: partial(plan_start, name=name) for name in names})


def stop(names: Sequence[str]) -> Change:
    return Change("service.stop", "stop {}", {name: partial(plan_stop, name=name) for name in names})


def scale(name: str, count: int) -> Change:
    return Change("service.scale", f"scale {{}} to {count}", {name: partial(plan_scale, name=name, count=count)})


def destroy(names: Sequence[str]) -> Change:
    return Change("service.destroy", "destroy {}", {name: partial(plan_destroy, name=name) for name in names})


def revive(names: Sequence[str]) -> Change:
    return Change("service.revive", "revive {}", {name: partial(plan_revive, name=name) for name in names})


def named(names: Sequence[str]) -> list[str]:
    """Return the names, each once. Raises ConfigError when there are none."""
    if not names:
        raise ConfigError("which one? Give its name", "names")
    return list(dict.fromkeys(names))


def number(count: str) -> int:
    """Return the number of a word. Raises ConfigError for one that is none."""
    if not (count.isascii() and count.isdecimal()):
        raise ConfigError(f"{count!r} is no whole number", "count")
    return int(count)


def known(work: ServicesCluster, names: Sequence[str], *, everything: bool = False) -> list[str]:
    """Return the services that are meant, of those that were submitted; all of them with `everything`."""
    services = work.look().services
    records = {name: service for name, service in services.items() if service.record or service.problem}
    return chosen(names, records, everything, work.settings.services)


def scheduled(settings: Settings, name: str) -> str:
    """Return the name. Raises Refused for that of a service that runs on every machine."""
    if name in settings.services:
        raise Refused(f"{name}: {of_every_machine(name)}")
    return name


def outcome(plans: Sequence[Plan], found: ServicesReport) -> list[dict[str, Any]]:
    """Return what a change prints as JSON: each service as `service.list` tells it, and whether it was changed."""
    told = found.to_json([plan.name for plan in plans])
    return [{**entry, "changed": plan.changes} for entry, plan in zip(told, plans, strict=True)]


def plans(work: ServicesCluster, change: Change) -> list[Plan]:
    """Return what would be done now. Raises Refused for a service of which it can't be."""
    state = work.look()
    return [plan(state) for plan in change.planners.values()]


def make(work: ServicesCluster, change: Change) -> list[Plan]:
    """Do it, one service after the other, and return what was planned of each.

    All are planned before anything is done, so what is refused is refused with nothing changed. A service that does
    not get well does not keep the others from being done. Idempotent; killed at any point, the same command resumes.
    """
    done, failures = [], {}
    with work.locked(change.task):
        for plan in plans(work, change):
            _refuse_unready(work, plan)
        for name, planner in change.planners.items():
            plan = planner(work.look())
            for line in plan.said:
                work.report(name, line)
            try:
                _do(work, change, plan)
            except ArgosyError as error:
                if len(change.planners) == 1:
                    raise
                work.holding.check()
                work.report(name, str(error))
                failures[name] = error
            done.append(plan)
    if failures:
        raise Unhealthy(f"{len(failures)} of {len(change.planners)} services: {'; '.join(map(str, failures.values()))}")
    return done


def _refuse_unready(work: ServicesCluster, plan: Plan) -> None:
    """Refuse a plan that lets instances start where they can't run."""
    scaled = {action.replicas for action in plan.actions if isinstance(action, Scale)}
    record = next((action.record for action in plan.actions if isinstance(action, WaitUntilServing)), None)
    current = work.look(plan.name).of(plan.name).current if scaled and record else None
    grows = current is not None and any(count > (current.service.replicas or 0) for count in scaled)
    if record and (grows or any(isinstance(action, Create) for action in plan.actions)):
        refuse_unready(work, plan.name, record.current, record.replicas)


def _do(work: ServicesCluster, change: Change, plan: Plan) -> None:
    if not plan.changes:
        apply(work, plan)
        return
    with work.noted(change.what.format(plan.name)):
        apply(work, plan)


def submit_all(settings: Settings, report: Report) -> bool:
    """Submit every scheduled service of the configuration, wait until they serve, and return whether any was changed:
    the last step of making a cluster.

    Idempotent. One that runs with another definition is told of and stays as it is: to bring that is an update.
    """
    if not settings.scheduled:
        return False
    with opened(settings, report) as work:
        services = wanted(work, settings.scheduled, list(settings.scheduled))
        change = submit(work, _acceptable(work, services))
        return any(plan.changes for plan in make(work, change))


def _acceptable(work: ServicesCluster, services: Sequence[Wanted]) -> Iterator[Wanted]:
    state = work.look()
    for service in services:
        record = state.of(service.name).record
        reason = difference(record, service) if record else ""
        if reason:
            work.report(service.name, reason)
        else:
            yield service
