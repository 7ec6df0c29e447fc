"""Does Swarm run what is wanted of the scheduled services, where every router finds it? Pure.

Their chains begin at `image`: the instance's task runs what is wanted (/cluster/scheduled/NAME), its digest included.
From `container` on they are as those of any container with our labels (argosy.verification).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from argosy.scheduled_record import ScheduledRecord
from argosy.scheduled_state import Fleet, Instance, Seen
from argosy.service_changes import plain
from argosy.verification import HOPS, Chain

NOWHERE = "(nowhere)"
"""As the machine of an instance that Swarm has not placed."""
ALONE = HOPS[1:3]
"""The hops of an instance that discovery does not know."""


def scheduled_chains(fleet: Fleet, chains: Sequence[Chain]) -> tuple[Chain, ...]:
    """Return `chains`, those of the instances of scheduled services with what is wanted of them before them."""
    found = {(it.service, it.instance): it for it in chains}
    made = [chain for name, seen in fleet.services.items() for chain in _of_service(fleet, name, seen, found)]
    replaced = {(it.service, it.instance) for it in made}
    rest = [it for it in chains if (it.service, it.instance) not in replaced]
    return tuple(sorted((*rest, *made), key=lambda it: (it.service, it.machine, it.instance)))


def unknown_chains(names: Iterable[str], reason: str) -> list[Chain]:
    """Return the chains of scheduled services of which Swarm can't be asked."""
    return [Chain(name, NOWHERE, "", ALONE, "container", reason) for name in names]


def _of_service(fleet: Fleet, name: str, seen: Seen, found: dict[tuple[str, str], Chain]) -> Iterator[Chain]:
    record = seen.record
    if record is None:
        reason = seen.problem or "Swarm runs it, and etcd does not know why: inv service.destroy clears that up"
        yield Chain(name, NOWHERE, "", ALONE, "image", plain(reason))
        return
    if seen.updating:
        yield Chain(name, NOWHERE, "", ALONE, "image", f"an update of it has not ended: inv service.update {name}")
    for number, running in seen.generations.items():
        for instance in running.wanted:
            yield _of_instance(record, number, instance, found)
    up = len(seen.current.up) if seen.current else 0
    wanted = 0 if record.stopped else _count(fleet, record)
    if up != wanted:
        yield Chain(name, NOWHERE, "", ALONE, "container", f"{up} of {wanted} run: see inv service.show {name}")


def _of_instance(
    record: ScheduledRecord, number: int, instance: Instance, found: dict[tuple[str, str], Chain]
) -> Chain:
    machine, routed = instance.machine or NOWHERE, record.definition.discovery is not None
    hops = HOPS[1:] if routed else ALONE
    task = instance.task
    known = found.get((record.name, instance.id))
    if number != record.generation or record.stopped:
        wanted = "none" if record.stopped else f"generation {record.generation}"
        differs, reason = "image", f"generation {number} runs, {wanted} is wanted"
    elif task.image != record.image.reference:
        differs, reason = "image", f"{task.image} runs, {record.image.reference} is wanted"
    elif not task.runs:
        differs, reason = "container", f"its task is {task.state}" + (f": {plain(task.error)}" if task.error else "")
    elif known is not None:
        differs, reason = known.differs, known.reason
    elif routed:
        differs, reason = "container", f"{machine} runs no container {plain(instance.container)} that declares it"
    else:
        differs, reason = "", ""
    return Chain(record.name, machine, instance.id, hops, differs, reason)


def _count(fleet: Fleet, record: ScheduledRecord) -> int:
    return len(fleet.taking(record.definition)) if record.replicas is None else record.replicas
