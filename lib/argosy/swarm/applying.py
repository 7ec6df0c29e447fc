"""Do the steps of a Swarm's plan. Each waits until it has taken effect, and may have been done before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from typing import Any

from argosy.clock import wait_until
from argosy.cluster.opening import OpenCluster
from argosy.engine.swarm import Swarm
from argosy.engine.swarm_model import DOWN, MANAGER, READY, Node
from argosy.errors import DeadlineExceeded, EngineRefused
from argosy.model import Machine
from argosy.swarm.managing import local_swarm, managing, survey
from argosy.swarm.observing import TASK_HISTORY
from argosy.swarm.plan import Action, SwarmPlan, SwarmStep, labels_of

STEP_SECONDS = 60.0
"""How long a step may take to take effect: a change of role restarts a part of the engine."""


class Applier:
    """Does plans on the machines of the cluster, each step only while the lock is held."""

    def __init__(self, cluster: OpenCluster) -> None:
        self._cluster = cluster
        self._stack = ExitStack()
        self._swarm: Swarm | None = None

    def apply(self, plan: SwarmPlan) -> None:
        """Raises EngineError and its kin, DeadlineExceeded, HostUnreachable, LockLost: the same command resumes."""
        actions: dict[Action, Callable[[SwarmStep], object]] = {
            Action.INIT: self._begin,
            Action.FORCE_NEW: partial(self._begin, force_new_cluster=True),
            Action.LEAVE: self._leave,
            Action.JOIN: self._join,
            Action.PROMOTE: self._promote,
            Action.DEMOTE: self._demote,
            Action.FORGET: self._forget,
            Action.LABEL: self._label,
            Action.CONFIGURE: lambda _step: self._managers.configure(**self._own_settings),
            Action.ROTATE: lambda _step: self._managers.rotate_tokens(),
        }
        try:
            for step in plan.steps:
                self._cluster.holding.check()
                self._cluster.report(step.machine, str(step))
                actions[step.action](step)
        finally:
            self._look_for_managers_anew()

    @property
    def _own_settings(self) -> dict[str, Any]:
        return {"heartbeat_seconds": self._cluster.settings.swarm.heartbeat_seconds, "task_history": TASK_HISTORY}

    @property
    def _managers(self) -> Swarm:
        """Some manager that has a quorum."""
        if self._swarm is None:
            self._swarm = self._stack.enter_context(managing(self._cluster.settings, self._cluster.hosts))
        return self._swarm

    def _look_for_managers_anew(self) -> None:
        self._stack.close()
        self._swarm = None

    # Steps

    def _begin(self, step: SwarmStep, **how: bool) -> None:
        with local_swarm(self._cluster.hosts[step.machine]) as swarm:
            swarm.init(self._machine(step).address, self._cluster.settings.swarm.port, **how, **self._own_settings)
        self._look_for_managers_anew()

    def _leave(self, step: SwarmStep) -> None:
        """A manager has been demoted before, or is one of another Swarm, or of a broken one."""
        with local_swarm(self._cluster.hosts[step.machine]) as swarm:
            swarm.leave(force=True)
        self._look_for_managers_anew()

    def _join(self, step: SwarmStep) -> None:
        tokens, nodes = self._managers.tokens(), self._managers.nodes()
        managers = [node.manager_address for node in nodes if node.manager_address and node.reachable]
        token = tokens.manager if step.role == MANAGER else tokens.worker
        with local_swarm(self._cluster.hosts[step.machine]) as swarm:
            swarm.join(self._machine(step).address, self._cluster.settings.swarm.port, managers, token)
        node = self._node_id(step)
        manages = step.role == MANAGER
        self._wait(step, lambda: any(seen.state == READY and seen.reachable == manages for seen in self._nodes(node)))

    def _promote(self, step: SwarmStep) -> None:
        self._managers.update_node(step.node, role=MANAGER)
        self._wait(step, lambda: any(node.reachable for node in self._nodes(step.node)))

    def _demote(self, step: SwarmStep) -> None:
        found = list(self._nodes(step.node))
        if not found:
            return
        self._managers.update_node(step.node, role="worker")
        self._wait(step, lambda: not any(node.manager_address for node in self._nodes(step.node)))
        if found[0].state == READY and step.machine in {host.name for host in self._cluster.hosts}:
            # Its engine ends a part of itself, and would not let it leave before.
            self._wait(step, lambda: not self._still_manages(step))
        self._look_for_managers_anew()

    def _forget(self, step: SwarmStep) -> None:
        """Remove a node when it is down; by force when that does not come to pass."""
        if not self._waited(lambda: all(node.state == DOWN for node in self._nodes(step.node))):
            self._cluster.report(step.machine, "its node is not down yet: removed by force")
        self._wait(step, lambda: self._removed(step.node))

    def _removed(self, node: str) -> bool:
        try:
            self._managers.remove_node(node, force=True)
        except EngineRefused as error:
            # The end of its time as a manager has not come to all of them.
            if error.status != HTTPStatus.BAD_REQUEST:
                raise
            return False
        return True

    def _label(self, step: SwarmStep) -> None:
        node = self._managers.node(step.node or self._node_id(step))
        self._managers.update_node(node, labels=labels_of(self._machine(step), node))

    # Parts

    def _machine(self, step: SwarmStep) -> Machine:
        return self._cluster.hosts[step.machine].machine

    def _node_id(self, step: SwarmStep) -> str:
        return survey(self._cluster.hosts, [step.machine])[step.machine].get().node_id

    def _nodes(self, node: str) -> Iterator[Node]:
        """Yield the node, if there is one."""
        return (seen for seen in self._managers.nodes() if seen.id == node)

    def _still_manages(self, step: SwarmStep) -> bool:
        outcome = survey(self._cluster.hosts, [step.machine])[step.machine]
        return outcome.ok and outcome.get().manager

    def _wait(self, step: SwarmStep, done: Callable[[], bool]) -> None:
        if not self._waited(done):
            raise DeadlineExceeded(
                f"{step.machine}: {step}: did not take effect within {STEP_SECONDS:g} s; run the same command to resume"
            )

    def _waited(self, done: Callable[[], bool]) -> bool:
        """Wait until it is so; return whether it is."""

        def look() -> bool:
            self._cluster.holding.check()
            return done()

        return wait_until(look, STEP_SECONDS)
