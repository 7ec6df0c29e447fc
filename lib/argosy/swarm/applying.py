"""Do the steps of a Swarm's plan. Each waits until it has come true, and may have been done before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any

from argosy.config import Settings
from argosy.console import Report
from argosy.engine_api import over_ssh
from argosy.errors import DeadlineExceeded, EngineRefused
from argosy.host import Hosts
from argosy.model import Machine
from argosy.operations.cluster_lock import ClusterLock
from argosy.operations.swarm.managing import managing, survey
from argosy.operations.swarm.observing import TASK_HISTORY
from argosy.swarm import Swarm
from argosy.swarm_model import DOWN, MANAGER, READY, Node
from argosy.swarm_plan import Deed, SwarmPlan, SwarmStep, labels_of

STEP_SECONDS = 60.0
"""How long a step may take to come true: a change of role restarts a part of the engine."""
POLL_SECONDS = 0.25


class Applier:
    """Does plans on the machines of `hosts`, each step only while the lock is held."""

    def __init__(self, settings: Settings, hosts: Hosts, lock: ClusterLock, report: Report) -> None:
        self._settings = settings
        self._hosts = hosts
        self._lock = lock
        self._report = report
        self._stack = ExitStack()
        self._swarm: Swarm | None = None

    def apply(self, plan: SwarmPlan) -> None:
        """Raises EngineError and its kin, DeadlineExceeded, HostUnreachable, LockLost: the same again goes on."""
        deeds: dict[Deed, Callable[[SwarmStep], object]] = {
            Deed.INIT: self._init,
            Deed.FORCE_NEW: self._force_new,
            Deed.LEAVE: self._leave,
            Deed.JOIN: self._join,
            Deed.PROMOTE: self._promote,
            Deed.DEMOTE: self._demote,
            Deed.FORGET: self._forget,
            Deed.LABEL: self._label,
            Deed.CONFIGURE: lambda _step: self._managers.configure(**self._own_settings),
            Deed.ROTATE: lambda _step: self._managers.rotate_tokens(),
        }
        try:
            for step in plan.steps:
                self._lock.check()
                self._report(step.machine, str(step))
                deeds[step.deed](step)
        finally:
            self._look_for_managers_anew()

    @property
    def _own_settings(self) -> dict[str, Any]:
        return {"heartbeat_seconds": self._settings.swarm.heartbeat_seconds, "task_history": TASK_HISTORY}

    @property
    def _managers(self) -> Swarm:
        """Some manager that has a quorum."""
        if self._swarm is None:
            self._swarm = self._stack.enter_context(managing(self._settings, self._hosts))
        return self._swarm

    def _look_for_managers_anew(self) -> None:
        self._stack.close()
        self._swarm = None

    # Steps

    def _init(self, step: SwarmStep) -> None:
        machine = self._machine(step)
        with over_ssh(self._hosts[machine]) as engine:
            Swarm(engine).init(machine.address, self._settings.swarm.port, **self._own_settings)
        self._look_for_managers_anew()

    def _force_new(self, step: SwarmStep) -> None:
        machine = self._machine(step)
        with over_ssh(self._hosts[machine]) as engine:
            Swarm(engine).init(machine.address, self._settings.swarm.port, force_new_cluster=True, **self._own_settings)
        self._look_for_managers_anew()

    def _leave(self, step: SwarmStep) -> None:
        """A manager has been demoted before, or is one of another Swarm, or of a broken one."""
        with over_ssh(self._hosts[step.machine]) as engine:
            Swarm(engine).leave(force=True)
        self._look_for_managers_anew()

    def _join(self, step: SwarmStep) -> None:
        machine = self._machine(step)
        tokens, nodes = self._managers.tokens(), self._managers.nodes()
        managers = [it.manager_address for it in nodes if it.manager_address and it.reachable]
        token = tokens.manager if step.role == MANAGER else tokens.worker
        with over_ssh(self._hosts[machine]) as engine:
            Swarm(engine).join(machine.address, self._settings.swarm.port, managers, token)
        node = self._node_id(step)
        manages = step.role == MANAGER
        self._wait(step, lambda: any(it.state == READY and it.reachable == manages for it in self._nodes(node)))

    def _promote(self, step: SwarmStep) -> None:
        self._managers.update_node(step.node, role=MANAGER)
        self._wait(step, lambda: any(it.reachable for it in self._nodes(step.node)))

    def _demote(self, step: SwarmStep) -> None:
        found = list(self._nodes(step.node))
        if not found:
            return
        self._managers.update_node(step.node, role="worker")
        self._wait(step, lambda: not any(it.manager_address for it in self._nodes(step.node)))
        if found[0].state == READY and step.machine in {host.name for host in self._hosts}:
            # Its engine ends a part of itself, and would not let it leave before.
            self._wait(step, lambda: not self._still_manages(step))
        self._look_for_managers_anew()

    def _forget(self, step: SwarmStep) -> None:
        """Remove a node when it is down; by force when that does not come to pass."""
        if not self._waited(lambda: all(it.state == DOWN for it in self._nodes(step.node))):
            self._report(step.machine, "its node is not down yet: removed by force")
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
        self._managers.update_node(step.node or self._node_id(step), labels=labels_of(self._machine(step)))

    # Parts

    def _machine(self, step: SwarmStep) -> Machine:
        return self._hosts[step.machine].machine

    def _node_id(self, step: SwarmStep) -> str:
        return survey(self._hosts, [step.machine])[step.machine].get().node_id

    def _nodes(self, node: str) -> Iterator[Node]:
        """Yield the node, if there is one."""
        return (it for it in self._managers.nodes() if it.id == node)

    def _still_manages(self, step: SwarmStep) -> bool:
        outcome = survey(self._hosts, [step.machine])[step.machine]
        return outcome.ok and outcome.get().manager

    def _wait(self, step: SwarmStep, done: Callable[[], bool]) -> None:
        if not self._waited(done):
            raise DeadlineExceeded(
                f"{step.machine}: {step}: it has not come true within {STEP_SECONDS:g} s; the same again goes on"
            )

    def _waited(self, done: Callable[[], bool]) -> bool:
        """Wait until it is so; return whether it is."""
        deadline, pause = time.monotonic() + STEP_SECONDS, threading.Event()
        while not done():
            if time.monotonic() >= deadline:
                return False
            self._lock.check()
            pause.wait(POLL_SECONDS)
        return True
