"""Who updates a service, and with what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from argosy.cluster.driver import LockHolder
from argosy.cluster.events import Said
from argosy.services.updates.record import Update
from argosy.services.work import ServicesCluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator(LockHolder):
    """Somebody who holds the cluster's lock, and updates the service of this name. `ready`: raises what stands against
    an update of which nothing is done yet."""

    name: str
    work: ServicesCluster
    ready: Callable[[Update], None] = lambda _: None

    def report(self, subject: str, message: str) -> None:
        """Tell a line among the events. `subject`: a machine, or the service."""
        machine = "" if subject == self.name else subject
        self.events(Said(at=self.work.clock.now(), service=self.name, machine=machine, message=message))
