"""Pure. How a cluster's etcd may gain and lose members, and which machines may be away at once.

The promise: no step leaves the cluster unable to survive the loss of one more member when it could survive that before
the task began, and none takes its quorum away, unless `force` names the risk.

etcd's own rules, which no force can bend (https://etcd.io/docs/v3.4/op-guide/runtime-configuration/ and
mayAddMember, mayRemoveMember in etcd's server.go): a change needs the quorum; a member is added only while every voter
is connected, and only one learner at a time; a healthy voter is removed only when the healthy rest is a quorum.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import urlsplit

from argosy.errors import QuorumAtRisk, Refused
from argosy.model import Machine, Member


@dataclass(frozen=True, slots=True)
class MemberState:
    """One etcd member. `name`: its machine's; `started`: it has been there once; `healthy`: it is there now."""

    name: str
    id: str = ""
    learner: bool = False
    started: bool = True
    healthy: bool = True
    leader: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """The voters of a cluster. `spare`: how many more of them may fail; below 0 the quorum is lost already."""

    total: int
    healthy: int

    @property
    def needed(self) -> int:
        return self.total // 2 + 1

    @property
    def spare(self) -> int:
        return self.healthy - self.needed

    def __str__(self) -> str:
        return f"{self.healthy} of {self.total} members {'is' if self.healthy == 1 else 'are'} healthy"


@dataclass(frozen=True, slots=True)
class Cluster:
    """The members of etcd, and the names of all machines, which may be no members but clients."""

    members: tuple[MemberState, ...]
    machines: tuple[str, ...]

    @property
    def voters(self) -> tuple[MemberState, ...]:
        return tuple(member for member in self.members if not member.learner)

    @property
    def count(self) -> Count:
        return Count(len(self.voters), sum(voter.healthy for voter in self.voters))

    def member(self, machine: str) -> MemberState | None:
        return next((member for member in self.members if member.name == machine), None)


@dataclass(frozen=True, slots=True)
class Add:
    machine: str


@dataclass(frozen=True, slots=True)
class Remove:
    machine: str


@dataclass(frozen=True, slots=True)
class Replace:
    """`begun`: an earlier run has let `new` in for it already, so its place does not count as the cluster's own."""

    old: str
    new: str
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Upgrade:
    """All of `machines` away at the same time, and back afterwards: they stay members."""

    machines: tuple[str, ...]


Change = Add | Remove | Replace | Upgrade


class Action(StrEnum):
    """`PROMOTE`: the newcomer does it itself when it has caught up; we wait for it. `SAVE`: of the last healthy member,
    before it goes. `REFORM`: the healthy rest becomes a new etcd cluster with the old one's data."""

    JOIN_AS_CLIENT = "join as a client of etcd, which has as many members as it may have (etcd.max_members)"
    ADD_LEARNER = "add it to etcd as a learner"
    PROMOTE = "wait until it has caught up and promoted itself to a voting member"
    MOVE_LEADER = "let {others} lead etcd instead"
    REMOVE = "remove it from etcd"
    SAVE = "save etcd's data here, of which it holds the last healthy copy"
    REFORM = "make a new etcd cluster of {others} with the present data"
    TAKE_DOWN = "take down at once: {others}"


@dataclass(frozen=True, slots=True)
class MemberStep:
    """One step, of `machine`. `member`: its id in etcd, empty while it has none; `others`: whom else it concerns: who
    leads then, who makes the new cluster, who is away together."""

    action: Action
    machine: str
    member: str = ""
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.action.format(others=", ".join(self.others))


@dataclass(frozen=True, slots=True)
class Plan:
    """`note`: what somebody should know of it, such as why there is nothing to do; `risk`: what force risks here."""

    steps: tuple[MemberStep, ...] = ()
    note: str = ""
    risk: str = ""

    def has(self, action: Action) -> bool:
        return any(step.action is action for step in self.steps)


def cluster_of(machines: Sequence[Machine], members: Sequence[Member], joining: Sequence[Machine] = ()) -> Cluster:
    """Return the cluster that etcd's answer shows. A member belongs to the machine at the address of its peer URL.

    `joining`: no machines of the cluster, but their members may be there already.
    While any voter has a quorum, healthy means that etcd says so; without one no member can, and being there counts.
    """
    quorum = any(member.healthy and not member.learner for member in members)
    by_address = {machine.address: machine.name for machine in (*joining, *machines)}
    return Cluster(
        tuple(
            MemberState(
                name=by_address.get(_address(member)) or member.name or _address(member) or member.id,
                id=member.id,
                learner=member.learner,
                started=bool(member.name),
                healthy=member.healthy if quorum else bool(member.version),
                leader=member.leader,
            )
            for member in members
        ),
        tuple(machine.name for machine in machines),
    )


def may_be_away(cluster: Cluster) -> int:
    """Return how many healthy voters may be away at once. One at least while all are there: else nothing could ever be
    done to a cluster of one or two."""
    return max(cluster.count.spare, 1 if cluster.count.healthy == cluster.count.total else 0)


def plan_membership(cluster: Cluster, change: Change, max_members: int, *, force: bool = False) -> Plan:
    """Return the steps from `cluster` to the change; none when it is made already, which the note says.

    Raises Refused for what can't be, QuorumAtRisk, with the arithmetic, for what `force` would do all the same.
    """
    match change:
        case Add(machine):
            return _add(cluster, machine, max_members)
        case Remove(machine):
            return _remove(cluster, machine, cluster.count, force)
        case Replace():
            return _replace(cluster, change, max_members, force)
        case Upgrade(machines):
            return _upgrade(cluster, machines, force)


def _add(cluster: Cluster, machine: str, max_members: int, leaving: Collection[str] = ()) -> Plan:
    """`leaving`: members that go when the newcomer is there; they don't count as taking a place."""
    present = cluster.member(machine)
    if present is not None and not present.learner:
        state = "" if present.started else ", which has never started: boot it"
        return Plan(note=f"{machine} is already a member of etcd{state}")
    if cluster.count.spare < 0:
        raise Refused(f"{_no_quorum(cluster.count)}: bring a member back before adding {machine}")
    if present is not None:
        promote = MemberStep(Action.PROMOTE, machine, present.id)
        return Plan((promote,), f"{machine} is already a learner: this continues")
    if sum(member.name not in leaving for member in cluster.members) >= max_members:
        if machine in cluster.machines:
            return Plan(note=f"{machine} is already a client of etcd, which has its {max_members} members")
        return Plan((MemberStep(Action.JOIN_AS_CLIENT, machine),))
    _refuse_while_etcd_would(cluster, machine)
    return Plan((MemberStep(Action.ADD_LEARNER, machine), MemberStep(Action.PROMOTE, machine)))


def _refuse_while_etcd_would(cluster: Cluster, machine: str) -> None:
    learner = next((member.name for member in cluster.members if member.learner), "")
    if learner:
        raise Refused(
            f"{learner} is a learner still and etcd takes one at a time: wait until it is promoted, "
            f"or take it back (inv cluster.remove-machine), before adding {machine}"
        )
    down = [voter.name for voter in cluster.voters if not voter.healthy]
    if down:
        raise Refused(
            f"{', '.join(down)} {'is' if len(down) == 1 else 'are'} down, and etcd adds a member only while all are "
            f"connected: bring back, remove or --replace before adding {machine}"
        )


def _remove(cluster: Cluster, machine: str, before: Count, force: bool) -> Plan:
    """`before`: the voters when the task began, whose tolerance is to be kept."""
    present = cluster.member(machine)
    if present is None and machine not in cluster.machines:
        return Plan(note=f"{machine} is no machine of the cluster (any more)")
    if not set(cluster.machines) - {machine}:
        raise Refused(f"{machine} is the last machine: without it there is no cluster, so it is not removed")
    now = cluster.count
    if present is None:
        return _remove_client(machine, now, force)
    healthy = [voter for voter in cluster.voters if voter.healthy and voter is not present]
    rest = Count(now.total - (not present.learner), len(healthy))
    if rest.total == 0:
        raise Refused(f"{machine} is the only voting member of etcd: add another one before removing it")
    problem = _problem(machine, now, rest)
    if problem and not force:
        raise QuorumAtRisk(f"{problem}; --force makes a new etcd cluster of the healthy rest")
    if problem:
        return _reform(present, healthy, problem)
    risk = _lost_tolerance(machine, now, before, rest)
    if risk and not force:
        raise QuorumAtRisk(f"{risk}: add a machine first, or risk it with --force")
    heir = [member.name for member in healthy[:1] if present.leader]
    lead = [MemberStep(Action.MOVE_LEADER, machine, present.id, (name,)) for name in heir]
    return Plan((*lead, MemberStep(Action.REMOVE, machine, present.id)), risk=risk)


def _remove_client(machine: str, now: Count, force: bool) -> Plan:
    note = f"{machine} has no member in etcd"
    if now.spare >= 0:
        return Plan(note=note)
    risk = f"{_no_quorum(now)}: what it holds of {machine} stays there"
    if not force:
        raise QuorumAtRisk(f"{risk}; bring a member back first, or do the rest with --force")
    return Plan(note=note, risk=risk)


def _problem(machine: str, now: Count, rest: Count) -> str:
    """Return why etcd itself would not remove it, or be lost by it."""
    if now.spare < 0:
        return f"{_no_quorum(now)} to remove {machine}"
    if rest.spare < 0:
        return f"{now}; removing {machine} leaves {rest.healthy} of {rest.total}, which needs {rest.needed}"
    return ""


def _lost_tolerance(machine: str, now: Count, before: Count, rest: Count) -> str:
    if before.spare < 1 or rest.spare >= 1:
        return ""
    return (
        f"{now}, one of which may fail; removing {machine} leaves {rest.healthy} of {rest.total}, which needs "
        f"{rest.needed}, so none may"
    )


def _reform(present: MemberState, healthy: Sequence[MemberState], problem: str) -> Plan:
    """Return how to continue by force with whoever is healthy beside the one that goes."""
    rest = tuple(member.name for member in healthy)
    if rest:
        step = MemberStep(Action.REFORM, present.name, present.id, rest)
        risk = (
            f"{problem}: etcd continues with what {' and '.join(rest)} "
            f"{'has' if len(rest) == 1 else 'have'}; a member that is down now has to be added anew"
        )
        return Plan((step,), risk=risk)
    if not present.healthy or present.learner:
        raise Refused(f"{problem}, and no member is there whose data etcd could continue with: inv cluster.restore")
    risk = f"{problem}: etcd's data is only in the file that is saved here, until inv cluster.restore"
    return Plan((MemberStep(Action.SAVE, present.name, present.id),), risk=risk)


def _replace(cluster: Cluster, change: Replace, max_members: int, force: bool) -> Plan:
    """A member that is there goes when the newcomer has its vote; one that is not goes first, or etcd adds none."""
    old, new = change.old, change.new
    if old == new:
        raise Refused(f"{old} can't replace itself: remove it, then add it")
    member = cluster.member(old)
    if member is None and old not in cluster.machines:
        plan = _add(cluster, new, max_members)
        gone = f"{old} is no machine of the cluster (any more)"
        return replace(plan, note="; ".join(filter(None, (gone, plan.note))))
    joined = cluster.member(new)
    if member is not None and (member.learner or not member.healthy):
        first = _remove(cluster, old, cluster.count, force)
        then = _add(_after(cluster, first), new, max_members)
    else:
        if joined and not joined.learner and not joined.healthy:
            raise Refused(f"{new} is a member, but not healthy: {old} stays until it is")
        first = _add(cluster, new, max_members, leaving=(old,))
        then = _remove(_after(cluster, first), old, _before(cluster, change), force)
    notes = filter(None, (first.note, then.note))
    return Plan((*first.steps, *then.steps), "; ".join(notes), first.risk or then.risk)


def _before(cluster: Cluster, change: Replace) -> Count:
    """Return the voters when the replacement began."""
    joined = cluster.member(change.new)
    voters = [voter for voter in cluster.voters if not (change.begun and voter is joined)]
    return Count(len(voters), sum(voter.healthy for voter in voters))


def _upgrade(cluster: Cluster, machines: Sequence[str], force: bool) -> Plan:
    now = cluster.count
    away = [voter.name for voter in cluster.voters if voter.healthy and voter.name in machines]
    step = MemberStep(Action.TAKE_DOWN, machines[0] if machines else "", others=tuple(machines))
    if not away or now.healthy - len(away) >= now.needed:
        return Plan((step,))
    if len(away) <= may_be_away(cluster):
        return Plan((step,), f"etcd has {now.total} members: it takes no changes while {away[0]} is away")
    risk = f"{now}; with {', '.join(away)} away {now.healthy - len(away)} would be left, and {now.needed} are needed"
    if not force:
        raise QuorumAtRisk(f"{risk}: fewer at once, or bring back who is down")
    return Plan((step,), risk=risk)


def _after(cluster: Cluster, plan: Plan) -> Cluster:
    """Return the cluster when `plan` is done and all has gone well."""
    members, machines = list(cluster.members), list(cluster.machines)
    for step in plan.steps:
        present = next((member for member in members if member.name == step.machine), None)
        if step.action in (Action.JOIN_AS_CLIENT, Action.ADD_LEARNER) and step.machine not in machines:
            machines.append(step.machine)
        if step.action is Action.ADD_LEARNER:
            members.append(MemberState(step.machine, learner=True))
        elif step.action is Action.PROMOTE and present:
            members[members.index(present)] = replace(present, learner=False, started=True, healthy=True)
        elif step.action is Action.REMOVE and present:
            members.remove(present)
        elif step.action is Action.REFORM:
            members = [member for member in members if member.name in step.others]
    removed = {step.machine for step in plan.steps if step.action in (Action.REMOVE, Action.REFORM)}
    return Cluster(tuple(members), tuple(machine for machine in machines if machine not in removed))


def _no_quorum(now: Count) -> str:
    return f"etcd has no quorum: {now}, and {now.needed} {'is' if now.needed == 1 else 'are'} needed"


def _address(member: Member) -> str:
    """Return the host of the member's first peer URL."""
    return (urlsplit(member.peer_urls[0]).hostname or "") if member.peer_urls else ""
