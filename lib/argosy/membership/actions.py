"""A plan is a list of actions: `--dry-run` prints the steps of the very actions that are done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from argosy.console import Report
from argosy.model import Step
from argosy.operations.cluster_lock import ClusterLock


@dataclass(frozen=True)
class Action:
    """One step, and what does it: idempotent, and safe to be done again after it was killed."""

    step: Step
    run: Callable[[], None]


@dataclass(frozen=True)
class Planned:
    """`notes`: what somebody should know of the plan, such as why there is nothing to do, or what is risked; `before`:
    steps that come before the actions, to get a cluster in which they can be done."""

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
    """Return an action whose result nobody needs."""

    def discard() -> None:
        run()

    return Action(Step(subject, text), discard)


def do(actions: Iterable[Action], lock: ClusterLock, report: Report) -> None:
    """Do the actions in their order, each only while the lock is held. Raises LockLost, and what they raise."""
    for each in actions:
        lock.check()
        report(each.step.subject, each.step.action)
        each.run()
