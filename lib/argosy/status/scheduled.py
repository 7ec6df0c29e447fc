"""Pure. Does Swarm run what is wanted of the scheduled services, where every router finds it?

Their chains begin at `image`: the instance's task runs what is wanted (/cluster/scheduled/NAME), its digest included.
From `container` on they are as those of any container with our labels (argosy.status.verification).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from argosy.services.record import ScheduledRecord
from argosy.services.state import Instance, ServicesState, ServiceState
from argosy.status.verification import HOPS, Chain
from argosy.text import printable

NOWHERE = "(nowhere)"
"""As the machine of an instance that Swarm has not placed."""
ALONE = HOPS[1:3]
"""The hops of an instance that discovery does not know."""


def scheduled_chains(state: ServicesState, chains: Sequence[Chain]) -> tuple[Chain, ...]:
    """Return `chains`, those of the instances of scheduled services with what is wanted of them before them."""
    found = {(chain.service, chain.instance): chain for chain in chains}
    made = [chain for name, service in state.services.items() for chain in _of_service(state, name, service, found)]
    replaced = {(chain.service, chain.instance) for chain in made}
    rest = [chain for chain in chains if (chain.service, chain.instance) not in replaced]
    return tuple(sorted((*rest, *made), key=lambda chain: (chain.service, chain.machine, chain.instance)))


def unknown_chains(names: Iterable[str], reason: str) -> list[Chain]:
    """Return the chains of scheduled services of which Swarm can't be asked."""
    return [Chain(name, NOWHERE, "", ALONE, "container", reason) for name in names]


def _of_service(
    state: ServicesState, name: str, service: ServiceState, found: dict[tuple[str, str], Chain]
) -> Iterator[Chain]:
    record = service.record
    if record is None:
        reason = service.problem or "Swarm runs it, and etcd does not know why: inv service.destroy clears that up"
        yield Chain(name, NOWHERE, "", ALONE, "image", printable(reason))
        return
    if service.updating:
        yield Chain(name, NOWHERE, "", ALONE, "image", f"an update of it has not ended: inv service.update {name}")
    for number, running in service.generations.items():
        for instance in running.wanted:
            yield _of_instance(record, number, instance, found)
    up = len(service.current.up) if service.current else 0
    wanted = 0 if record.stopped else state.count(record.definition, record.replicas)
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
        differs, reason = (
            "container",
            f"its task is {task.state}" + (f": {printable(task.error)}" if task.error else ""),
        )
    elif known is not None:
        differs, reason = known.differs, known.reason
    elif routed:
        differs, reason = "container", f"{machine} runs no container {printable(instance.container)} that declares it"
    else:
        differs, reason = "", ""
    return Chain(record.name, machine, instance.id, hops, differs, reason)
