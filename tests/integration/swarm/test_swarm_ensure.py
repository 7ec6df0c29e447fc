"""One Swarm of all machines, whatever was there before: real engines in their namespaces, a real etcd on loopback."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from etcd_cluster import EtcdCluster
from swarm_lab import IMAGE, PORT, SwarmLab, requires_swarm_lab, swarm_lab
from waiting import until

from argosy import etcd
from argosy.cluster import lock as cluster_lock
from argosy.config.loading import Settings
from argosy.engine.swarm import Swarm
from argosy.errors import EngineError, QuorumAtRisk
from argosy.etcd import Etcd
from argosy.etcd.quorum import Plan
from argosy.membership import swarm_task
from argosy.membership.actions import Planned, do
from argosy.membership.joining import JoiningMachine
from argosy.membership.leaving import leaving_swarm
from argosy.membership.observing import Membership
from argosy.model import Machine, Member
from argosy.ssh.host import Hosts
from argosy.swarm import applying, ensuring, observing
from argosy.swarm.plan import Action

pytest_plugins = ["etcd_fixtures"]
pytestmark = [pytest.mark.integration, pytest.mark.slow(5), requires_swarm_lab]


@dataclass
class Place:
    """The machines air-01 and so on, and who votes: the store says so, whatever the real etcd has."""

    lab: SwarmLab
    settings: Settings
    hosts: Hosts
    store: Etcd
    said: list[str] = field(default_factory=list)
    voting: list[str] = field(default_factory=list)

    def report(self, subject: str, message: str) -> None:
        self.said.append(f"{subject}: {message}")

    def members(self) -> list[Member]:
        machines = {machine.name: machine.address for machine in self.lab.machines()}
        urls = {name: (f"https://{machines[name]}:2380",) for name in self.voting}
        return [Member(name, name, url, url, healthy=True) for name, url in urls.items()]

    def ensure(self, force: bool = False) -> list[str]:
        return [f"{step.machine}: {step}" for step in ensuring.ensure(self.cluster(), force=force).steps]

    def actions(self, force: bool = False) -> list[tuple[str, Action]]:
        return [(step.machine, step.action) for step in ensuring.ensure(self.cluster(), force=force).steps]

    def depart(self, name: str, **options: bool) -> None:
        cluster = self.cluster()
        with cluster.locked("test"):
            ensuring.depart(cluster, name, **options)

    def machine(self, name: str) -> Machine:
        return self.hosts[name].machine

    def cluster(self, force: bool = False) -> Membership:
        """Return what the tasks of members work with."""
        cluster = Membership(self.settings, self.report, hosts=self.hosts, store=self.store)
        cluster.known, cluster.force = tuple(self.lab.machines()), force
        cluster.look()
        return cluster

    @property
    def swarm(self) -> Swarm:
        """Some manager that works."""
        return next(
            node.swarm
            for node in self.lab.nodes.values()
            if node.process and node.answers() and node.swarm.info().cluster_id
        )

    def roles(self) -> dict[str, str]:
        return {node.hostname: node.role for node in self.swarm.nodes() if node.state == "ready"}

    def nodes(self) -> int:
        return len(self.swarm.nodes())


@contextlib.contextmanager
def place(
    size: int, voting: int, cluster: EtcdCluster, monkeypatch: pytest.MonkeyPatch, **machines: dict[str, str]
) -> Iterator[Place]:
    monkeypatch.setattr(observing, "SETTLE_SECONDS", 8.0)
    monkeypatch.setattr(applying, "STEP_SECONDS", 25.0)
    with swarm_lab(size) as lab, etcd.connect(cluster.settings(), cluster.machines) as store:
        lab.lead(monkeypatch)
        ssh = {"user": "root", "key": str(lab.folder / "ssh" / "key"), "connect_attempts": 1}
        settings = lab.settings(ssh=ssh, swarm={"heartbeat_seconds": 1})
        all_machines = [
            Machine(machine.name, machine.address, metadata=machines.get(machine.name.replace("-", "_"), {}))
            for machine in lab.machines()
        ]
        with Hosts(settings, all_machines) as hosts:
            made = Place(lab, settings, hosts, store)
            made.voting = list(lab.nodes)[:voting]
            monkeypatch.setattr(store, "members", made.members)
            yield made


def test_a_swarm_is_made_kept_and_mended(cluster: EtcdCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with place(4, 3, cluster, monkeypatch, air_04={"tier": "green"}) as at:
        assert len([line for line in at.ensure() if "join the Swarm" in line]) == 3
        assert at.roles() == {"air-01": "manager", "air-02": "manager", "air-03": "manager", "air-04": "worker"}
        labels = {node.hostname: dict(node.labels) for node in at.swarm.nodes()}
        assert labels["air-04"] == {"argosy.machine": "air-04", "tier": "green"}
        assert labels["air-01"] == {"argosy.machine": "air-01"}
        assert at.swarm.cluster_spec()["Dispatcher"]["HeartbeatPeriod"] == 1_000_000_000

        # Again: nothing, and without a lock.
        with cluster_lock.held(at.store, "somebody else", ttl_seconds=30):
            assert at.ensure() == []

        # Another one votes instead.
        at.voting = ["air-01", "air-02", "air-04"]
        assert at.actions() == [("air-04", Action.PROMOTE), ("air-03", Action.DEMOTE)]
        assert at.roles() == {"air-01": "manager", "air-02": "manager", "air-03": "worker", "air-04": "manager"}

        # A machine that lost its disk joins anew, and nothing of its earlier life stays.
        at.lab.power_off("air-02")
        shutil.rmtree(at.lab.nodes["air-02"].folder / "data" / "swarm")
        at.lab.start("air-02")
        until(lambda: any(node.state == "down" for node in at.swarm.nodes()), 30, every=0.1)
        assert ("air-02", Action.JOIN) in at.actions()
        assert (at.roles()["air-02"], at.nodes()) == ("manager", 4)

        # One that left by itself, and one whose node somebody has removed.
        at.lab.nodes["air-03"].swarm.leave()
        until(lambda: any(node.state == "down" for node in at.swarm.nodes()), 30, every=0.1)
        assert at.actions()[0] == ("air-03", Action.FORGET)
        gone = next(node for node in at.swarm.nodes() if node.hostname == "air-03")
        at.swarm.remove_node(gone.id, force=True)
        assert at.actions()[:2] == [("air-03", Action.LEAVE), ("air-03", Action.JOIN)]
        assert (len(at.roles()), at.nodes()) == (4, 4)
        assert at.ensure() == []


def test_a_swarm_that_was_begun_apart_is_left_and_a_quorum_that_is_lost_is_told_and_forced(
    cluster: EtcdCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place(3, 3, cluster, monkeypatch) as at:
        apart = at.lab.nodes["air-03"]
        apart.swarm.init(apart.address, PORT)
        at.lab.form_of("air-01", "air-02")
        assert ("air-03", Action.LEAVE) in at.actions()
        assert at.roles() == dict.fromkeys(at.lab.nodes, "manager")
        service = at.swarm.create_service(
            {
                "Name": "web",
                "TaskTemplate": {"ContainerSpec": {"Image": IMAGE, "Command": ["sleep", "100000"], "Init": True}},
                "Mode": {"Replicated": {"Replicas": 1}},
            }
        )

        at.lab.power_off("air-02")
        at.lab.power_off("air-03")
        monkeypatch.setattr(observing, "LEADER_SECONDS", 5.0)
        until(lambda: not at.lab.nodes["air-01"].swarm.info().cluster_id, 40, every=0.2)
        with pytest.raises(QuorumAtRisk, match="1 of 3 managers is there, and 2 are needed"):
            at.ensure()
        with pytest.raises(QuorumAtRisk, match="1 of 3 managers is there, and 2 are needed"):
            at.depart("air-01")
        at.depart("air-02")
        assert at.said[-1].startswith("swarm: the Swarm has no quorum: what it knows of the machine stays there")
        assert ("air-01", Action.FORCE_NEW) in at.actions(force=True)
        assert any("risked by force" in line for line in at.said)
        until(lambda: sum(task.runs for task in at.swarm.tasks(service)) == 1, 40, every=0.2)

        # The lost ones come back, with what they knew.
        at.lab.start("air-02", "air-03")
        at.ensure()
        until(lambda: at.roles() == dict.fromkeys(at.lab.nodes, "manager"), 20, every=0.2)
        assert at.ensure() == []
        assert at.nodes() == 3
        assert at.swarm.service("web")


def test_machines_leave_alive_and_dead_and_never_with_the_quorum(
    cluster: EtcdCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place(5, 3, cluster, monkeypatch) as at:
        at.ensure()
        at.depart("air-05")  # a worker that is alive
        assert not at.lab.nodes["air-05"].swarm.info().inside
        at.lab.power_off("air-04")
        at.depart("air-04")  # and one that is dead
        assert at.nodes() == 3
        with pytest.raises(QuorumAtRisk, match="without air-01 2 of 2 would be left, which needs 2, so none may"):
            at.depart("air-01")
        assert at.nodes() == 3
        leader = next(node.hostname for node in at.swarm.nodes() if node.leader)
        at.depart(leader, force=True)
        assert not at.lab.nodes[leader].swarm.info().inside
        assert at.nodes() == 2
        at.depart(leader, force=True)
        assert at.nodes() == 2


def test_a_machine_joins_and_leaves_in_the_steps_of_the_membership_tasks(
    cluster: EtcdCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place(4, 3, cluster, monkeypatch) as at:
        at.lab.form_of("air-01", "air-02", "air-03")
        at.ensure()  # air-04 is in the inventory, and so a worker

        def steps(name: str, alive: bool = True, force: bool = False) -> list[str]:
            opened = at.cluster(force)
            with opened.locked("test"):
                actions = tuple(leaving_swarm(opened, name, alive=alive))
                do(opened, Planned(actions), name, "a test")
            return [action.step.action for action in actions]

        (one,) = steps("air-04")
        assert one == "leave the Swarm that it is in; remove its node from the Swarm"
        assert steps("air-04") == []
        with pytest.raises(QuorumAtRisk, match="without air-03 2 of 2 would be left"):
            steps("air-03")
        assert at.nodes() == 3

        # air-04 comes for air-03: it joins with its vote, then the other may go.
        at.voting.append("air-04")
        opened = at.cluster()
        opened.new = at.machine("air-04")
        with opened.locked("test"):
            joiner = JoiningMachine(opened, at.machine("air-04"), Plan(), install=True)
            actions = tuple(joiner.swarm_actions())
            assert [action.step.action for action in actions] == ["see that it is in the Swarm, as a manager"]
            do(opened, Planned(actions), "air-04", "a test")
        assert at.roles()["air-04"] == "manager"
        (one,) = steps("air-03")
        assert one.startswith("let it manage the Swarm no longer; leave the Swarm")
        at.voting.remove("air-03")
        assert at.roles() == {"air-01": "manager", "air-02": "manager", "air-04": "manager"}

        # A dead one: nothing of it stays.
        at.lab.power_off("air-02")
        steps("air-02", alive=False, force=True)
        assert at.roles() == {"air-01": "manager", "air-04": "manager"}
        assert at.nodes() == 2

        off = at.lab.settings(swarm={"enabled": False})
        opened = at.cluster()
        joiner.settings = opened.settings = off
        assert list(leaving_swarm(opened, "air-04", alive=True)) == []
        assert list(joiner.swarm_actions()) == []


def test_the_task_shows_ensures_and_plans(cluster: EtcdCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with place(2, 1, cluster, monkeypatch) as at:
        for machine in at.lab.machines():
            record = {"address": machine.address, "state": "active", "metadata": {}}
            at.store.put(f"/machines/{machine.name}", json.dumps(record))

        @contextlib.contextmanager
        def opened(*_: object) -> Iterator[Membership]:
            yield at.cluster()

        monkeypatch.setattr(swarm_task, "opened", opened)
        assert swarm_task.show(at.settings).problems()[0] == (
            "air-01: swarm: to do: begin the Swarm, as its first manager"
        )
        planned = swarm_task.plan(at.settings)
        assert "air-02: join the Swarm as a worker" in map(str, planned.steps)
        assert swarm_task.show(at.settings).nodes[0].role == ""
        done = swarm_task.ensure(at.settings, at.report)
        assert done.steps == planned.steps
        assert swarm_task.plan(at.settings).steps == []
        assert swarm_task.show(at.settings).problems() == []

        # What a drain left that was killed.
        node = next(node for node in at.swarm.nodes() if node.hostname == "air-02")
        at.swarm.update_node(node, availability="pause")
        assert swarm_task.show(at.settings).problems() == [
            "air-02: swarm: it is in service, and its node takes no instances (pause): inv cluster.swarm --ensure"
        ]
        assert [str(step) for step in swarm_task.ensure(at.settings, at.report).steps] == [
            "swarm: let air-02, which is in service, take instances again"
        ]
        assert swarm_task.show(at.settings).problems() == []
        at.store.delete("/machines/", prefix=True)


def test_killed_at_any_step_the_same_again_goes_on(cluster: EtcdCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run is ended after one more call that changes something; at the end all are in one Swarm."""
    with place(3, 2, cluster, monkeypatch) as at:
        allowed, calls = 0, 0
        changing = {name: getattr(Swarm, name) for name in ("init", "join", "update_node", "rotate_tokens", "leave")}

        def counted(name: str) -> object:
            def call(self: Swarm, *given: object, **named: object) -> object:
                nonlocal calls
                calls += 1
                if calls > allowed + 1:
                    raise EngineError("killed before")
                result = changing[name](self, *given, **named)
                if calls == allowed + 1:
                    raise EngineError("killed behind")
                return result

            return call

        for name in changing:
            monkeypatch.setattr(Swarm, name, counted(name))
        killed = 0
        while True:
            calls = 0
            try:
                at.ensure()
            except EngineError:
                killed += 1
                assert killed < 20, at.said
            else:
                break
        assert killed > 5
        assert at.roles() == {"air-01": "manager", "air-02": "manager", "air-03": "worker"}
        assert {node.labels["argosy.machine"] for node in at.swarm.nodes()} == set(at.lab.nodes)
