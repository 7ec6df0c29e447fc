"""How a cluster's etcd may gain and lose members, and which machines may be away at once. Pure.

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
        return tuple(it for it in self.members if not it.learner)

    @property
    def count(self) -> Count:
        return Count(len(self.voters), sum(it.healthy for it in self.voters))

    def member(self, machine: str) -> MemberState | None:
        return next((it for it in self.members if it.name == machine), None)


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


Wish = Add | Remove | Replace | Upgrade


class Deed(StrEnum):
    """`PROMOTE`: the newcomer does it itself when it has caught up; we wait for it. `SAVE`: of the last healthy member,
    before it goes. `REFORM`: the healthy rest becomes a new etcd cluster with the old one's data."""

    JOIN_AS_CLIENT = "join-as-client"
    ADD_LEARNER = "add-learner"
    PROMOTE = "promote"
    MOVE_LEADER = "move-leader"
    REMOVE = "remove"
    SAVE = "save"
    REFORM = "reform"
    TAKE_DOWN = "take-down"


_WORDS = {
    Deed.JOIN_AS_CLIENT: "join as a client of etcd, which has as many members as it may have (etcd.max_members)",
    Deed.ADD_LEARNER: "add it to etcd as a learner",
    Deed.PROMOTE: "wait until it has caught up and promoted itself to a voting member",
    Deed.REMOVE: "remove it from etcd",
    Deed.SAVE: "save etcd's data here, of which it holds the last healthy copy",
}


@dataclass(frozen=True, slots=True)
class MemberStep:
    """One step, of `machine`. `member`: its id in etcd, empty while it has none; `others`: whom else it concerns: who
    shall lead, who makes the new cluster, who is away together."""

    deed: Deed
    machine: str
    member: str = ""
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.deed is Deed.MOVE_LEADER:
            return f"let {self.others[0]} lead etcd instead"
        if self.deed is Deed.REFORM:
            return f"make a new etcd cluster of {', '.join(self.others)} with the present data"
        if self.deed is Deed.TAKE_DOWN:
            return f"take down at once: {', '.join(self.others)}"
        return _WORDS[self.deed]


@dataclass(frozen=True, slots=True)
class Plan:
    """`note`: what somebody should know of it, such as why there is nothing to do; `risk`: what force risks here."""

    steps: tuple[MemberStep, ...] = ()
    note: str = ""
    risk: str = ""

    def has(self, deed: Deed) -> bool:
        return any(step.deed is deed for step in self.steps)


def cluster_of(machines: Sequence[Machine], members: Sequence[Member], joining: Sequence[Machine] = ()) -> Cluster:
    """Return the cluster that etcd's answer shows. A member belongs to the machine at the address of its peer URL.

    `joining`: no machines of the cluster, but their members may be there already.
    While any voter has a quorum, healthy means that etcd says so; without one no member can, and being there counts.
    """
    quorum = any(it.healthy and not it.learner for it in members)
    by_address = {it.address: it.name for it in (*joining, *machines)}
    return Cluster(
        tuple(
            MemberState(
                name=by_address.get(_address(it)) or it.name or _address(it) or it.id,
                id=it.id,
                learner=it.learner,
                started=bool(it.name),
                healthy=it.healthy if quorum else bool(it.version),
                leader=it.leader,
            )
            for it in members
        ),
        tuple(it.name for it in machines),
    )


def may_be_away(cluster: Cluster) -> int:
    """Return how many healthy voters may be away at once. One at least while all are there: else nothing could ever be
    done to a cluster of one or two."""
    return max(cluster.count.spare, 1 if cluster.count.healthy == cluster.count.total else 0)


def plan_membership(cluster: Cluster, wish: Wish, max_members: int, *, force: bool = False) -> Plan:
    """Return the steps from `cluster` to the wish; none when it is as wished already, which the note says.

    Raises Refused for what can't be, QuorumAtRisk, with the arithmetic, for what `force` would do all the same.
    """
    match wish:
        case Add(machine):
            return _add(cluster, machine, max_members)
        case Remove(machine):
            return _remove(cluster, machine, cluster.count, force)
        case Replace():
            return _replace(cluster, wish, max_members, force)
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
        return Plan((MemberStep(Deed.PROMOTE, machine, present.id),), f"{machine} is already a learner: this goes on")
    if sum(it.name not in leaving for it in cluster.members) >= max_members:
        if machine in cluster.machines:
            return Plan(note=f"{machine} is already a client of etcd, which has its {max_members} members")
        return Plan((MemberStep(Deed.JOIN_AS_CLIENT, machine),))
    _refuse_while_etcd_would(cluster, machine)
    return Plan((MemberStep(Deed.ADD_LEARNER, machine), MemberStep(Deed.PROMOTE, machine)))


def _refuse_while_etcd_would(cluster: Cluster, machine: str) -> None:
    learner = next((it.name for it in cluster.members if it.learner), "")
    if learner:
        raise Refused(
            f"{learner} is a learner still and etcd takes one at a time: wait until it is promoted, "
            f"or take it back (inv cluster.remove-machine), before adding {machine}"
        )
    down = [it.name for it in cluster.voters if not it.healthy]
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
    healthy = [it for it in cluster.voters if it.healthy and it is not present]
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
    lead = [MemberStep(Deed.MOVE_LEADER, machine, present.id, (healthy[0].name,))] if present.leader and healthy else []
    return Plan((*lead, MemberStep(Deed.REMOVE, machine, present.id)), risk=risk)


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
    """Return how to go on by force with whoever is healthy beside the one that goes."""
    rest = tuple(it.name for it in healthy)
    if rest:
        step = MemberStep(Deed.REFORM, present.name, present.id, rest)
        risk = (
            f"{problem}: etcd goes on with what {' and '.join(rest)} "
            f"{'has' if len(rest) == 1 else 'have'}; a member that is down now has to be added anew"
        )
        return Plan((step,), risk=risk)
    if not present.healthy or present.learner:
        raise Refused(f"{problem}, and no member is there whose data etcd could go on with: inv cluster.restore")
    risk = f"{problem}: etcd's data is only in the file that is saved here, until inv cluster.restore"
    return Plan((MemberStep(Deed.SAVE, present.name, present.id),), risk=risk)


def _replace(cluster: Cluster, wish: Replace, max_members: int, force: bool) -> Plan:
    """A member that is there goes when the newcomer has its vote; one that is not goes first, or etcd adds none."""
    old, new = wish.old, wish.new
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
        then = _remove(_after(cluster, first), old, _before(cluster, wish), force)
    notes = filter(None, (first.note, then.note))
    return Plan((*first.steps, *then.steps), "; ".join(notes), first.risk or then.risk)


def _before(cluster: Cluster, wish: Replace) -> Count:
    """Return the voters when the replacement began."""
    joined = cluster.member(wish.new)
    voters = [it for it in cluster.voters if not (wish.begun and it is joined)]
    return Count(len(voters), sum(it.healthy for it in voters))


def _upgrade(cluster: Cluster, machines: Sequence[str], force: bool) -> Plan:
    now = cluster.count
    away = [it.name for it in cluster.voters if it.healthy and it.name in machines]
    step = MemberStep(Deed.TAKE_DOWN, machines[0] if machines else "", others=tuple(machines))
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
        present = next((it for it in members if it.name == step.machine), None)
        if step.deed in (Deed.JOIN_AS_CLIENT, Deed.ADD_LEARNER) and step.machine not in machines:
            machines.append(step.machine)
        if step.deed is Deed.ADD_LEARNER:
            members.append(MemberState(step.machine, learner=True))
        elif step.deed is Deed.PROMOTE and present:
            members[members.index(present)] = replace(present, learner=False, started=True, healthy=True)
        elif step.deed is Deed.REMOVE and present:
            members.remove(present)
        elif step.deed is Deed.REFORM:
            members = [it for it in members if it.name in step.others]
    removed = {step.machine for step in plan.steps if step.deed in (Deed.REMOVE, Deed.REFORM)}
    return Cluster(tuple(members), tuple(it for it in machines if it not in removed))


def _no_quorum(now: Count) -> str:
    return f"etcd has no quorum: {now}, and {now.needed} {'is' if now.needed == 1 else 'are'} needed"


def _address(member: Member) -> str:
    """Return the host of the member's first peer URL."""
    return (urlsplit(member.peer_urls[0]).hostname or "") if member.peer_urls else ""
