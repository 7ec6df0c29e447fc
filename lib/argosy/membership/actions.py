"""A plan is a list of actions: `--dry-run` prints the steps of the very actions that are done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from argosy.cluster.opening import OpenCluster
from argosy.model import Step


@dataclass(frozen=True)
class Action:
    """One step, and what does it: idempotent, and safe to be done again after it was killed."""

    step: Step
    run: Callable[[], object]


@dataclass(frozen=True)
class Planned:
    """`notes`: what somebody should know of the plan, such as why there is nothing to do, or what is risked; `before`:
    steps that come before the actions, or that were done already."""

    actions: tuple[Action, ...] = ()
    notes: tuple[str, ...] = ()
    before: tuple[Step, ...] = ()

    @property
    def steps(self) -> list[Step]:
        return [*self.before, *(action.step for action in self.actions)]

    def to_json(self) -> dict[str, Any]:
        """Return `{"steps": [{"subject", "action"}], "notes": [TEXT]}`."""
        steps = [{"subject": step.subject, "action": step.action} for step in self.steps]
        return {"steps": steps, "notes": list(self.notes)}


def action(subject: str, text: str, run: Callable[[], object]) -> Action:
    return Action(Step(subject, text), run)


def do(cluster: OpenCluster, planned: Planned, subject: str, what: str) -> None:
    """Report the plan's notes, do its actions in their order, each only while the lock is held, and note in the audit
    trail how `what` ended, unless there was nothing to do. Raises LockLost, and what the actions raise."""
    for note in planned.notes:
        cluster.report(subject, note)
    if not planned.actions:
        return
    with cluster.noted(what):
        for each in planned.actions:
            cluster.holding.check()
            cluster.report(each.step.subject, each.step.action)
            each.run()
