"""Pure. What brings a cluster's machines into one Swarm, in their right places, without losing its managers' quorum.

Managers are the machines whose etcd votes, workers all others; the labels of a node are its machine's metadata and
MACHINE_LABEL. The promise is etcd's: no step leaves the managers unable to survive the loss of one more when they could
survive that before, and none takes their quorum away, unless `force` names the risk.

Swarm's own rules (https://docs.docker.com/engine/swarm/admin_guide/): a change needs a majority of the managers; a
manager is removed by demoting it first, which is refused when the healthy rest would be no majority; without a majority
one manager alone can continue (force new cluster), with all that it knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from argosy.engine.swarm_model import DOWN, MANAGER, READY, WORKER, Node, Role
from argosy.errors import QuorumAtRisk, Refused
from argosy.etcd.quorum import Count
from argosy.model import Machine
from argosy.schema.labels import HOME_LABEL, MACHINE_LABEL
from argosy.swarm.observed import Group, ObservedSwarm, SwarmAnswer, claims, groups, is_foreign, strangers

LOCKED, ERROR = "locked", "error"
ENSURE = "inv cluster.swarm --ensure"
SWARM = "swarm"
"""The subject of steps that concern all of it."""


class Action(StrEnum):
    """`FORGET`: what Swarm knows of a machine that is no longer in it. `ROTATE`: let nobody in with the tokens that
    were used."""

    INIT = "begin the Swarm, as its first manager"
    FORCE_NEW = "continue as the only manager of the Swarm"
    LEAVE = "leave the Swarm that it is in"
    JOIN = "join the Swarm as a {role}"
    PROMOTE = "let it manage the Swarm"
    DEMOTE = "let it manage the Swarm no longer"
    FORGET = "remove its node from the Swarm"
    LABEL = "label its node with its name and metadata"
    CONFIGURE = "set its heartbeat and how many ended tasks it keeps"
    ROTATE = "make the tokens worthless that were used for joining"


@dataclass(frozen=True, slots=True)
class SwarmStep:
    """One step, of `machine`. `node`: its id in Swarm; `role`: of who joins; `why`: said beside it."""

    action: Action
    machine: str
    node: str = ""
    role: Role = WORKER
    why: str = ""

    def __str__(self) -> str:
        return self.action.format(role=self.role) + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True, slots=True)
class SwarmPlan:
    """`notes`: what stays as it is, and why; `risk`: what force risks here."""

    steps: tuple[SwarmStep, ...] = ()
    notes: tuple[str, ...] = ()
    risk: str = ""


def labels_of(machine: Machine, node: Node | None = None) -> dict[str, str]:
    """Return the labels of a machine's node, which says what volumes it has (argosy.services.homes)."""
    present = node.labels if node else {}
    homes = {label: value for label, value in present.items() if label.startswith(HOME_LABEL)}
    return {**machine.metadata, **homes, MACHINE_LABEL: machine.name}


def plan_swarm(seen: ObservedSwarm, *, force: bool = False) -> SwarmPlan:
    """Return the steps from what is seen to one Swarm of all machines; none when they are in it as wanted.

    Raises Refused for what can't be done or would harm others, QuorumAtRisk, with the arithmetic, for what `force`
    would do all the same.
    """
    return _Planner(seen, force).plan()


def plan_leaving(seen: ObservedSwarm, name: str, *, force: bool = False) -> SwarmPlan:
    """Return the steps after which the machine `name` is in no Swarm and no node of it is left.

    Others are touched only so that the Swarm can do without it. Raises as `plan_swarm` does.
    """
    return _Planner(seen, force).plan_leaving(name)


class _Planner:
    """Makes one plan. `_own`: the cluster's Swarm, if there is one; `_count`: its managers when the steps so far are
    done."""

    def __init__(self, seen: ObservedSwarm, force: bool) -> None:
        self._seen = seen
        self._force = force
        locked = [name for name, info in seen.infos.items() if info.state == LOCKED]
        if locked:
            raise Refused(f"the Swarm on {', '.join(locked)} is locked: docker swarm unlock there, then this again")
        self._groups = groups(seen)
        self._own = next((group for group in self._groups if not is_foreign(seen, group)), None)
        self._nodes = self._own.told.nodes if self._own and self._own.told else ()
        self._claims = claims(seen, self._nodes)
        self._before = self._count = Count(sum(map(_counts, self._nodes)), sum(map(_is_healthy, self._nodes)))
        self._steps: list[SwarmStep] = []
        self._notes: list[str] = []
        self._risks: list[str] = []

    def plan(self) -> SwarmPlan:
        for group in self._groups:
            if group is not self._own:
                _refuse_harm(self._seen, group, self._force)
        if self._own is None or (not self._own.managers and self._own.told is None):
            self._begin(list(self._own.machines) if self._own else [])
        elif self._own.told is None:
            self._continue_without_quorum(self._own, list(self._own.managers))
        else:
            self._put_in_place(self._own.told)
        self._rotate()
        for name, reason in self._seen.silent.items():
            self._notes.append(f"{name} can't be asked, and stays as it is: {reason.removeprefix(f'{name}: ')}")
        return self._done()

    def plan_leaving(self, name: str) -> SwarmPlan:
        info = self._seen.infos.get(name)
        inside = info is not None and info.inside
        own = self._own if self._own and (not inside or name in self._own.machines) else None
        if own and own.told:
            self._send_away(name)
        elif own and own.managers and name in own.managers:
            self._continue_without_quorum(own, [manager for manager in own.managers if manager != name] or [name])
        elif own:
            self._notes.append("the Swarm has no quorum: what it knows of the machine stays there until it has one")
        if inside and not any(step.action is Action.FORCE_NEW for step in self._steps):
            at = next((n for n, step in enumerate(self._steps) if step.action is Action.FORGET), len(self._steps))
            self._steps.insert(at, self._leaving(name))
        return self._done()

    def _done(self) -> SwarmPlan:
        return SwarmPlan(tuple(self._steps), tuple(self._notes), "; ".join(self._risks))

    # A Swarm that is not there, or has no quorum

    def _begin(self, lost: Sequence[str]) -> None:
        """`lost`: machines in a Swarm of which no manager is there."""
        seen = self._seen
        silent = [machine.name for machine in seen.machines if machine.name not in seen.infos]
        if (silent or lost) and not self._force:
            reason = f"{', '.join(lost)} is in a Swarm of which no manager is there" if lost else "no machine is in one"
            unasked = f", and {', '.join(silent)} can't be asked" if silent else ""
            raise Refused(f"{reason}{unasked}: bring them back, or begin a new one with {ENSURE} --force")
        if silent or lost:
            self._risks.append("a Swarm that is on machines which can't be asked is given up, with all its services")
        here = [machine for machine in seen.machines if machine.name in seen.infos]
        first = next((machine.name for machine in here if machine.name in seen.voters), "")
        if not first:
            self._notes.append("no machine that can be asked has a vote in etcd, so there is nobody to manage a Swarm")
            return
        for name in (*lost, *self._others()):
            self._steps.append(self._leaving(name, "of no more use"))
        self._steps.append(SwarmStep(Action.INIT, first, role=MANAGER))
        self._join([machine.name for machine in here if machine.name != first])
        self._label(here)

    def _continue_without_quorum(self, own: Group, heirs: Sequence[str]) -> None:
        count = Count(len(own.known), len(own.managers))
        lost = f"the Swarm has no quorum: {_shown(count)}, and {count.needed} are needed"
        heir = next((heir for heir in heirs if heir in self._seen.voters), heirs[0])
        if not self._force:
            raise QuorumAtRisk(
                f"{lost}: bring managers back; if they are gone for good, {ENSURE} --force continues with {heir} alone"
            )
        self._risks.append(f"{lost}: it continues with what {heir} knows of it")
        self._steps.append(SwarmStep(Action.FORCE_NEW, heir, self._seen.infos[heir].node_id, MANAGER))
        self._notes.append("what is to be done then is seen when it has begun anew")

    # A Swarm that works

    def _put_in_place(self, told: SwarmAnswer) -> None:
        self._forget_the_gone()
        joining = self._mend()
        self._join(joining)
        staying = [machine for machine in self._seen.machines if machine.name not in joining]
        self._promote(staying)
        self._demote(staying)
        self._label(
            machine for machine in self._seen.machines if machine.name in joining or self._is_mislabelled(machine)
        )
        if not told.configured:
            self._steps.append(SwarmStep(Action.CONFIGURE, SWARM))

    def _forget_the_gone(self) -> None:
        """Remove nodes that belong to no machine; those that are up are somebody's."""
        for node in self._unclaimed():
            name = node.labels.get(MACHINE_LABEL) or node.hostname or node.id
            if node.state == DOWN:
                self._remove_manager(name, node)
                self._steps.append(SwarmStep(Action.FORGET, name, node.id, why="it belongs to no machine"))
            elif node.state == READY:
                self._notes.append(f"{name} ({node.address}) is in the Swarm and no machine of this cluster: it stays")
            else:
                self._notes.append(f"{name} ({node.address}): the Swarm does not know yet whether it is there")

    def _unclaimed(self) -> Iterator[Node]:
        claimed = {node.id for nodes in self._claims.values() for node in nodes}
        yield from (node for node in self._nodes if node.id not in claimed)
        for name, nodes in self._claims.items():
            # Of a machine that can't be asked; which of them it is now, tells the one that is up.
            if name not in self._seen.infos and any(node.state == READY for node in nodes):
                yield from (node for node in nodes if node.state == DOWN)

    def _mend(self) -> list[str]:
        """Let machines leave that are in another Swarm, or no longer find into this one; return who has to join."""
        joining, others = [], self._others()
        for name, info in self._seen.infos.items():
            node = self._node_of(name)
            if not info.inside:
                joining.append(name)
            elif name in others:
                self._steps.append(self._leaving(name, "it is another one"))
                joining.append(name)
            elif node is None:
                self._steps.append(self._leaving(name, "which has removed it"))
                joining.append(name)
            elif node.state == DOWN or info.state == ERROR:
                self._remove_manager(name, node)
                self._steps.append(self._leaving(name, info.error or "which it does not reach"))
                self._steps.append(SwarmStep(Action.FORGET, name, node.id))
                joining.append(name)
        return joining

    def _join(self, names: Sequence[str]) -> None:
        for name in sorted(names, key=lambda name: self._seen.role(name) != MANAGER):
            self._steps.append(SwarmStep(Action.JOIN, name, role=self._seen.role(name)))
            if self._seen.role(name) == MANAGER:
                self._count = Count(self._count.total + 1, self._count.healthy + 1)

    def _promote(self, machines: Iterable[Machine]) -> None:
        for name, node in self._up(machines):
            if self._seen.role(name) == MANAGER and node.role != MANAGER:
                self._steps.append(SwarmStep(Action.PROMOTE, name, node.id, MANAGER))
                self._count = Count(self._count.total + 1, self._count.healthy + 1)

    def _demote(self, machines: Iterable[Machine]) -> None:
        for name, node in self._up(machines):
            if self._seen.role(name) == MANAGER or node.role != MANAGER:
                continue
            risk, rest = self._risk_of_removing(name, node), self._without(node)
            if risk and not (self._force and rest.total and rest.spare >= 0):
                self._notes.append(f"{name} has no vote in etcd, and manages the Swarm all the same: {risk}")
                continue
            if risk:
                self._risks.append(risk)
            self._remove_manager(name, node)

    def _send_away(self, name: str) -> None:
        """Remove the nodes of a machine that leaves the cluster."""
        # Those of an earlier life, too: also whoever was killed in the middle of this left one.
        earlier = [node for node in self._unclaimed() if node.labels.get(MACHINE_LABEL) == name]
        nodes = [*self._claims.get(name, ()), *earlier]
        if any(map(_manages, nodes)):
            self._promote(machine for machine in self._seen.machines if machine.name != name)
        for node in nodes:
            if _manages(node):
                self._make_dispensable(name, node)
                self._remove_manager(name, node)
        self._steps += [SwarmStep(Action.FORGET, name, node.id) for node in nodes]

    def _make_dispensable(self, name: str, node: Node) -> None:
        """See that the managers can do without this one. By force, those that are down manage no longer."""
        if self._force and self._without(node).spare < 0:
            for other in self._nodes:
                if _manages(other) and not other.reachable and other is not node:
                    self._remove_manager(other.labels.get(MACHINE_LABEL) or other.hostname, other)
        risk, rest = self._risk_of_removing(name, node), self._without(node)
        if not rest.total or rest.spare < 0:
            raise QuorumAtRisk(f"{risk}: bring another manager back first")
        if risk and not self._force:
            raise QuorumAtRisk(f"{risk}: add a machine first, or risk it with --force")
        if risk:
            self._risks.append(risk)

    def _label(self, machines: Iterable[Machine]) -> None:
        """Label nodes; that of a machine which joins has its id only then."""
        joining = {step.machine for step in self._steps if step.action in (Action.JOIN, Action.INIT)}
        for machine in machines:
            node = self._node_of(machine.name) if machine.name not in joining else None
            self._steps.append(SwarmStep(Action.LABEL, machine.name, node.id if node else ""))

    def _rotate(self) -> None:
        if any(step.action is Action.JOIN for step in self._steps):
            self._steps.append(SwarmStep(Action.ROTATE, SWARM))

    # Parts

    def _others(self) -> list[str]:
        """Return the machines that are in another Swarm."""
        return [name for group in self._groups if group is not self._own for name in group.machines]

    def _node_of(self, name: str) -> Node | None:
        return next(iter(self._claims.get(name, ())), None)

    def _up(self, machines: Iterable[Machine]) -> Iterator[tuple[str, Node]]:
        """Yield the machines that are in the Swarm and up, with their nodes."""
        for machine in machines:
            node = next((node for node in self._claims.get(machine.name, ()) if node.state == READY), None)
            if node is not None:
                yield machine.name, node

    def _is_mislabelled(self, machine: Machine) -> bool:
        node = self._node_of(machine.name)
        return node is not None and dict(node.labels) != labels_of(machine, node)

    def _leaving(self, name: str, why: str = "") -> SwarmStep:
        return SwarmStep(Action.LEAVE, name, self._seen.infos[name].node_id, why=" ".join(why.split()))

    def _remove_manager(self, name: str, node: Node) -> None:
        if _manages(node):
            self._steps.append(SwarmStep(Action.DEMOTE, name, node.id))
            self._count = self._without(node)

    def _without(self, node: Node) -> Count:
        return Count(self._count.total - _counts(node), self._count.healthy - _is_healthy(node))

    def _risk_of_removing(self, name: str, node: Node) -> str:
        """Return what would be lost by one manager less, with the arithmetic; empty when nothing is."""
        now, rest = self._count, self._without(node)
        if not rest.total:
            return f"{name} is the only manager of the Swarm"
        left = f"without {name} {rest.healthy} of {rest.total} would be left, which needs {rest.needed}"
        if rest.spare < 0:
            return f"{_shown(now)}; {left}"
        if self._before.spare >= 1 and rest.spare < 1:
            return f"{_shown(now)}, one of which may fail; {left}, so none may"
        return ""


def _refuse_harm(seen: ObservedSwarm, group: Group, force: bool) -> None:
    """Refuse to leave a Swarm that somebody may need."""
    unknown, services = strangers(seen, group), group.told.services if group.told else 0
    if force or not (unknown or services):
        return
    reasons = [
        f"with {', '.join(node.hostname or node.id for node in unknown)}, no machine of this cluster"
        if unknown
        else "",
        f"that runs {services} services of others" if services else "",
    ]
    raise Refused(
        f"{', '.join(group.machines)} is in another Swarm, {' and '.join(filter(None, reasons))}: leave it there "
        f"(docker swarm leave), or {ENSURE} --force"
    )


def _manages(node: Node) -> bool:
    """Return whether it is one of the managers, which can't be removed as it is. One that was left behind by force has
    the role still, and there is nothing to demote."""
    return bool(node.manager_address)


def _counts(node: Node) -> bool:
    """Return whether the managers' majority is counted with it: it is one, or becomes one now."""
    return _manages(node) or (node.role == MANAGER and node.state == READY)


def _is_healthy(node: Node) -> bool:
    return _counts(node) and (node.reachable or not node.manager_address)


def _shown(count: Count) -> str:
    return f"{count.healthy} of {count.total} managers {'is' if count.healthy == 1 else 'are'} there"
