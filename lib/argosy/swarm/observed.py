"""Pure. The Swarms that a cluster's machines are found in: whose is whose, and which of them is the cluster's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from argosy.engine.swarm_model import MANAGER, READY, WORKER, Node, Role, SwarmInfo
from argosy.model import Machine
from argosy.schema.labels import MACHINE_LABEL


@dataclass(frozen=True, slots=True)
class SwarmAnswer:
    """What a manager with a quorum tells of its Swarm. `services`: how many there are that are none of this system's;
    `configured`: its own settings are as wanted."""

    nodes: tuple[Node, ...]
    services: int = 0
    configured: bool = True


@dataclass(frozen=True, slots=True)
class ObservedSwarm:
    """A cluster at one moment. `voters`: names of the machines whose etcd votes; `infos`: what each engine that
    answered is in; `told`: what managers tell, by the id of their Swarm; `silent`: why a machine can't be asked."""

    machines: tuple[Machine, ...]
    voters: frozenset[str]
    infos: Mapping[str, SwarmInfo]
    told: Mapping[str, SwarmAnswer] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)

    def role(self, machine: str) -> Role:
        """Return what the machine is to be."""
        return MANAGER if machine in self.voters else WORKER


@dataclass(frozen=True, slots=True)
class Group:
    """One Swarm, as far as it was found on machines that can be asked. `told`: None while it has no quorum; `known`:
    ids of the managers that its members know."""

    machines: tuple[str, ...]
    managers: tuple[str, ...]
    known: frozenset[str]
    told: SwarmAnswer | None = None


def groups(seen: ObservedSwarm) -> list[Group]:
    """Return the Swarms that the machines are in, that of the cluster first: the one with the most of its machines."""
    parts: list[tuple[list[str], set[str]]] = []
    for name, info in seen.infos.items():
        if not info.inside:
            continue
        keys = _keys(info)
        same = [part for part in parts if part[1] & keys]
        merged = ([name for part in same for name in part[0]] + [name], keys.union(*(part[1] for part in same)))
        parts = [part for part in parts if part not in same] + [merged]
    order = {machine.name: number for number, machine in enumerate(seen.machines)}
    found = [_group(seen, sorted(names, key=lambda name: order.get(name, len(order)))) for names, _ in parts]
    return sorted(
        found, key=lambda group: (-_size(seen, group), group.told is None, order.get(group.machines[0], len(order)))
    )


def _keys(info: SwarmInfo) -> set[str]:
    """Return what tells that two engines are in the same Swarm: its id, or a manager that both know."""
    own = {info.node_id} if info.manager else set()
    return {name for name in ({info.cluster_id} | set(info.managers) | own) if name} or {f"only:{info.node_id}"}


def _group(seen: ObservedSwarm, names: Sequence[str]) -> Group:
    infos = [seen.infos[name] for name in names]
    told = next((seen.told[info.cluster_id] for info in infos if info.cluster_id in seen.told), None)
    managers = tuple(name for name, info in zip(names, infos, strict=True) if info.manager)
    known = {node for info in infos for node in info.managers} | {seen.infos[name].node_id for name in managers}
    return Group(tuple(names), managers, frozenset(known), told)


def _size(seen: ObservedSwarm, group: Group) -> int:
    """Return how many machines of the cluster belong to a Swarm; those that can't be asked, as its managers say."""
    nodes = group.told.nodes if group.told else ()
    return len(group.machines) + sum(name not in seen.infos for name in claims(seen, nodes))


def claims(seen: ObservedSwarm, nodes: Iterable[Node]) -> dict[str, list[Node]]:
    """Return the nodes of each machine: by their id where it can be asked, else by label, else by address."""
    by_id = {info.node_id: name for name, info in seen.infos.items() if info.node_id}
    silent = {machine.name: machine for machine in seen.machines if machine.name not in seen.infos}
    by_address = {machine.address: name for name, machine in silent.items()}
    found: dict[str, list[Node]] = {}
    for node in nodes:
        label = node.labels.get(MACHINE_LABEL, "")
        name = by_id.get(node.id) or (label if label in silent else by_address.get(node.address, ""))
        if name:
            found.setdefault(name, []).append(node)
    return found


def strangers(seen: ObservedSwarm, group: Group) -> list[Node]:
    """Return the nodes that are up and belong to no machine of the cluster."""
    nodes = group.told.nodes if group.told else ()
    ours = {node.id for claimed in claims(seen, nodes).values() for node in claimed}
    return [node for node in nodes if node.id not in ours and node.state == READY]


def is_foreign(seen: ObservedSwarm, group: Group) -> bool:
    """Return whether it is rather somebody else's Swarm."""
    return len(strangers(seen, group)) >= _size(seen, group)


def unsettled(seen: ObservedSwarm) -> list[str]:
    """Return the machines of which Swarm or their own engine says something that is about to change."""
    found = [name for name, info in seen.infos.items() if info.state == "pending"]
    for group in groups(seen):
        if group.told is None:
            found += group.machines
            continue
        for name, nodes in claims(seen, group.told.nodes).items():
            info = seen.infos.get(name)
            if info is not None and any(_is_changing(node, info) for node in nodes):
                found.append(name)
    return sorted(set(found))


def _is_changing(node: Node, info: SwarmInfo) -> bool:
    manages = bool(node.manager_address)
    return (
        node.state != READY
        or (node.role == MANAGER) != manages
        or manages != info.manager
        or (manages and not node.reachable)
    )
