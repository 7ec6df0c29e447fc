"""Submit all that the configuration defines, as the last step of making a cluster."""

from __future__ import annotations

from dataclasses import replace

from argosy.config import Settings
from argosy.console import Report
from argosy.operations.service import changing, opening
from argosy.operations.service.changing import Change
from argosy.operations.service.work import Work
from argosy.scheduling import DefinedOtherwise


def submit_all(settings: Settings, report: Report) -> bool:
    """Submit every scheduled service of the configuration, wait until they serve, and return whether any was changed.

    Idempotent. One that runs with another definition is told of and stays as it is: to bring that is an update.
    """
    if not settings.scheduled:
        return False
    with opening.opened(settings, report) as work:
        change = _acceptable(work, changing.submit(work, settings.scheduled, list(settings.scheduled)))
        return any(plan.changes for plan in changing.make(work, change))


def _acceptable(work: Work, change: Change) -> Change:
    fleet, planners = work.look(), dict(change.planners)
    for name, planner in change.planners.items():
        try:
            planner(fleet)
        except DefinedOtherwise as difference:
            work.report(name, str(difference))
            del planners[name]
    return replace(change, planners=planners)
