"""The part of `local.start` that makes the Swarm, in which scheduled services run."""

from __future__ import annotations

from argosy.errors import Unhealthy
from argosy.model import Step
from argosy.operations.local.procedure import Phase
from argosy.operations.local.work import Work
from argosy.operations.swarm import commands


class Swarm(Phase[Work]):
    """All machines are up and installed by now, so nothing stands against it."""

    title = "swarm"

    def plan(self, work: Work) -> list[Step]:
        return [Step("swarm", "see that all machines are in one Swarm")] if work.settings.swarm.enabled else []

    def run(self, work: Work) -> bool:
        done = commands.ensure(work.settings, work.report)
        left = commands.show(work.settings).problems()
        if left:
            raise Unhealthy("; ".join(left))
        return bool(done.steps)
