"""The end of `local.start`: what runs on the healthy machines beside the services of their release."""

from __future__ import annotations

from argosy.host import Hosts
from argosy.model import Step
from argosy.operations.local.procedure import Phase
from argosy.operations.local.work import Work
from argosy.operations.service.submitting import submit_all
from argosy.operations.swarm import ensuring


class Swarm(Phase[Work]):
    title = "swarm"

    def plan(self, work: Work) -> list[Step]:
        return [Step("swarm", "see that all machines are in it")] if work.settings.swarm.enabled else []

    def run(self, work: Work) -> bool:
        with Hosts(work.settings, work.machines) as hosts:
            ensuring.ensure_if_possible(work.settings, hosts, work.report)
        return False


class Services(Phase[Work]):
    title = "services"

    def plan(self, work: Work) -> list[Step]:
        return [Step(name, "submit it, unless it was") for name in work.settings.scheduled]

    def run(self, work: Work) -> bool:
        return submit_all(work.settings, work.report)
