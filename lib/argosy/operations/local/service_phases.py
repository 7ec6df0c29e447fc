"""The end of `local.start`: what runs on the healthy machines beside the services of their release."""

from __future__ import annotations

from argosy.model import Step
from argosy.operations.local.procedure import Phase
from argosy.operations.local.work import Work
from argosy.operations.service.submitting import submit_all


class Services(Phase[Work]):
    title = "services"

    def plan(self, work: Work) -> list[Step]:
        return [Step(name, "submit it, unless it was") for name in work.settings.scheduled]

    def run(self, work: Work) -> bool:
        return submit_all(work.settings, work.report)
