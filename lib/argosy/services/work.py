"""What the work on scheduled services needs: an open cluster, and a manager of its Swarm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from argosy.cluster.opening import OpenCluster
from argosy.config.loading import Settings
from argosy.discovery import keys
from argosy.engine.swarm import Swarm
from argosy.report import Report
from argosy.schema import FOLLOWED, MACHINES, ROUTERS, service_key
from argosy.services.record import HOMES, PREFIX
from argosy.services.routers import Routers
from argosy.services.spec import service_labels
from argosy.services.state import ServicesState, services_state
from argosy.services.updates.record import UPDATES
from argosy.swarm.managing import managing


class ServicesCluster(OpenCluster):
    """Made by `opened` and `working`. `swarm`: through some manager that answers."""

    swarm: Swarm

    def look(self, name: str = "") -> ServicesState:
        """Return what is seen now of all scheduled services, or of this one alone.

        Swarm is asked before etcd: what is registered by then is an instance that it knows.
        """
        services = self.swarm.services(service_labels(self.settings.system, name))
        tasks, nodes = self.swarm.tasks(), self.swarm.nodes()
        followed = (service_key(name, ""), MACHINES) if name else FOLLOWED
        entries = keys.read(self.store, (PREFIX + name, UPDATES + name, HOMES + name, ROUTERS, *followed))
        return services_state(entries, services, tasks, nodes)

    def routers(self, name: str) -> Routers:
        """Return the machines' routers, about the service `name`. Under the lock they are asked only while it is
        held."""
        if self.lock is not None:
            self.lock.on_lost(self.hosts.cancel)
        return Routers(self.settings, self.hosts, self.store, self.report, name)


@contextmanager
def opened(settings: Settings, report: Report) -> Iterator[ServicesCluster]:
    """Open a cluster for the work on its services. Raises HostUnreachable and its kin, EtcdError, and what `managing`
    does when no manager of the Swarm is there."""
    with OpenCluster(settings, report) as cluster, working(cluster) as work:
        yield work


@contextmanager
def working(cluster: OpenCluster) -> Iterator[ServicesCluster]:
    """Give a cluster that is open already for the work on its services. Raises as `managing` does."""
    store, hosts, clock, lock = cluster.store, cluster.hosts, cluster.clock, cluster.lock
    work = ServicesCluster(cluster.settings, cluster.report, hosts=hosts, store=store, clock=clock, lock=lock)
    with managing(cluster.settings, hosts) as work.swarm:
        yield work
