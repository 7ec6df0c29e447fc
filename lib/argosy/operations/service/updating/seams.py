"""What an update needs of the outside; the tests' simulator stands behind the same seams."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from argosy.events import Event
from argosy.operations import cluster_lock, journal
from argosy.operations.clock import Clock
from argosy.operations.cluster_lock import ClusterLock
from argosy.scheduled_record import Generation
from argosy.schema.values import DEFAULT_WEIGHT
from argosy.update_gates import Instance

Events = Callable[[Event], None]
"""Where everything that happens is told."""


class Store(cluster_lock.Store, journal.Store, Protocol):
    """What of `argosy.etcd.Etcd` an update needs."""


class Engine(Protocol):
    """Swarm, about one scheduled service. Raises EngineError, and what the way to a manager raises."""

    def prepare(self, generation: Generation, replicas: int | None) -> Callable[[], None]:
        """Look what lacks of the generation's service; return what makes it so. Idempotent.

        What is returned has effect only if nobody has changed or removed the service since the look: whoever stood
        still meanwhile, and lost the lock, starts no instances. Else it raises OutOfSequence.
        """

    def generations(self) -> Collection[int]:
        """Return the generations of which there is a service."""

    def remove(self, generation: int) -> None:
        """Remove the generation's service; its instances are told to end. Idempotent."""

    def instances(self, generation: int) -> Sequence[Instance]:
        """Return the instances of the generation, also ended ones that Swarm still keeps; none without its service,
        unless this process has removed it."""

    def seats(self, generation: Generation) -> int:
        """Return on how many machines a global service has an instance."""

    def last_lines(self, generation: int, instance: Instance) -> Sequence[str]:
        """Return what an instance wrote last, ended or not."""


class Routers(Protocol):
    """The machines' routers, about one scheduled service. Who does not answer is told, and not waited for."""

    def unready(self, servers: Collection[str]) -> Mapping[str, str]:
        """Return the routers whose own checks of these servers do not all pass, and why."""

    def wait_until_idle(self, servers: Collection[str], seconds: float) -> Mapping[str, int]:
        """Wait until no router has connections to these servers, or `seconds` are over; return how many are left, by
        router."""


@dataclass(frozen=True, slots=True)
class Routing:
    """How the instances of a generation are routed to when it is in charge. `attributes`: of the service's own keys;
    None where it leaves them alone."""

    weight: int = DEFAULT_WEIGHT
    attributes: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """`applied_seconds`: for agents and routers to follow a change; `drain_seconds`: for open connections to end;
    `stop_seconds`: beyond an instance's own grace, for it to end."""

    applied_seconds: float = 20
    drain_seconds: float = 30
    stop_seconds: float = 30


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who holds the lock, with all that they work with. `routing`: of a generation that is routed to;
    `containers`: how the names of a generation's containers begin."""

    name: str
    store: Store
    lock: ClusterLock
    engine: Engine
    routers: Routers
    events: Events
    clock: Clock
    routing: Callable[[Generation], Routing]
    containers: Callable[[int], str]
    limits: Limits = field(default_factory=Limits)

    @property
    def by(self) -> str:
        return f"{self.lock.holder.holder}@{self.lock.holder.host}"
