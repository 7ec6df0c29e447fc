"""Pure. What is done to a scheduled service, one action at a time; each can say itself, as `--dry-run` prints it.

An action that was done already does nothing when it is done again (argosy.services.applying does them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from argosy.model import Step
from argosy.services.record import Generation, ScheduledRecord


class Action(Protocol):
    """One of those below."""

    def says(self) -> str: ...


@dataclass(frozen=True, slots=True)
class SaveRecord:
    """Write what is wanted."""

    record: ScheduledRecord

    def says(self) -> str:
        image = self.record.image
        many = instances(self.record.replicas)
        state = "stopped" if self.record.stopped else many
        return f"generation {self.record.generation}, version {image.version or image.reference}: {state}"


@dataclass(frozen=True, slots=True)
class Create:
    """Let Swarm run a generation."""

    generation: Generation
    replicas: int | None

    def says(self) -> str:
        return f"start {instances(self.replicas)} of {self.generation.image.reference}"


@dataclass(frozen=True, slots=True)
class Scale:
    """Let Swarm run another number of instances. `homes`: of a service that stays with its volumes, the machines that
    may run them; all when there are none."""

    number: int
    replicas: int
    homes: tuple[str, ...] | None = None

    def says(self) -> str:
        return f"let Swarm run {instances(self.replicas)}"


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Send no more requests to the instances that Swarm is going to stop, and wait until every router knows."""

    ids: tuple[str, ...]

    def says(self) -> str:
        return f"no more requests to {', '.join(self.ids)}, on any router"


@dataclass(frozen=True, slots=True)
class Restore:
    """End what `Withdraw` has begun, also of instances that Swarm has kept."""

    ids: tuple[str, ...]

    def says(self) -> str:
        return f"forget that {len(self.ids)} were to get no more requests"


@dataclass(frozen=True, slots=True)
class StopRouting:
    """Send no more requests to a generation, and wait until every router knows."""

    number: int

    def says(self) -> str:
        return f"no more requests to generation {self.number}, on any router"


@dataclass(frozen=True, slots=True)
class Remove:
    """Take a generation out of Swarm, and wait until its containers are gone."""

    number: int
    count: int

    def says(self) -> str:
        return f"stop {instances(self.count)} of generation {self.number}"


@dataclass(frozen=True, slots=True)
class ResumeRouting:
    """DeleteRecord what weight a generation had been given."""

    number: str

    def says(self) -> str:
        return f"forget the weight of generation {self.number}"


@dataclass(frozen=True, slots=True)
class Revive:
    """Let Swarm start what it has given up."""

    number: int
    slots: tuple[int, ...]

    def says(self) -> str:
        return f"start anew {len(self.slots)} that failed"


@dataclass(frozen=True, slots=True)
class DeleteRecord:
    """Delete the record, and with `keys` the service's routes."""

    keys: bool

    def says(self) -> str:
        return f"forget its definition{' and its routes' if self.keys else ''}"


@dataclass(frozen=True, slots=True)
class WaitUntilServing:
    """Wait until as many instances as wanted serve, and no more run."""

    record: ScheduledRecord

    def says(self) -> str:
        routed = ", are registered, and every router has them" if self.record.definition.discovery else ""
        return f"wait until {instances(self.record.replicas)} run{routed}"


@dataclass(frozen=True, slots=True)
class KeepHome:
    """Let the instances stay with their volumes: on the machines where they run now."""

    volumes: tuple[str, ...]

    def says(self) -> str:
        return f"keep it on the machines where it runs, with its volumes there ({', '.join(self.volumes)})"


@dataclass(frozen=True, slots=True)
class Plan:
    """`said`: what to tell beside it."""

    name: str
    actions: tuple[Action, ...] = ()
    said: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether there is anything but waiting in it."""
        return any(not isinstance(action, WaitUntilServing) for action in self.actions)

    def steps(self) -> list[Step]:
        """Return the plan as `--dry-run` prints it."""
        return [Step(self.name, action.says()) for action in self.actions]


def instances(count: int | None) -> str:
    if count is None:
        return "one instance on every machine that fits"
    return "1 instance" if count == 1 else f"{count} instances"
