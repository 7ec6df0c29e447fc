"""Submit, start, stop, scale, destroy, revive: look, plan, and under the cluster's lock look, plan and do.

`plan` of each is what `--dry-run` prints; what is done is planned anew under the lock, from what is there then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from argosy.config import ScheduledSettings
from argosy.errors import ArgosyError, ConfigError, Unhealthy
from argosy.operations.cluster_lock import Who
from argosy.operations.discovery.rendering import conflicts
from argosy.operations.service.applying import apply
from argosy.operations.service.imaging import resolve
from argosy.operations.service.work import Work, audited, changing
from argosy.scheduled_actions import Plan
from argosy.scheduled_report import ServicesReport
from argosy.scheduled_rules import kept_apart
from argosy.scheduled_state import Fleet
from argosy.scheduling import (
    Wanted,
    chosen,
    plan_destroy,
    plan_revive,
    plan_scale,
    plan_start,
    plan_stop,
    plan_submit,
)

Planner = Callable[[Fleet], Plan]


@dataclass(frozen=True, slots=True)
class Change:
    """What a task wants. `what`: for the audit trail, with {} for the service; `planners`: by service, in order."""

    task: str
    what: str
    planners: Mapping[str, Planner]


def wanted(
    work: Work,
    definitions: Mapping[str, ScheduledSettings],
    names: Sequence[str],
    replicas: int | None = None,
    release: str = "",
) -> list[Wanted]:
    """Return what is to be submitted. `definitions`: all there are, for who is kept apart from whom."""
    known = kept_apart(definitions)
    return [Wanted(it, known[it], resolve(work.settings, known[it], release=release), replicas) for it in names]


def submit(
    work: Work,
    definitions: Mapping[str, ScheduledSettings],
    names: Sequence[str],
    replicas: int | None = None,
    release: str = "",
) -> Change:
    return submission(work, wanted(work, definitions, names, replicas, release))


def submission(work: Work, services: Iterable[Wanted]) -> Change:
    """Return the change that submits what `wanted` has returned, or a part of it."""
    by = str(Who.here())
    return Change("service.submit", "submit {}", {it.name: _submission(work, it, by) for it in services})


def _submission(work: Work, service: Wanted, by: str) -> Planner:
    claims = partial(conflicts, work.settings)
    return lambda fleet: plan_submit(fleet, service, work.clock.now(), by, claims)


def start(names: Sequence[str]) -> Change:
    return Change("service.start", "start {}", {it: _for(plan_start, it) for it in names})


def stop(names: Sequence[str]) -> Change:
    return Change("service.stop", "stop {}", {it: _for(plan_stop, it) for it in names})


def scale(name: str, count: int) -> Change:
    return Change("service.scale", f"scale {{}} to {count}", {name: lambda fleet: plan_scale(fleet, name, count)})


def destroy(names: Sequence[str]) -> Change:
    return Change("service.destroy", "destroy {}", {it: _for(plan_destroy, it) for it in names})


def revive(names: Sequence[str]) -> Change:
    return Change("service.revive", "revive {}", {it: _for(plan_revive, it) for it in names})


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


def known(work: Work, names: Sequence[str], *, everything: bool = False) -> list[str]:
    """Return the services that are meant, of those that were submitted; all of them with `everything`."""
    records = {name: it for name, it in work.look().services.items() if it.record or it.problem}
    return chosen(names, records, everything)


def outcome(plans: Sequence[Plan], found: ServicesReport) -> list[dict[str, Any]]:
    """Return what a change prints as JSON: each service as `service.list` tells it, and whether it was changed."""
    told = found.to_json([plan.name for plan in plans])
    return [{**it, "changed": plan.changes} for it, plan in zip(told, plans, strict=True)]


def plans(work: Work, change: Change) -> list[Plan]:
    """Return what would be done now. Raises Refused for a service of which it can't be."""
    fleet = work.look()
    return [plan(fleet) for plan in change.planners.values()]


def make(work: Work, change: Change) -> list[Plan]:
    """Do it, one service after the other, and return what was planned of each.

    All are planned before anything is done, so what is refused is refused with nothing changed. A service that does
    not get well does not keep the others from being done. Idempotent; killed at any point, the same again goes on.
    """
    done, failures = [], {}
    with changing(work, change.task) as held:
        plans(held, change)
        for name, planner in change.planners.items():
            plan = planner(held.look())
            for line in plan.said:
                work.report(name, line)
            try:
                _do(held, change, plan)
            except ArgosyError as error:
                if len(change.planners) == 1:
                    raise
                held.holding.check()
                work.report(name, str(error))
                failures[name] = error
            done.append(plan)
    if failures:
        raise Unhealthy(f"{len(failures)} of {len(change.planners)} services: {'; '.join(map(str, failures.values()))}")
    return done


def _do(work: Work, change: Change, plan: Plan) -> None:
    if not plan.changes:
        apply(work, plan)
        return
    with audited(work, change.what.format(plan.name)):
        apply(work, plan)


def _for(planner: Callable[[Fleet, str], Plan], name: str) -> Planner:
    return lambda fleet: planner(fleet, name)
