"""How a machine that joins or leaves the cluster joins or leaves its Swarm, in the same steps."""

from __future__ import annotations

from collections.abc import Iterator

from argosy.engine_api import over_ssh
from argosy.errors import Refused
from argosy.operations.membership.actions import Action, action
from argosy.operations.membership.joining import Joiner
from argosy.operations.membership.observing import Work
from argosy.operations.swarm import ensuring
from argosy.operations.swarm.managing import info_of
from argosy.swarm import Swarm
from argosy.swarm_model import MANAGER, WORKER


def entering(work: Work, joiner: Joiner) -> Iterator[Action]:
    """Yield what brings the newcomer, and whoever else is not in its place, into the Swarm: when it is installed."""
    settings, name = work.settings, joiner.machine.name
    if not settings.swarm.enabled or not (joiner.install or joiner.serves):
        return
    if joiner.serves and not _has_steps(work):
        return
    role = MANAGER if joiner.votes_in_the_end else WORKER
    yield action(name, f"see that it is in the Swarm, as a {role}", lambda: _ensure(work))


def departing(work: Work, name: str, *, alive: bool) -> Iterator[Action]:
    """Yield what takes the machine out of the Swarm. `alive`: it can be asked.

    Raises QuorumAtRisk, before anything is changed, when the Swarm's managers could not do without it.
    """
    settings = work.settings
    if not settings.swarm.enabled:
        return
    if work.seen.reason:
        # There is no lock to be had, and the Swarm's managers may be gone as etcd's members are.
        if alive and info_of(work.hosts[name]).inside:
            yield action(
                name, "leave the Swarm, by force: what that knows of it stays there", lambda: _leave(work, name)
            )
        return
    planned = ensuring.plan_departure(settings, work.hosts, work.store, name, force=work.force)
    if planned.steps:
        risk = f" (risked by force: {planned.risk})" if planned.risk else ""
        words = "; ".join(f"{'' if it.machine == name else f'{it.machine}: '}{it}" for it in planned.steps)
        yield action(name, f"{words}{risk}", lambda: _depart(work, name))


def _has_steps(work: Work) -> bool:
    """Return whether the Swarm is not as it shall be, as far as it can be told."""
    try:
        return bool(ensuring.plan(work.settings, work.hosts, work.store)[1].steps)
    except Refused:
        return True


def _ensure(work: Work) -> None:
    ensuring.ensure_or_tell(work.settings, work.hosts, work.store, work.report, lock=work.holding)


def _depart(work: Work, name: str) -> None:
    ensuring.depart(work.settings, work.hosts, work.store, work.holding, work.report, name, force=work.force)


def _leave(work: Work, name: str) -> None:
    with over_ssh(work.hosts[name]) as engine:
        Swarm(engine).leave(force=True)
