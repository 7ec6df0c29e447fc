"""What the work on scheduled services needs: the cluster's etcd, a manager of its Swarm, its machines, the lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace

from argosy.config import Settings
from argosy.console import Report
from argosy.etcd import Etcd
from argosy.host import Hosts
from argosy.operations.auditing import noted
from argosy.operations.clock import Clock, SystemClock
from argosy.operations.cluster_lock import ClusterLock, held
from argosy.operations.discovery import keys
from argosy.operations.service.updating.seams import Routers
from argosy.scheduled_record import PREFIX
from argosy.scheduled_state import UPDATES, Fleet, fleet_of
from argosy.schema import FOLLOWED
from argosy.swarm import Swarm
from argosy.swarm_spec import service_labels


@dataclass(frozen=True, slots=True)
class Work:
    """`hosts`, `routers` (about one service): None where only Swarm and etcd are needed; `lock`: None while nothing is
    changed."""

    settings: Settings
    store: Etcd
    swarm: Swarm
    report: Report
    hosts: Hosts | None = None
    routers: Callable[[str], Routers] | None = None
    lock: ClusterLock | None = None
    clock: Clock = field(default_factory=SystemClock)

    @property
    def holding(self) -> ClusterLock:
        if self.lock is None:
            raise AssertionError("a change without the cluster's lock")
        return self.lock

    def look(self) -> Fleet:
        """Return what is seen of all scheduled services now.

        Swarm is asked before etcd: what is registered by then is an instance that it knows.
        """
        services = self.swarm.services(service_labels(self.settings.system))
        ours = {service.id for service in services}
        tasks = [task for task in self.swarm.tasks() if task.service_id in ours]
        nodes = self.swarm.nodes()
        return fleet_of(keys.read(self.store, (PREFIX, UPDATES, *FOLLOWED)), services, tasks, nodes)


@contextmanager
def changing(work: Work, task: str) -> Iterator[Work]:
    """Give the same with the cluster's lock, which is held meanwhile. Raises LockHeld."""
    ttl = work.settings.rollout.lock_ttl_seconds
    with held(work.store, task, ttl_seconds=ttl, report=work.report, clock=work.clock) as lock:
        yield replace(work, lock=lock)


def audited(work: Work, what: str) -> AbstractContextManager[None]:
    """Note in the cluster's audit trail how `what` ended: `done`, or why not."""
    return noted(work.store, work.holding, work.report, what, work.clock)
