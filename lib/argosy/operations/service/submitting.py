"""Submit all that the configuration defines, as the last step of making a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from argosy.config import Settings
from argosy.console import Report
from argosy.operations.service import changing, opening
from argosy.operations.service.work import Work
from argosy.scheduling import Wanted, difference


def submit_all(settings: Settings, report: Report) -> bool:
    """Submit every scheduled service of the configuration, wait until they serve, and return whether any was changed.

    Idempotent. One that runs with another definition is told of and stays as it is: to bring that is an update.
    """
    if not settings.scheduled:
        return False
    with opening.opened(settings, report) as work:
        services = changing.wanted(work, settings.scheduled, list(settings.scheduled))
        change = changing.submission(work, _acceptable(work, services))
        return any(plan.changes for plan in changing.make(work, change))


def _acceptable(work: Work, services: Sequence[Wanted]) -> Iterator[Wanted]:
    fleet = work.look()
    for service in services:
        record = fleet.of(service.name).record
        reason = difference(record, service) if record else ""
        if reason:
            work.report(service.name, reason)
        else:
            yield service
