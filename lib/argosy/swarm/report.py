"""Pure. How a cluster's Swarm is, machine by machine, and what of it is not as wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from argosy.engine.swarm_model import ACTIVE, MANAGER, READY, Node
from argosy.errors import Refused
from argosy.model import MachineState
from argosy.swarm.observed import ObservedSwarm, claims, groups
from argosy.swarm.plan import SwarmPlan, plan_swarm

COLUMNS = ["machine", "address", "role", "availability", "state", "manager", "differs"]


@dataclass(frozen=True, slots=True)
class NodeLine:
    """One machine, or a node that is none. `role`, `availability`, `state`: empty for one that is in no Swarm;
    `manager`: leader, reachable or unreachable, empty for a worker; `differs`: what is not as wanted."""

    machine: str
    address: str
    role: str = ""
    availability: str = ""
    state: str = ""
    manager: str = ""
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SwarmReport:
    """`nodes`: of every machine; `differs`: what concerns no single one of them; `notes`: what stays as it is."""

    nodes: tuple[NodeLine, ...]
    differs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def problems(self) -> list[str]:
        """Return what is wrong, a line each; none means that all is as wanted."""
        return [
            *(f"{node.machine}: swarm: {reason}" for node in self.nodes for reason in node.differs),
            *(f"swarm: {reason}" for reason in self.differs),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the shape that `cluster.swarm --json` prints; keys are only ever added to it:

        {"healthy": true, "problems": [], "notes": [],
         "nodes": [{"machine": "air-01", "address": "10.0.0.1", "role": "manager", "availability": "active",
                    "state": "ready", "manager": "leader|reachable|unreachable" or "", "differs": []}]}
        """
        problems = self.problems()
        nodes = [asdict(node) | {"differs": list(node.differs)} for node in self.nodes]
        return {"healthy": not problems, "problems": problems, "notes": list(self.notes), "nodes": nodes}

    def rows(self) -> list[list[object]]:
        """Return the rows of the table under COLUMNS."""
        return [
            [
                node.machine,
                node.address,
                node.role or "-",
                node.availability,
                node.state,
                node.manager,
                "; ".join(node.differs),
            ]
            for node in self.nodes
        ]


def swarm_report(seen: ObservedSwarm, states: Mapping[str, str] | None = None) -> SwarmReport:
    """Put the report together. `states`: of the machines in etcd, by name: who is in service takes instances, and who
    drains does not; None when they are not known, and are not compared."""
    plan, refusal = _plan(seen)
    found = groups(seen)
    nodes = found[0].told.nodes if found and found[0].told else ()
    claimed = claims(seen, nodes)
    differs: dict[str, list[str]] = {}
    for step in plan.steps:
        differs.setdefault(step.machine, []).append(f"to do: {step}")
    lines = []
    for machine in seen.machines:
        node = next(iter(claimed.get(machine.name, ())), None)
        reasons = differs.pop(machine.name, [])
        if machine.name in seen.silent:
            reasons.append(f"its engine can't be asked: {seen.silent[machine.name].removeprefix(f'{machine.name}: ')}")
        if node is not None and node.state != READY:
            reasons.append(f"its node is {node.state}")
        in_service = states is not None and states.get(machine.name) == MachineState.ACTIVE
        if node is not None and in_service and node.availability != ACTIVE:
            idle = f"it is in service, and its node takes no instances ({node.availability})"
            reasons.append(f"{idle}: inv cluster.swarm --ensure")
        lines.append(_line(machine.name, machine.address, node, reasons))
    ours = {node.id for its in claimed.values() for node in its}
    for node in nodes:
        if node.id not in ours:
            lines.append(_line(node.hostname or node.id, node.address, node, differs.pop(node.hostname, [])))
    rest = [reason for reasons in differs.values() for reason in reasons]
    return SwarmReport(tuple(lines), (*([refusal] if refusal else []), *rest), plan.notes)


def _plan(seen: ObservedSwarm) -> tuple[SwarmPlan, str]:
    """Return what is to be done, or why nothing can be."""
    try:
        return plan_swarm(seen), ""
    except Refused as refusal:
        return SwarmPlan(), str(refusal)


def _line(name: str, address: str, node: Node | None, differs: list[str]) -> NodeLine:
    if node is None:
        return NodeLine(name, address, differs=tuple(differs))
    manager = "leader" if node.leader else "reachable" if node.reachable else "unreachable"
    shown = manager if node.manager_address or node.role == MANAGER else ""
    return NodeLine(name, address, node.role, node.availability, node.state, shown, tuple(differs))
