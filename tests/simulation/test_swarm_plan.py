"""Every plan over every Swarm of up to seven machines, walked through by a model that knows Swarm's own rules.

A machine is a letter, large when it can be asked, and V behind it when its etcd votes:

    M m manager           W w worker           O o in no Swarm
    S   in none, and a dead manager's node is left of it      T  the same with a worker's node
    R   in the Swarm by its own account, which has removed it
    B   a manager, and D a worker, that do not reach the others
    A   in a Swarm of its own
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from argosy.engine.swarm_model import DOWN, MANAGER, READY, WORKER, Node, SwarmInfo
from argosy.errors import QuorumAtRisk, Refused
from argosy.model import Machine
from argosy.swarm.observed import ObservedSwarm, SwarmAnswer
from argosy.swarm.plan import Action, SwarmPlan, SwarmStep, labels_of, plan_leaving, plan_swarm

CLUSTER, OTHER = "the-cluster", "another"
ALL_KINDS = "MmWwOoSTRBDA"
COMMON_KINDS = "MmWOSB"


@dataclass
class Engine:
    """`node`: what it takes itself for; `swarm`: where; `lost`: it does not reach the others."""

    node: str = ""
    swarm: str = ""
    manager: bool = False
    lost: bool = False


@dataclass
class World:
    """What is there. `nodes`: of the cluster's Swarm, by id; `force`: quorum may be risked."""

    machines: list[Machine]
    voters: frozenset[str]
    engines: dict[str, Engine]
    nodes: dict[str, Node] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    made: int = 0

    def managers(self) -> list[Node]:
        """Those whose majority counts."""
        return [node for node in self.nodes.values() if node.manager_address]

    def quorum(self) -> bool:
        return majority(sum(manager.reachable for manager in self.managers()), len(self.managers()))

    def survives_a_loss(self) -> bool:
        healthy = sum(manager.reachable for manager in self.managers())
        return healthy > 0 and majority(healthy - 1, len(self.managers()))

    def seen(self) -> ObservedSwarm:
        known = {manager.id: manager.manager_address for manager in self.managers() if manager.manager_address}
        infos = {}
        for machine in self.machines:
            engine = self.engines[machine.name]
            if machine.name in self.silent:
                continue
            if not engine.swarm:
                infos[machine.name] = SwarmInfo("inactive")
            elif engine.swarm == CLUSTER:
                there = engine.manager and not engine.lost and self.quorum()
                state = "pending" if engine.lost and engine.manager else "active"
                infos[machine.name] = SwarmInfo(
                    state, engine.node, engine.manager, CLUSTER if there else "", managers=known or {"gone": "x"}
                )
            else:
                infos[machine.name] = SwarmInfo("active", engine.node, True, engine.swarm, managers={engine.node: "x"})
        told = {}
        for info in infos.values():
            if info.cluster_id == CLUSTER:
                told[CLUSTER] = SwarmAnswer(tuple(self.nodes.values()))
            elif info.cluster_id:
                own = Node(info.node_id, 1, "", "10.9.9.9", MANAGER, leader=True, reachable=True, manager_address="x")
                told[info.cluster_id] = SwarmAnswer((own,))
        silent = dict.fromkeys(sorted(self.silent), "no ssh connection")
        return ObservedSwarm(tuple(self.machines), self.voters, infos, told, silent)

    # What Swarm lets be done

    def do(self, step: SwarmStep) -> None:
        getattr(self, f"do_{step.action.name.lower()}")(step)

    def do_init(self, step: SwarmStep) -> None:
        engine = self.engines[step.machine]
        assert not engine.swarm
        self.nodes.clear()
        self._enter(step.machine, MANAGER)

    def do_force_new(self, step: SwarmStep) -> None:
        engine = self.engines[step.machine]
        assert engine.swarm == CLUSTER
        assert engine.manager
        assert not self.quorum()
        for name, other in self.engines.items():
            other.lost = other.lost or (other.manager and other.swarm == CLUSTER and name != step.machine)
        engine.lost = False
        for node in self.managers():
            alone = replace(node, reachable=node.id == step.node, leader=node.id == step.node)
            state = READY if node.id == step.node else DOWN
            self.nodes[node.id] = replace(alone, state=state, manager_address="x" if alone.reachable else "")
        # Others are members no more, so they do not count.
        for node in list(self.nodes.values()):
            if not node.manager_address and node.role == MANAGER:
                self.nodes[node.id] = replace(node, role=MANAGER)

    def do_leave(self, step: SwarmStep) -> None:
        engine = self.engines[step.machine]
        assert step.machine not in self.silent
        assert engine.swarm
        node = self.nodes.get(engine.node)
        assert not (node and node.reachable), "a manager leaves only when it is none any more"
        if node:
            self.nodes[node.id] = replace(node, state=DOWN)
        self.engines[step.machine] = Engine()

    def do_join(self, step: SwarmStep) -> None:
        assert step.machine not in self.silent
        assert not self.engines[step.machine].swarm
        assert self.quorum()
        self._enter(step.machine, step.role)

    def do_promote(self, step: SwarmStep) -> None:
        node = self.nodes[step.node]
        assert self.quorum()
        assert (node.state, node.role) == (READY, WORKER)
        self.nodes[node.id] = replace(node, role=MANAGER, reachable=True, manager_address="x")
        self.engines[step.machine].manager = True

    def do_demote(self, step: SwarmStep) -> None:
        node = self.nodes[step.node]
        assert self.quorum()
        others = [manager for manager in self.managers() if manager.id != node.id]
        assert node.manager_address, "can't find manager in raft memberlist"
        assert others, "the last manager"
        assert majority(sum(other.reachable for other in others), len(others)), "Swarm itself refuses"
        self.nodes[node.id] = replace(node, role=WORKER, reachable=False, leader=False, manager_address="")
        for engine in self.engines.values():
            if engine.node == node.id and node.reachable:
                engine.manager = False

    def do_forget(self, step: SwarmStep) -> None:
        node = self.nodes.pop(step.node)
        assert self.quorum()
        assert not node.manager_address, "it must be demoted first"
        assert node.state == DOWN

    def do_label(self, step: SwarmStep) -> None:
        node = self.nodes[step.node or self.engines[step.machine].node]
        machine = next(machine for machine in self.machines if machine.name == step.machine)
        self.nodes[node.id] = replace(node, labels=labels_of(machine))

    def do_rotate(self, _step: SwarmStep) -> None:
        assert self.quorum()

    def _enter(self, name: str, role: str) -> None:
        self.made += 1
        node = self.add_node(f"new{self.made}", name, role)
        self.engines[name] = Engine(node.id, CLUSTER, role == MANAGER)

    def add_node(self, node_id: str, name: str, role: str, alive: bool = True, **more: object) -> Node:
        manages = role == MANAGER
        address = next((machine.address for machine in self.machines if machine.name == name), "10.0.9.9")
        node = Node(
            node_id,
            1,
            name,
            address,
            role,
            state=READY if alive else DOWN,
            reachable=alive and manages,
            manager_address="x" if manages else "",
        )
        self.nodes[node_id] = replace(node, **more)  # type: ignore[arg-type]
        return self.nodes[node_id]


def majority(here: int, all_of_them: int) -> bool:
    return here * 2 > all_of_them


def world(kinds: Iterable[str]) -> World:
    """Return the world of kinds such as MV (a manager whose etcd votes), in this order."""
    words = list(kinds)
    machines = [
        Machine(f"m{number}", f"10.0.0.{number + 1}", metadata={"n": str(number)}) for number in range(len(words))
    ]
    voters = frozenset(machine.name for machine, word in zip(machines, words, strict=True) if word.endswith("V"))
    made = World(machines, voters, {machine.name: Engine() for machine in machines})
    for machine, word in zip(machines, words, strict=True):
        name, kind = machine.name, word[0]
        if kind in "mwo":
            made.silent.add(name)
        if kind in "MmBS":
            made.add_node(f"id-{name}", name, MANAGER, alive=kind == "M", labels=labels_of(machine))
        elif kind in "WwDT":
            made.add_node(f"id-{name}", name, WORKER, alive=kind == "W", labels=labels_of(machine))
        if kind in "MmBWwDR":
            made.engines[name] = Engine(f"id-{name}", CLUSTER, kind in "MmB", kind in "BD")
        elif kind == "A":
            made.engines[name] = Engine(f"id-{name}", OTHER + name, True)
    if not made.nodes:
        # What removed it is not there.
        for engine in made.engines.values():
            if engine.swarm == CLUSTER:
                engine.lost = True
    return made


def worlds(kinds: str, sizes: Iterable[int]) -> Iterator[tuple[str, ...]]:
    symbols = [kind + vote for kind in kinds for vote in ("V", "")]
    for size in sizes:
        for found in itertools.combinations_with_replacement(symbols, size):
            members = sum(word[0] in "MW" for word in found)
            # Else it is that one Swarm which is the cluster's; the tests below are of these.
            if members > 1 or not any(word[0] == "A" for word in found):
                yield found


def settle(at: World, force: bool = False, rounds: int = 2) -> SwarmPlan:
    """Plan and do until nothing is left to do; return the last plan, which has no step."""
    for _ in range(rounds + 1):
        plan = plan_swarm(at.seen(), force=force)
        if not plan.steps:
            return plan
        walk(at, plan)
    raise AssertionError(f"it does not come to rest: {plan}")


def walk(at: World, plan: SwarmPlan) -> None:
    """Do the steps: Swarm lets each be done, and each keeps the promise."""
    careful = at.survives_a_loss() and not plan.risk
    for step in plan.steps:
        quorum = at.quorum()
        at.do(step)
        assert at.quorum() or not quorum, f"{step} takes the quorum away"
        assert at.survives_a_loss() or not careful, f"{step} takes the tolerance away"


def check_end(at: World, plan: SwarmPlan) -> None:
    notes = " ".join(plan.notes)
    assert at.quorum()
    for machine in at.machines:
        if machine.name in at.silent:
            assert f"{machine.name} can't be asked" in notes
            continue
        node = at.nodes[at.engines[machine.name].node]
        assert dict(node.labels) == labels_of(machine)
        assert node.state == READY
        if (node.role == MANAGER) != (machine.name in at.voters):
            assert node.role == MANAGER
            assert f"{machine.name} has no vote in etcd" in notes
    assert {node.hostname for node in at.nodes.values()} <= {machine.name for machine in at.machines}


def check(kinds: tuple[str, ...]) -> str:
    """Plan for a world, walk it, and return how it went; what is refused is done with force."""
    at, outcome = world(kinds), "done"
    able = at.quorum()
    try:
        plan = settle(at)
    except QuorumAtRisk:
        outcome = "no quorum"
    except Refused:
        outcome = "refused"
    else:
        outcome = "done" if at.quorum() else "nobody votes"
    if outcome in ("no quorum", "refused"):
        assert not able
        at = world(kinds)
        plan = settle(at, force=True, rounds=3)
    if at.quorum():
        check_end(at, plan)
    else:
        assert at.voters <= at.silent
    return outcome


@pytest.mark.parametrize("size", range(1, 5))
def test_every_swarm_of_up_to_four_machines(size: int) -> None:
    outcomes = {check(kinds) for kinds in worlds(ALL_KINDS, [size])}
    assert {"done", "no quorum", "refused", "nobody votes"} == outcomes


@pytest.mark.parametrize(("size", "kinds"), [(5, COMMON_KINDS), (6, "MmWO"), (7, "MmWO")])
def test_every_common_swarm_of_up_to_seven_machines(size: int, kinds: str) -> None:
    outcomes = {check(found) for found in worlds(kinds, [size])}
    assert {"done", "no quorum", "refused", "nobody votes"} == outcomes


# Leaving


def left_without(at: World, name: str) -> tuple[int, int]:
    """Return how many managers are healthy, and how many there are, when this one is none any more.

    Voters that are up and still workers become managers first.
    """
    rest = [manager for manager in at.managers() if manager.hostname != name]
    workers = [
        node for node in at.nodes.values() if (node.role, node.state) == (WORKER, READY) and node.hostname != name
    ]
    new = sum(worker.hostname in at.voters for worker in workers)
    return sum(node.reachable for node in rest) + new, len(rest) + new


def check_leaving(kinds: tuple[str, ...], name: str, force: bool) -> None:
    """Let one machine leave: refused exactly when the managers that are left could not do what they could before."""
    at = world(kinds)
    able, manager = at.quorum(), any(manager.hostname == name for manager in at.managers())
    healthy, total = left_without(at, name)
    survives = healthy > 0 and majority(healthy - 1, total)
    harmless = not manager or (majority(healthy, total) and (survives or not at.survives_a_loss()))
    try:
        plan = plan_leaving(at.seen(), name, force=force)
    except QuorumAtRisk:
        assert not harmless or not able
        assert not force or healthy == 0
        return
    assert harmless or force or not able
    if not able:
        return
    walk(at, plan)
    assert not any(node.hostname == name for node in at.nodes.values())
    assert name in at.silent or not at.engines[name].swarm
    assert {step.machine for step in plan.steps if step.action in (Action.LEAVE, Action.FORGET)} <= {name}
    assert plan_leaving(at.seen(), name, force=force).steps == ()


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("size", "kinds"), [(2, ALL_KINDS), (3, ALL_KINDS), (5, COMMON_KINDS), (7, "MmW")])
def test_every_machine_may_leave_every_swarm_that_can_do_without_it(size: int, kinds: str, force: bool) -> None:
    for found in worlds(kinds, [size]):
        for name in {word: f"m{number}" for number, word in enumerate(found)}.values():
            check_leaving(found, name, force)


# What the letters do not tell


def machine(number: int, **metadata: str) -> Machine:
    return Machine(f"air-{number:02}", f"10.0.0.{number}", metadata=metadata)


def node(number: int, role: str = MANAGER, **more: object) -> Node:
    found = world([]).add_node(f"n{number}", f"air-{number:02}", role)
    return replace(found, address=f"10.0.0.{number}", labels={"argosy.machine": f"air-{number:02}"}, **more)  # type: ignore[arg-type]


def info(number: int, swarm: str = CLUSTER, **more: object) -> SwarmInfo:
    found = SwarmInfo("active", f"n{number}", True, swarm, managers={f"{swarm}-manager": "x"})
    return replace(found, **more)  # type: ignore[arg-type]


def seen(
    numbers: Iterable[int], infos: Iterable[SwarmInfo], told: dict[str, SwarmAnswer], voters: Iterable[int] = ()
) -> ObservedSwarm:
    machines = tuple(machine(number) for number in numbers)
    by_name = dict(zip([machine.name for machine in machines], infos, strict=False))
    silent = {machine.name: "no ssh connection" for machine in machines if machine.name not in by_name}
    return ObservedSwarm(machines, frozenset(f"air-{voter:02}" for voter in (voters or numbers)), by_name, told, silent)


def lines(plan: SwarmPlan) -> list[str]:
    return [f"{step.machine}: {step}" for step in plan.steps]


OUT = SwarmInfo("inactive")


def test_a_new_cluster_s_swarm_is_begun_and_joined_in_the_order_of_the_roles() -> None:
    first = seen([1, 2, 3, 4], [OUT] * 4, {}, voters=[2, 3, 4])
    assert lines(plan_swarm(first)) == [
        "air-02: begin the Swarm, as its first manager",
        "air-03: join the Swarm as a manager",
        "air-04: join the Swarm as a manager",
        "air-01: join the Swarm as a worker",
        *(f"air-{number:02}: label its node with its name and metadata" for number in (1, 2, 3, 4)),
        "swarm: make the tokens worthless that were used for joining",
    ]


def test_no_second_swarm_is_begun_while_a_machine_may_be_in_one() -> None:
    first = seen([1, 2, 3], [OUT, OUT], {})
    with pytest.raises(Refused, match=r"no machine is in one, and air-03 can't be asked: bring them back"):
        plan_swarm(first)
    plan = plan_swarm(first, force=True)
    assert [step.machine for step in plan.steps if step.action in (Action.INIT, Action.JOIN)] == ["air-01", "air-02"]
    assert "given up" in plan.risk


def test_of_two_swarms_that_with_more_of_the_cluster_s_machines_stays() -> None:
    told = {CLUSTER: SwarmAnswer((node(2), node(3))), OTHER: SwarmAnswer((node(1),))}
    both = seen([1, 2, 3], [info(1, OTHER), info(2), info(3)], told)
    assert lines(plan_swarm(both)) == [
        "air-01: leave the Swarm that it is in (it is another one)",
        "air-01: join the Swarm as a manager",
        "air-01: label its node with its name and metadata",
        "swarm: make the tokens worthless that were used for joining",
    ]


def test_of_two_of_the_same_size_that_of_the_first_machine_stays() -> None:
    told = {CLUSTER: SwarmAnswer((node(2),)), OTHER: SwarmAnswer((node(1),))}
    plan = plan_swarm(seen([1, 2], [info(1, OTHER), info(2)], told))
    assert [step.machine for step in plan.steps if step.action is Action.LEAVE] == ["air-02"]


def test_machines_that_can_not_be_asked_count_for_the_swarm_that_knows_them() -> None:
    told = {CLUSTER: SwarmAnswer((node(2), node(3, state=DOWN, reachable=False))), OTHER: SwarmAnswer((node(1),))}
    plan = plan_swarm(seen([1, 2, 3], [info(1, OTHER), info(2)], told))
    assert [step.machine for step in plan.steps if step.action is Action.LEAVE] == ["air-01"]
    assert plan.notes == ("air-03 can't be asked, and stays as it is: no ssh connection",)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (SwarmAnswer((node(1), replace(node(9), hostname="theirs"))), "with theirs, no machine of this cluster"),
        (SwarmAnswer((node(1),), services=2), "that runs 2 services of others"),
    ],
)
def test_a_swarm_that_somebody_may_need_is_not_left_unasked(other: SwarmAnswer, reason: str) -> None:
    told = {CLUSTER: SwarmAnswer((node(2), node(3))), OTHER: other}
    both = seen([1, 2, 3], [info(1, OTHER), info(2), info(3)], told)
    with pytest.raises(Refused, match=rf"air-01 is in another Swarm, {reason}: leave it there .*--force"):
        plan_swarm(both)
    assert "air-01: join the Swarm as a manager" in lines(plan_swarm(both, force=True))


def test_a_swarm_of_others_is_not_taken_for_the_cluster_s() -> None:
    theirs = SwarmAnswer(
        (node(1), *(replace(node(number), hostname=f"theirs-{number}") for number in (7, 8, 9))), services=1
    )
    only = seen([1, 2], [info(1, OTHER), OUT], {OTHER: theirs})
    with pytest.raises(Refused, match="air-01 is in another Swarm, with theirs-7, theirs-8, theirs-9"):
        plan_swarm(only)
    assert lines(plan_swarm(only, force=True))[:2] == [
        "air-01: leave the Swarm that it is in (of no more use)",
        "air-01: begin the Swarm, as its first manager",
    ]


def test_a_node_that_is_up_and_no_machine_of_ours_stays_and_is_told() -> None:
    told = {CLUSTER: SwarmAnswer((node(1), node(2), node(3), replace(node(9, WORKER), labels={}, hostname="guest")))}
    plan = plan_swarm(seen([1, 2, 3], [info(1), info(2), info(3)], told))
    assert plan.steps == ()
    assert plan.notes == ("guest (10.0.0.9) is in the Swarm and no machine of this cluster: it stays",)


def test_a_machine_that_lost_its_disk_joins_anew_and_its_old_node_goes() -> None:
    told = {CLUSTER: SwarmAnswer((node(1), node(2), node(3, state=DOWN, reachable=False)))}
    assert lines(plan_swarm(seen([1, 2, 3], [info(1), info(2), OUT], told))) == [
        "air-03: let it manage the Swarm no longer",
        "air-03: remove its node from the Swarm (it belongs to no machine)",
        "air-03: join the Swarm as a manager",
        "air-03: label its node with its name and metadata",
        "swarm: make the tokens worthless that were used for joining",
    ]


def test_without_a_quorum_the_arithmetic_is_told_and_force_goes_on_with_one() -> None:
    lost = SwarmInfo("pending", "n1", True, managers={"n1": "x", "n2": "y", "n3": "z"})
    at = seen([1, 2, 3], [lost], {})
    with pytest.raises(
        QuorumAtRisk, match=r"1 of 3 managers is there, and 2 are needed: bring managers back; .*air-01"
    ):
        plan_swarm(at)
    plan = plan_swarm(at, force=True)
    assert lines(plan) == ["air-01: continue as the only manager of the Swarm"]
    assert plan.risk.endswith("it continues with what air-01 knows of it")


def test_a_manager_without_a_vote_stays_one_while_the_others_could_lose_none_without_it() -> None:
    told = {CLUSTER: SwarmAnswer((node(1), node(2), node(3)))}
    at = seen([1, 2, 3], [info(1), info(2), info(3)], told, voters=[1, 2])
    plan = plan_swarm(at)
    assert plan.steps == ()
    assert plan.notes == (
        "air-03 has no vote in etcd, and manages the Swarm all the same: 3 of 3 managers are there, one of which may "
        "fail; without air-03 2 of 2 would be left, which needs 2, so none may",
    )
    assert lines(plan_swarm(at, force=True)) == ["air-03: let it manage the Swarm no longer"]


def test_a_newcomer_that_votes_manages_and_who_lost_its_vote_does_no_longer() -> None:
    told = {CLUSTER: SwarmAnswer((node(1), node(2), node(3), node(4, WORKER)))}
    at = seen([1, 2, 3, 4], [info(1), info(2), info(3), info(4, manager=False)], told, voters=[1, 2, 4])
    assert lines(plan_swarm(at)) == ["air-04: let it manage the Swarm", "air-03: let it manage the Swarm no longer"]


def test_labels_are_the_machine_s_metadata_and_nothing_else() -> None:
    green = machine(1, tier="green")
    told = SwarmAnswer((replace(node(1), labels={"argosy.machine": "air-01", "tier": "blue", "old": "x"}),))
    at = ObservedSwarm((green,), frozenset({"air-01"}), {"air-01": info(1)}, {CLUSTER: told})
    assert lines(plan_swarm(at)) == ["air-01: label its node with its name and metadata"]
    assert labels_of(green) == {"tier": "green", "argosy.machine": "air-01"}


def test_what_is_locked_is_left_to_its_operator() -> None:
    with pytest.raises(Refused, match="the Swarm on air-01 is locked"):
        plan_swarm(seen([1], [SwarmInfo("locked")], {}))


def test_leaving_says_the_arithmetic() -> None:
    told = {CLUSTER: SwarmAnswer((node(1), node(2), node(3)))}
    at = seen([1, 2, 3], [info(1), info(2), info(3)], told)
    with pytest.raises(
        QuorumAtRisk,
        match=r"3 of 3 managers are there, one of which may fail; without air-03 2 of 2 would be left, which needs 2, "
        r"so none may: add a machine first, or risk it with --force",
    ):
        plan_leaving(at, "air-03")
    assert lines(plan_leaving(at, "air-03", force=True)) == [
        "air-03: let it manage the Swarm no longer",
        "air-03: leave the Swarm that it is in",
        "air-03: remove its node from the Swarm",
    ]


def test_leaving_is_nothing_where_there_is_no_swarm() -> None:
    assert plan_leaving(seen([1, 2], [OUT, OUT], {}), "air-02") == SwarmPlan()
