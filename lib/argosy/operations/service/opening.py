"""The way to a real cluster's scheduled services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from argosy import inventory
from argosy.config import Settings
from argosy.console import Report
from argosy.discovery_report import applied_revisions
from argosy.host import Hosts
from argosy.operations.discovery import keys
from argosy.operations.service.updating.routers import RemoteRouters
from argosy.operations.service.work import Work
from argosy.operations.swarm.managing import managing
from argosy.schema import ROUTERS


@contextmanager
def opened(settings: Settings, report: Report) -> Iterator[Work]:
    """Give what is needed to look. Raises HostUnreachable and its kin, EtcdError, and what `managing` does when no
    manager of the Swarm is there."""
    with (
        Hosts(settings, inventory.select(settings)) as hosts,
        keys.connected(settings) as store,
        managing(settings, hosts) as swarm,
    ):

        def live() -> list[str]:
            return list(applied_revisions(store.get_prefix(ROUTERS).entries))

        def routers(name: str) -> RemoteRouters:
            return RemoteRouters(settings, hosts, name, live, report)

        yield Work(settings, store, swarm, report, hosts, routers)
