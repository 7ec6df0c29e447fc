"""Every plan over every cluster of up to seven members, against an oracle that knows etcd's rules and looks for ways.

The oracle does no arithmetic of ours: it asks of each state whether a majority is there, and finds by trying all orders
of all moves whether a change can be reached without a step that breaks the promise. Kinds of members:

    H healthy voter   D dead voter   U voter that never started   h d u the same as learners
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import QuorumAtRisk, Refused
from argosy.etcd.quorum import (
    Action,
    Add,
    Change,
    Cluster,
    Count,
    MemberState,
    Plan,
    Remove,
    Replace,
    Upgrade,
    cluster_of,
    may_be_away,
    plan_membership,
)
from argosy.model import Machine, Member

State = dict[str, str]
NEW, CLIENT = "new", "client"
MAX = 7
LEARNERS = ("", "h", "d", "u")


# The oracle: what etcd does, and what the promise allows


def voters(state: State) -> list[str]:
    return [kind for kind in state.values() if kind in "HDU"]


def majority(here: int, all_of_them: int) -> bool:
    return here * 2 > all_of_them


def takes_changes(state: State) -> bool:
    return majority(voters(state).count("H"), len(voters(state)))


def survives_a_loss(state: State) -> bool:
    healthy = voters(state).count("H")
    return healthy > 0 and majority(healthy - 1, len(voters(state)))


def moves(state: State, new: str, old: str) -> Iterator[tuple[str, State]]:
    """Yield what etcd would let be done next, and what comes of it."""
    if not takes_changes(state):
        return
    if new and new not in state and set(state.values()) <= {"H"}:
        yield f"add {new}", {**state, new: "u"}
    if new and state.get(new, "") in ("h", "d", "u"):
        # It has come up and caught up.
        yield f"promote {new}", {**state, new: "H"}
    if old and old in state:
        rest = {name: kind for name, kind in state.items() if name != old}
        started = len([kind for kind in voters(rest) if kind != "U"])
        enough = bool(voters(rest)) and majority(started, len(voters(rest)))
        if state[old] in "hdu" or (enough and (state[old] != "H" or takes_changes(rest))):
            yield f"remove {old}", rest


def keeps_promise(before: State, after: State) -> bool:
    return takes_changes(after) and (survives_a_loss(after) or not survives_a_loss(before))


def way(state: State, new: str, old: str, baseline: State | None = None) -> bool:
    """Return whether any order of moves reaches the change and keeps the promise all along."""
    before = state if baseline is None else baseline
    waiting, seen = [state], set()
    while waiting:
        at = waiting.pop()
        if (not new or at.get(new) == "H") and (not old or old not in at):
            return True
        if (key := tuple(sorted(at.items()))) in seen:
            continue
        seen.add(key)
        waiting += [then for _, then in moves(at, new, old) if keeps_promise(before, then)]
    return False


# From the oracle's words to ours


def states() -> Iterator[State]:
    """Yield every cluster of one to seven members, but for the names: with at most one learner, as etcd has it."""
    for size in range(1, MAX + 1):
        for kinds in itertools.combinations_with_replacement("HDU", size):
            for learner in LEARNERS:
                state = {f"m{number}": kind for number, kind in enumerate(kinds)}
                if size + bool(learner) <= MAX:
                    yield {**state, "l": learner} if learner else state


def cluster(state: State, *clients: str, leader: str = "") -> Cluster:
    members = tuple(
        MemberState(
            name,
            id=f"id-{name}",
            learner=kind in "hdu",
            started=kind not in "Uu",
            healthy=kind in "Hh",
            leader=name == leader,
        )
        for name, kind in state.items()
    )
    return Cluster(members, (*state, *clients))


def targets(state: State) -> list[str]:
    """Return one member of each kind."""
    return list({kind: name for name, kind in state.items()}.values())


def planned(at: Cluster, change: Change, **options: bool) -> Plan | Refused:
    try:
        return plan_membership(at, change, MAX, **options)
    except Refused as refusal:
        return refusal


def check_plan(state: State, plan: Plan, new: str = "", old: str = "", baseline: State | None = None) -> State:
    """Walk the plan: etcd would do each step, each keeps the promise, and the change is reached. Returns the end."""
    before = state if baseline is None else baseline
    words = {Action.ADD_LEARNER: "add", Action.PROMOTE: "promote", Action.REMOVE: "remove"}
    for step in plan.steps:
        if step.action is Action.MOVE_LEADER:
            assert state[step.others[0]] == "H"
            assert step.others[0] != step.machine
            continue
        possible = dict(moves(state, new, old))
        move = f"{words[step.action]} {step.machine}"
        assert move in possible, f"etcd refuses to {move} in {state}"
        if step.action is not Action.ADD_LEARNER:
            assert step.member in ("", f"id-{step.machine}")
        state = possible[move]
        assert keeps_promise(before, state), f"{move} breaks the promise: {state}"
    assert not new or state.get(new) == "H"
    assert old not in state
    return state


# Adding


@pytest.mark.parametrize("present", ["", "H", "D", "U", "h", "d", "u"])
def test_adding_is_planned_exactly_when_there_is_a_way(present: str) -> None:
    for rest in states():
        state = {**rest, NEW: present} if present else rest
        if len([name for name in state.values() if name in "hdu"]) > 1 or len(state) > MAX:
            continue
        plan = planned(cluster(state), Add(NEW))
        if present in ("H", "D", "U") and present:
            assert isinstance(plan, Plan)
            assert not plan.steps
            assert "already a member" in plan.note
        elif not present and len(rest) == MAX and takes_changes(rest):
            assert isinstance(plan, Plan)
            assert [step.action for step in plan.steps] == [Action.JOIN_AS_CLIENT]
        elif way(state, NEW, ""):
            assert isinstance(plan, Plan), f"{state}: {plan}"
            end = check_plan(state, plan, new=NEW)
            again = plan_membership(cluster(end), Add(NEW), MAX)
            assert not again.steps
        else:
            assert isinstance(plan, Refused), f"{state}: {plan}"


def test_what_etcd_refuses_can_t_be_forced() -> None:
    for state in states():
        if isinstance(refusal := planned(cluster(state), Add(NEW)), Refused):
            assert not isinstance(refusal, QuorumAtRisk)
            assert isinstance(planned(cluster(state), Add(NEW), force=True), Refused)


def test_beyond_the_most_members_it_is_a_client_once() -> None:
    five = cluster({f"m{number}": "H" for number in range(5)})
    plan = plan_membership(five, Add(NEW), 5)
    assert [str(step) for step in plan.steps] == [
        "join as a client of etcd, which has as many members as it may have (etcd.max_members)"
    ]
    again = plan_membership(Cluster(five.members, (*five.machines, NEW)), Add(NEW), 5)
    assert not again.steps
    assert again.note == "new is already a client of etcd, which has its 5 members"


def test_a_client_becomes_a_member_when_there_is_room() -> None:
    plan = plan_membership(cluster({"a": "H", "b": "H"}, CLIENT), Add(CLIENT), 5)
    assert [step.action for step in plan.steps] == [Action.ADD_LEARNER, Action.PROMOTE]


def test_a_learner_that_never_came_is_gone_on_with() -> None:
    plan = plan_membership(cluster({"a": "H", NEW: "u"}), Add(NEW), 5)
    assert [step.action for step in plan.steps] == [Action.PROMOTE]
    assert plan.note == "new is already a learner: this continues"


def test_the_reasons_for_not_adding_say_what_to_do() -> None:
    with pytest.raises(Refused, match=r"^b is a learner still .*take it back \(inv cluster.remove-machine\)"):
        plan_membership(cluster({"a": "H", "b": "u"}), Add(NEW), 5)
    with pytest.raises(Refused, match=r"^c is down, and etcd adds a member only while all are connected"):
        plan_membership(cluster({"a": "H", "b": "H", "c": "D"}), Add(NEW), 5)
    with pytest.raises(Refused, match=r"^etcd has no quorum: 1 of 2 members is healthy, and 2 are needed: bring"):
        plan_membership(cluster({"a": "H", "b": "D"}), Add(NEW), 5)


# Removing


def test_removing_is_planned_exactly_when_there_is_a_way() -> None:
    for state in states():
        for old in targets(state):
            leader = old if state[old] == "H" else ""
            at = cluster(state, CLIENT, leader=leader)
            plan = planned(at, Remove(old))
            if not way(state, "", old):
                assert isinstance(plan, Refused), f"{old} of {state}: {plan}"
                continue
            assert isinstance(plan, Plan), f"{old} of {state}: {plan}"
            assert not plan.risk
            end = check_plan(state, plan, old=old)
            assert not plan_membership(cluster(end, CLIENT), Remove(old), MAX).steps


def test_force_changes_only_what_is_a_matter_of_risk() -> None:
    for state in states():
        for old in targets(state):
            at = cluster(state, CLIENT)
            plan, forced = planned(at, Remove(old)), planned(at, Remove(old), force=True)
            if isinstance(plan, Plan):
                assert plan == forced
            elif isinstance(plan, QuorumAtRisk) and isinstance(forced, Plan):
                assert forced.risk
                check_forced(state, old, forced)
            else:
                assert type(forced) is Refused


def check_forced(state: State, old: str, plan: Plan) -> None:
    """Forced steps are etcd's own where etcd does them, else a new cluster of all the healthy, else a saved copy."""
    rest = {name for name, kind in state.items() if kind == "H" and name != old}
    (*_, last) = plan.steps
    if last.action is Action.REMOVE:
        assert f"remove {old}" in dict(moves(state, "", old))
    elif last.action is Action.REFORM:
        assert set(last.others) == rest != set()
    else:
        assert last.action is Action.SAVE
        assert not rest
        assert state[old] == "H"


def test_the_arithmetic_is_in_the_message() -> None:
    two_of_three = cluster({"a": "H", "b": "H", "c": "D"})
    with pytest.raises(
        QuorumAtRisk, match=r"^2 of 3 members are healthy; removing b leaves 1 of 2, which needs 2; --force"
    ):
        plan_membership(two_of_three, Remove("b"), 5)
    with pytest.raises(
        QuorumAtRisk,
        match=r"^3 of 3 .* healthy, one of which may fail; removing b leaves 2 of 2, which needs 2, so none may",
    ):
        plan_membership(cluster({"a": "H", "b": "H", "c": "H"}), Remove("b"), 5)
    with pytest.raises(
        QuorumAtRisk, match=r"^etcd has no quorum: 1 of 2 members is healthy, and 2 are needed to remove a"
    ):
        plan_membership(cluster({"a": "H", "b": "D"}), Remove("a"), 5)


def test_what_is_forced_is_named() -> None:
    three = cluster({"a": "H", "b": "H", "c": "H"}, leader="b")
    plan = plan_membership(three, Remove("b"), 5, force=True)
    assert [str(step) for step in plan.steps] == ["let a lead etcd instead", "remove it from etcd"]
    assert "so none may" in plan.risk
    plan = plan_membership(cluster({"a": "H", "b": "H", "c": "D"}), Remove("b"), 5, force=True)
    assert [str(step) for step in plan.steps] == ["make a new etcd cluster of a with the present data"]
    assert plan.risk.endswith("etcd continues with what a has; a member that is down now has to be added anew")
    plan = plan_membership(cluster({"a": "H", "b": "D"}), Remove("a"), 5, force=True)
    assert [step.action for step in plan.steps] == [Action.SAVE]
    assert plan.risk.endswith("etcd's data is only in the file that is saved here, until inv cluster.restore")
    with pytest.raises(Refused, match=r"no member is there whose data etcd could continue with: inv cluster\.restore"):
        plan_membership(cluster({"a": "D", "b": "D"}), Remove("a"), 5, force=True)


@pytest.mark.parametrize("force", [False, True])
def test_the_last_machine_stays(force: bool) -> None:
    with pytest.raises(Refused, match="a is the last machine"):
        plan_membership(cluster({"a": "H"}), Remove("a"), 5, force=force)
    with pytest.raises(Refused, match="a is the only voting member of etcd: add another one"):
        plan_membership(cluster({"a": "H"}, CLIENT), Remove("a"), 5, force=force)


def test_a_machine_that_is_gone_is_removed_already() -> None:
    plan = plan_membership(cluster({"a": "H", "b": "H"}), Remove("c"), 5)
    assert plan == Plan(note="c is no machine of the cluster (any more)")


def test_a_client_needs_no_change_of_etcd_but_a_quorum_to_be_forgotten() -> None:
    assert plan_membership(cluster({"a": "H"}, CLIENT), Remove(CLIENT), 5).steps == ()
    lost = cluster({"a": "H", "b": "D"}, CLIENT)
    with pytest.raises(QuorumAtRisk, match="what it holds of client stays there"):
        plan_membership(lost, Remove(CLIENT), 5)
    assert plan_membership(lost, Remove(CLIENT), 5, force=True).risk


# Replacing


@pytest.mark.parametrize("present", ["", "H", "h", "d", "u"])
def test_replacing_is_planned_exactly_when_there_is_a_way(present: str) -> None:
    for rest in states():
        state = {**rest, NEW: present} if present else rest
        if len([name for name in state.values() if name in "hdu"]) > 1 or len(state) > MAX:
            continue
        for old in targets(rest):
            baseline = {name: kind for name, kind in state.items() if name != NEW} if present == "H" else state
            plan = planned(cluster(state), Replace(old, NEW, begun=present == "H"))
            if not way(state, NEW, old, baseline):
                assert isinstance(plan, Refused), f"{old} of {state}: {plan}"
                continue
            assert isinstance(plan, Plan), f"{old} of {state}: {plan}"
            end = check_plan(state, plan, new=NEW, old=old, baseline=baseline)
            assert not plan_membership(cluster(end), Replace(old, NEW), MAX).steps


def test_a_member_that_is_there_goes_after_and_one_that_is_dead_goes_before() -> None:
    alive = plan_membership(cluster({"a": "H", "b": "H", "c": "H"}, leader="c"), Replace("c", NEW), 3)
    assert [step.action for step in alive.steps] == [
        Action.ADD_LEARNER,
        Action.PROMOTE,
        Action.MOVE_LEADER,
        Action.REMOVE,
    ]
    dead = plan_membership(cluster({"a": "H", "b": "H", "c": "D"}), Replace("c", NEW), 3)
    assert [step.action for step in dead.steps] == [Action.REMOVE, Action.ADD_LEARNER, Action.PROMOTE]


def test_a_replacement_can_be_taken_up_at_every_step() -> None:
    at: State = {"a": "H", "b": "H"}
    for begun in (False, True, True):
        plan = plan_membership(cluster(at), Replace("b", NEW, begun), 5)
        at = dict(moves(at, NEW, "b"))[
            {Action.ADD_LEARNER: f"add {NEW}", Action.PROMOTE: f"promote {NEW}", Action.REMOVE: "remove b"}[
                plan.steps[0].action
            ]
        ]
    assert at == {"a": "H", NEW: "H"}
    plan = plan_membership(cluster(at), Replace("b", NEW, begun=True), 5)
    assert plan.steps == ()
    assert plan.note == "b is no machine of the cluster (any more); new is already a member of etcd"


def test_the_old_one_stays_while_the_new_one_is_not_well() -> None:
    with pytest.raises(Refused, match="new is a member, but not healthy: b stays until it is"):
        plan_membership(cluster({"a": "H", "b": "H", NEW: "D"}), Replace("b", NEW, begun=True), 5)


def test_a_member_that_was_there_before_is_no_replacement() -> None:
    with pytest.raises(QuorumAtRisk, match="so none may"):
        plan_membership(cluster({"a": "H", "b": "H", "c": "H"}), Replace("b", "c"), 5)


def test_the_only_machine_can_be_replaced() -> None:
    plan = plan_membership(cluster({"a": "H"}, leader="a"), Replace("a", NEW), 5)
    assert [step.action for step in plan.steps] == [
        Action.ADD_LEARNER,
        Action.PROMOTE,
        Action.MOVE_LEADER,
        Action.REMOVE,
    ]


def test_a_lost_quorum_is_replaced_only_by_force() -> None:
    lost = cluster({"a": "H", "b": "D"})
    with pytest.raises(QuorumAtRisk, match="no quorum"):
        plan_membership(lost, Replace("b", NEW), 5)
    plan = plan_membership(lost, Replace("b", NEW), 5, force=True)
    assert [step.action for step in plan.steps] == [Action.REFORM, Action.ADD_LEARNER, Action.PROMOTE]


def test_nobody_replaces_itself() -> None:
    with pytest.raises(Refused, match="can't replace itself"):
        plan_membership(cluster({"a": "H", "b": "H"}), Replace("b", "b"), 5)


# Being away for an upgrade


def test_no_more_are_away_at_once_than_leave_a_quorum() -> None:
    for state in states():
        every = list(state)
        for count in range(1, len(every) + 1):
            for chosen in itertools.combinations(every, count):
                away = [name for name in chosen if state[name] == "H"]
                left = {name: "D" if name in away else kind for name, kind in state.items()}
                plan = planned(cluster(state), Upgrade(chosen))
                alone = len(away) == 1 and set(voters(state)) == {"H"}
                allowed = not away or takes_changes(left) or alone
                assert isinstance(plan, Plan) == allowed, f"{chosen} of {state}: {plan}"
                forced = planned(cluster(state), Upgrade(chosen), force=True)
                assert isinstance(forced, Plan)
                assert bool(forced.risk) != allowed


def test_how_many_may_be_away_is_what_an_upgrade_takes() -> None:
    for state in states():
        names = [name for name, kind in state.items() if kind == "H"]
        allowed = [
            count
            for count in range(1, len(names) + 1)
            if isinstance(planned(cluster(state), Upgrade(tuple(names[:count]))), Plan)
        ]
        assert max(allowed, default=0) == max(0, min(may_be_away(cluster(state)), len(names)))


def test_a_cluster_of_two_is_upgraded_all_the_same_and_it_is_said() -> None:
    plan = plan_membership(cluster({"a": "H", "b": "H"}), Upgrade(("b",)), 5)
    assert plan.note == "etcd has 2 members: it takes no changes while b is away"
    with pytest.raises(QuorumAtRisk, match="with a away 1 would be left, and 2 are needed: fewer at once"):
        plan_membership(cluster({"a": "H", "b": "H", "c": "D"}), Upgrade(("a",)), 5)


# Where the picture comes from


@given(st.permutations(["H", "H", "D", "U", "h"]), st.integers(0, 4))
def test_names_and_their_order_don_t_matter(kinds: list[str], number: int) -> None:
    state = {f"m{index}": kind for index, kind in enumerate(kinds)}
    old = f"m{number}"
    usual = {"a": "H", "b": "H", "c": "D", "d": "U", "e": "h"}
    alike = next(name for name, kind in usual.items() if kind == state[old])
    plan, other = planned(cluster(state), Remove(old)), planned(cluster(usual), Remove(alike))
    assert type(plan) is type(other)
    if isinstance(plan, Plan) and isinstance(other, Plan):
        assert [step.action for step in plan.steps] == [step.action for step in other.steps]


def test_a_count_knows_its_quorum() -> None:
    assert [Count(total, total).needed for total in range(1, 8)] == [1, 2, 2, 3, 3, 4, 4]
    assert [Count(total, total).spare for total in range(1, 8)] == [0, 0, 1, 1, 2, 2, 3]


MACHINES = [Machine("air-01", "10.0.0.1"), Machine("air-02", "10.0.0.2"), Machine("air-03", "10.0.0.3")]


def member(number: int, **values: object) -> Member:
    known: dict[str, object] = {"name": f"air-{number:02}", "healthy": True, "version": "3.4.23"}
    peers = (f"https://10.0.0.{number}:2380",)
    return Member(id=f"{number}", peer_urls=peers, client_urls=(), **{**known, **values})  # type: ignore[arg-type]


def test_members_belong_to_machines_by_their_address() -> None:
    found = cluster_of(MACHINES, [member(1, leader=True), member(2, name="", healthy=False, version="", learner=True)])
    assert found == Cluster(
        (
            MemberState("air-01", "1", leader=True),
            MemberState("air-02", "2", learner=True, started=False, healthy=False),
        ),
        ("air-01", "air-02", "air-03"),
    )


def test_a_member_without_a_machine_is_named_after_itself_or_its_address() -> None:
    found = cluster_of(MACHINES, [member(8, name="old"), member(9, name="")])
    assert [member.name for member in found.members] == ["old", "10.0.0.9"]


def test_without_a_quorum_being_there_counts_as_healthy() -> None:
    found = cluster_of(MACHINES, [member(1, healthy=False), member(2, healthy=False, version="")])
    assert found.count == Count(2, 1)
    found = cluster_of(MACHINES, [member(1), member(2), member(3, healthy=False)])
    assert found.count == Count(3, 2)
