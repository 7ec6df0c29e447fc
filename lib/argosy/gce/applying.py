"""Carry out a plan: the requests that its actions name, for several servers at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from argosy.config.loading import Settings
from argosy.errors import CloudError
from argosy.fanout import fan_out, joined
from argosy.gce.compute.client import Compute
from argosy.gce.observing import observe
from argosy.gce.plan.actions import DELETE, INSERT, Action, Project, Verb
from argosy.report import Report

UNCHANGED = "unchanged"
ROUNDS = 6
"""A change may show another that is due (labels follow the making): so often at most."""
Plan = Callable[[Project], Sequence[Action]]


class NotingReport:
    """A report that knows whether it has said anything of note."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.told = False

    def __call__(self, subject: str, message: str) -> None:
        self.told = self.told or not message.endswith(UNCHANGED)
        self._report(subject, message)


def converge(
    compute: Compute, settings: Settings, kinds: Sequence[str], plan: Plan, report: Report, what: str
) -> Project:
    """Observe, plan and apply until nothing is to do, and return what then is there.

    Actions of different servers run at once (gce.max_parallel), those of one in their order; all finish before
    failures are joined. Raises what the requests raise, HostsFailed for several servers, Refused by the plan.
    """
    for _ in range(ROUNDS):
        project = observe(compute, settings, kinds)
        todo = [action for action in plan(project) if action.acts]
        if not todo:
            return project
        apply(compute, settings, todo, report, what)
    raise CloudError(
        f"{what}: the project does not keep what was set ({todo[0].step()}): is somebody else changing it?"
    )


def apply(compute: Compute, settings: Settings, actions: Iterable[Action], report: Report, what: str) -> None:
    """Carry out the actions, those of one server one after the other."""
    by_server: dict[str, list[Action]] = {}
    for action in actions:
        by_server.setdefault(action.server, []).append(action)

    def one(chain: list[Action]) -> None:
        for action in chain:
            carry_out(compute, action)
            step = action.step()
            report(step.subject, f"{DONE[action.verb]} {step.action.partition(' ')[2]}")

    joined(fan_out(by_server, one, max_parallel=settings.gce.max_parallel, what=what))


DONE = {Verb.CREATE: "created", Verb.CHANGE: "changed", Verb.DESTROY: "destroyed"}


def carry_out(compute: Compute, action: Action) -> None:
    """Send the one request. What somebody else has just made or removed is judged by the next observation."""
    if action.method == INSERT:
        compute.insert(action.kind, action.body)
    elif action.method == DELETE:
        compute.delete(action.kind, action.name)
    else:
        compute.act(action.kind, action.name, action.method, action.body or None)
