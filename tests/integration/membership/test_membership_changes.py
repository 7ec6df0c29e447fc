"""Machines join, leave and replace each other: real etcd, machines that do what they are sent (member_lab)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from member_lab import Lab
from raised import raises
from service_examples import record

from argosy import inventory
from argosy.cluster import lock as cluster_lock
from argosy.cluster.opening import OpenCluster
from argosy.cluster.operator_record import OperatorRecord, Rights
from argosy.config.containers import ServiceSettings
from argosy.draining.machine import Draining
from argosy.errors import ConfigError, DeadlineExceeded, Interrupted, LockHeld, LockLost, QuorumAtRisk, Refused
from argosy.membership import adding, removing, volumes
from argosy.membership.actions import Planned
from argosy.membership.adding import Added, Options
from argosy.membership.leaving import CLEAR
from argosy.membership.observing import opened
from argosy.services.homes import Kept

pytest_plugins = ["etcd_fixtures"]
pytestmark = [pytest.mark.integration, pytest.mark.slow(2)]

AT = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
CI = OperatorRecord(
    rights=Rights.DEPLOY,
    certificate="9f2c",
    ssh_key="ssh-ed25519 AAAAci air-test-ci",
    ssh_fingerprint="SHA256:ci",
    added=AT,
    by="ann@desk",
)
OPERATORS = {"ci": CI, "bob": replace(CI, ssh_key="ssh-ed25519 AAAAbob air-test-bob").revoked(AT, "ann@desk", ())}
INSTALL = Options(install=True)
Make = Callable[..., Lab]


@pytest.fixture
def make(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(size: int, max_members: int = 5, timeout_seconds: float = 2.0) -> Lab:
            lab = Lab(tmp_path, programs, monkeypatch, size, max_members, timeout_seconds)
            stack.callback(lab.cluster.stop)
            lab.start()
            return lab

        yield make


def add(lab: Lab, new: str, options: Options = INSTALL, *, existing: str = "air-01") -> Added:
    return adding.add(lab.settings, existing, new, lab.report, options)


def remove(lab: Lab, name: str, *, force: bool = False, existing: str = "air-01") -> Planned:
    return removing.remove(lab.settings, existing, name, lab.report, force=force)


def newcomer(lab: Lab, number: int, *, up: bool = True) -> str:
    """Make a machine and return the word that adds it."""
    name, address = f"air-{number:02}", f"127.0.8.{number}"
    lab.add(name, address).up = up
    return f"{name}={address}"


def steps(planned: Planned) -> list[str]:
    return [str(step) for step in planned.steps]


class TestAdding:
    def test_a_machine_joins_in_two_runs_and_a_third_does_nothing(self, make: Make) -> None:
        lab = make(1)
        word = newcomer(lab, 2, up=False)
        path = lab.settings.state_path / "cloud-config" / "air-02.yaml"

        dry = adding.plan(lab.settings, "air-01", word, lab.report, Options())
        assert steps(dry.planned) == [
            "air-02: add it to etcd as a learner",
            f"air-02: write {path}",
            "here: remember air-02",
        ]
        assert not path.exists()
        assert lab.voters() == ["air-01"]

        first = add(lab, word, Options())
        assert steps(first.planned) == steps(dry.planned)
        assert first.next_steps == [
            f"boot air-02 with {path}, pin its host key (inv cluster.trust 127.0.8.2), then run the same with --install"
        ]
        assert "ETCD_INITIAL_CLUSTER_STATE=existing" in path.read_text()
        assert lab.known() == ["air-01", "air-02"]
        assert lab.voters() == ["air-01"]

        # Nothing that is done is done again, by name as by address.
        again = add(lab, "127.0.8.2", Options())
        assert steps(again.planned) == []
        assert again.planned.notes == ("air-02 is already a learner: this continues",)

        lab.machines["air-02"].up = True
        second = add(lab, "air-02")
        assert steps(second.planned) == [
            "air-02: wait for ssh, install what it lacks, bring what its cloud-config lacks",
            "air-02: upload its secrets, follow its install",
            "air-02: wait for its vote in etcd",
            "machines: tell air-01 who runs etcd: air-01, air-02",
        ]
        assert second.next_steps == []
        assert lab.voters() == ["air-01", "air-02"]
        assert {machine.endpoints for machine in lab.machines.values()} == {lab.urls("air-01", "air-02")}

        third = add(lab, "air-02")
        assert steps(third.planned) == []
        assert third.planned.notes == ("air-02 is already a member of etcd",)
        assert [what for what, _ in lab.history()] == ["add air-02", "add air-02"]
        assert "/cluster/lock" not in lab.stored()

    def test_beyond_the_most_members_it_is_a_client(self, make: Make) -> None:
        lab = make(2, max_members=2)
        added = add(lab, newcomer(lab, 3))
        assert steps(added.planned) == [
            f"air-03: write {added.cloud_config}",
            "here: remember air-03",
            "air-03: wait for ssh, install what it lacks, bring what its cloud-config lacks",
            "air-03: upload its secrets, follow its install",
        ]
        assert "MACHINE_ROLE=client" in added.cloud_config.read_text()
        assert lab.voters() == ["air-01", "air-02"]
        assert lab.machines["air-03"].endpoints == lab.urls("air-01", "air-02")
        assert steps(add(lab, "air-03").planned) == []
        assert steps(remove(lab, "air-03")) == [
            "air-03: drain: routers and balancer send it nothing new",
            "air-03: stop its services, for good",
            "air-03: stop its etcd, remove its data and all secrets",
            f"air-03: {CLEAR}",
            "etcd: forget air-03: 2 keys",
            "here: forget air-03: its place in the inventory, host key, certificates and cloud-config file",
        ]

    def test_it_lets_the_operators_in_who_were_added(self, make: Make) -> None:
        lab = make(1)
        with lab.store() as store:
            for name, record in OPERATORS.items():
                store.put(f"/cluster/operators/{name}", record.text())
        added = add(lab, newcomer(lab, 2))
        assert "air-02: let the operators ci in by ssh" in steps(added.planned)
        done = lab.machines["air-02"].done
        assert done.count("let an ssh key in") == 1
        assert done.index("let an ssh key in") < done.index("upload"), "killed after its install nothing would resume"
        text = added.cloud_config.read_text()
        assert OPERATORS["ci"].ssh_key in text
        assert OPERATORS["bob"].ssh_key not in text

    def test_it_lets_the_operators_in_no_more_when_it_leaves(self, make: Make) -> None:
        lab = make(2)
        left = replace(CI, ssh_key="ssh-ed25519 AAAAeve air-test-eve").revoked(AT, "ann@desk", ("air-02",))
        with lab.store() as store:
            for name, record in {**OPERATORS, "eve": left}.items():
                store.put(f"/cluster/operators/{name}", record.text())
        assert f"air-02: {CLEAR}; let the operators ci, eve in by ssh no more" in steps(remove(lab, "air-02"))
        assert lab.machines["air-02"].shut_out == ["AAAAci", "AAAAeve"]
        assert lab.machines["air-01"].shut_out == []

    def test_a_newcomer_that_never_boots_is_taken_back(self, make: Make) -> None:
        lab = make(1)
        add(lab, newcomer(lab, 2, up=False), Options())
        with pytest.raises(Refused, match="air-02 is a learner still and etcd takes one at a time"):
            add(lab, newcomer(lab, 3), Options())
        assert steps(remove(lab, "air-02")) == [
            "air-02: remove it from etcd",
            "here: forget air-02: its place in the inventory, host key, certificates and cloud-config file",
        ]
        assert lab.known() == ["air-01"]
        assert list((lab.settings.state_path / "cloud-config").iterdir()) == []
        assert steps(remove(lab, "air-02")) == []
        add(lab, "air-03=127.0.8.3")
        assert lab.voters() == ["air-01", "air-03"]

    def test_what_etcd_would_refuse_is_refused_before_anything_is_done(self, make: Make) -> None:
        lab = make(3)
        lab.power_off("air-03")
        with pytest.raises(Refused, match="air-03 is down, and etcd adds a member only while all are connected"):
            add(lab, newcomer(lab, 4))
        lab.power_off("air-02")
        with pytest.raises(Refused, match="etcd has no quorum: 1 of 3 members is healthy, and 2 are needed"):
            add(lab, "air-04=127.0.8.4")
        assert lab.known() == ["air-01", "air-02", "air-03"]

    def test_a_word_that_means_no_machine_of_the_cluster_is_refused(self, make: Make) -> None:
        lab = make(1)
        with raises(ConfigError, "air-01", path="127.0.8.77"):
            add(lab, newcomer(lab, 2), existing="127.0.8.77")

    def test_a_host_that_does_not_know_the_cluster_learns_it_from_etcd(self, make: Make) -> None:
        lab = make(2)
        inventory.forget(lab.settings, lab.known())
        add(lab, newcomer(lab, 3), existing="127.0.8.2")
        assert lab.voters() == ["air-01", "air-02", "air-03"]
        assert {machine.endpoints for machine in lab.machines.values()} == {lab.urls("air-01", "air-02", "air-03")}

    def test_data_of_an_earlier_membership_is_out_of_the_way_first(self, make: Make) -> None:
        lab = make(1)
        word = newcomer(lab, 2)
        (lab.data("air-02") / "member").mkdir(parents=True)
        lab.pin(lab.machines["air-02"].machine)
        added = add(lab, word)
        assert steps(added.planned)[0] == "air-02: set aside etcd's data of an earlier membership"
        assert lab.voters() == ["air-01", "air-02"]
        assert (lab.data("air-02") / "aside-of-another-membership").is_dir()

    def test_a_machine_that_is_there_but_no_member_has_to_be_installed_anew(self, make: Make) -> None:
        lab = make(2, max_members=1)
        lab.settings = lab.settings.model_copy(update={"etcd": lab.settings.etcd.model_copy(update={"max_members": 3})})
        with pytest.raises(Refused, match="air-02 is set up already and would have to change: give --install"):
            add(lab, "air-02", Options())
        add(lab, "air-02")
        assert lab.voters() == ["air-01", "air-02"]


class TestRemoving:
    def test_volumes_on_it_are_not_lost_unless_that_is_said(self, make: Make) -> None:
        lab = make(4)
        data = [{"source": "data", "target": "/data"}]
        database = ServiceSettings.model_validate({"image": "etcd", "machines": ["air-04"], "volumes": data})
        lab.settings = lab.settings.model_copy(update={"services": {**lab.settings.services, "db": database}})
        refused = ("air-04", "data of db", "--lose-volumes")
        with lab.store() as store:
            before = store.get_prefix("/").entries
        with raises(Refused, *refused):
            removing.plan(lab.settings, "air-01", "air-04", lab.report)
        with raises(Refused, *refused):
            remove(lab, "air-04")
        with raises(Refused, *refused):
            adding.plan(lab.settings, "air-01", newcomer(lab, 5), lab.report, Options(replace="air-04"))
        with lab.store() as store:
            assert store.get_prefix("/").entries == before
        assert removing.plan(lab.settings, "air-01", "air-03", lab.report).steps
        done = removing.remove(lab.settings, "air-01", "air-04", lab.report, lose_volumes=True)
        assert done.steps
        assert "air-04" not in lab.known()

    def test_volumes_are_known_of_while_no_swarm_answers(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(_cluster: OpenCluster) -> None:
            raise Refused("no manager of the Swarm is there")

        lab = make(3)
        monkeypatch.setattr(volumes, "working", refused)
        settings = lab.settings.model_copy(update={"swarm": lab.settings.swarm.model_copy(update={"enabled": True})})
        data = [{"source": "data", "target": "/data"}]
        made = {"db": record("db", replicas=1, volumes=data), "queue": record("queue", replicas=1, volumes=data)}

        def kept(name: str) -> list[Kept]:
            with opened(settings, "air-01", lab.report) as cluster:
                return volumes.kept_on(cluster, name)

        with lab.store() as store:
            assert kept("air-03") == []
            store.put(made["db"].key, made["db"].text())
            store.put("/cluster/homes/db", '{"machines": ["air-03"]}')
            assert kept("air-03") == [Kept("db", ("data",))]
            assert kept("air-02") == []
            store.put(made["queue"].key, made["queue"].text())
        assert kept("air-02") == [Kept("queue", ())], "it may be anywhere"

    def test_a_machine_leaves_and_nothing_of_it_stays(self, make: Make) -> None:
        lab = make(4)
        with lab.store() as store:
            leader = next(member for member in store.members() if member.leader)
            store.put(f"/services/web/weight/{leader.name}:air-web", "50")
            store.put(f"/routers/{leader.name}", "999999999")
        gone, others = leader.name, [name for name in lab.known() if name != leader.name]
        planned = removing.plan(lab.settings, others[0], gone, lab.report)
        done = remove(lab, gone, existing=others[0])
        assert steps(done) == steps(planned)
        assert steps(done) == [
            f"{gone}: drain: routers and balancer send it nothing new",
            f"{gone}: stop its services, for good",
            f"{gone}: let {others[0]} lead etcd instead",
            f"{gone}: remove it from etcd",
            f"{gone}: stop its etcd, remove its data and all secrets",
            f"{gone}: {CLEAR}",
            f"etcd: forget {gone}: 4 keys",
            f"machines: tell {', '.join(others)} who runs etcd: {', '.join(others)}",
            f"here: forget {gone}: its place in the inventory, host key, certificates and cloud-config file",
        ]
        assert lab.voters() == others
        assert not [key for key in lab.stored() if gone in key]
        assert lab.known() == others
        assert not lab.machines[gone].trusted
        assert {lab.machines[name].endpoints for name in others} == {lab.urls(*others)}
        again = remove(lab, gone, existing=others[0])
        assert steps(again) == []
        assert again.notes[0] == f"{gone} is no machine of the cluster (any more)"
        assert lab.history() == [(f"remove {gone}", "done")]

    def test_it_stops_when_nobody_has_its_instances_any_more_and_no_connection_is_open(self, make: Make) -> None:
        lab = make(4)
        leaver = lab.machines["air-04"]
        leaver.connections = '{"connections": 2}'
        with lab.agent("air-04"):
            remove(lab, "air-04")
        assert leaver.done[:4] == ["true", "deregister", "tell the connections", "stop the services"]
        assert "air-04: 2 connections are still open after 60 s: they will be cut" in lab.said

    def test_one_that_a_router_still_sends_to_stays_unless_forced(self, make: Make) -> None:
        lab = make(4)
        with lab.store() as store:
            store.put("/routers/air-01", "1")
            with pytest.raises(DeadlineExceeded, match="not applied in the time given by the router of air-01"):
                remove(lab, "air-04")
            assert lab.state(store, "air-04") == "active"
        assert "stop the services" not in lab.machines["air-04"].done
        remove(lab, "air-04", force=True)
        assert "stop the services" in lab.machines["air-04"].done
        assert [line for line in lab.said if line.startswith("air-04: not waited for any longer, by force")]

    def test_a_dead_one_is_removed_without_draining(self, make: Make) -> None:
        lab = make(3)
        lab.power_off("air-03")
        done = remove(lab, "127.0.8.3")
        assert steps(done) == [
            "air-03: remove it from etcd",
            "etcd: forget air-03: 2 keys",
            "machines: tell air-01, air-02 who runs etcd: air-01, air-02",
            "here: forget air-03: its place in the inventory, host key, certificates and cloud-config file",
        ]
        assert "if it returns, power it off" in done.notes[0]
        assert lab.voters() == ["air-01", "air-02"]

    def test_another_machine_that_is_dead_is_told_the_next_time(self, make: Make) -> None:
        lab = make(3, max_members=2)
        lab.power_off("air-03")
        lab.add("air-04", "127.0.8.4")
        lab.machines["air-02"].up = True
        remove(lab, "air-02", force=True)
        told = lab.urls("air-01")
        assert (lab.machines["air-01"].endpoints, lab.machines["air-03"].endpoints == told) == (told, False)
        assert [line for line in lab.said if line.startswith("air-03: not told who runs etcd")]
        lab.machines["air-03"].up = True
        assert steps(add(lab, "air-03").planned)[-1] == "machines: tell air-01 who runs etcd: air-01, air-03"

    def test_one_that_only_seems_dead_is_not_removed(self, make: Make) -> None:
        lab = make(3)
        lab.machines["air-03"].up = False
        with pytest.raises(Refused, match=r"but its etcd answers, so its services would continue"):
            remove(lab, "air-03")
        assert lab.voters() == ["air-01", "air-02", "air-03"]
        remove(lab, "air-03", force=True)
        assert lab.known() == ["air-01", "air-02"]

    def test_the_last_and_what_costs_a_tolerance_is_refused_with_the_arithmetic(self, make: Make) -> None:
        lab = make(3)
        with pytest.raises(QuorumAtRisk, match=r"^3 of 3 .* removing air-03 leaves 2 of 2, which needs 2, so none may"):
            remove(lab, "air-03")
        assert lab.stored("/cluster/") == []
        done = remove(lab, "air-03", force=True)
        assert done.notes[-1].startswith("risked by force: 3 of 3 members are healthy")
        remove(lab, "air-02")
        with pytest.raises(Refused, match="air-01 is the last machine"):
            remove(lab, "air-01", force=True)
        assert lab.voters() == ["air-01"]

    def test_a_lost_quorum_is_made_good_by_force_with_all_that_was_there(self, make: Make) -> None:
        lab = make(2, timeout_seconds=1.0)
        with lab.store() as store:
            store.put("/settings/kept", "yes")
        lab.power_off("air-02")
        with pytest.raises(QuorumAtRisk, match="etcd has no quorum: 1 of 2 members is healthy, and 2 are needed to"):
            remove(lab, "air-02")
        dry = removing.plan(lab.settings, "air-01", "air-02", lab.report, force=True)
        assert steps(dry)[0] == "etcd: make a new etcd cluster of air-01 with the present data"
        remove(lab, "air-02", force=True)
        assert lab.voters() == ["air-01"]
        assert lab.known() == ["air-01"]
        assert lab.machines["air-01"].endpoints == lab.urls("air-01")
        with lab.store() as store:
            assert store.get("/settings/kept").value == "yes"
        assert not [key for key in lab.stored() if "air-02" in key]
        assert len(list((lab.settings.state_path / "backups").iterdir())) == 1

    def test_a_client_goes_by_force_while_etcd_can_t_be_told(self, make: Make) -> None:
        lab = make(3, max_members=2, timeout_seconds=1.0)
        lab.power_off("air-02")
        with pytest.raises(QuorumAtRisk, match="what it holds of air-03 stays there"):
            remove(lab, "air-03")
        done = remove(lab, "air-03", force=True)
        assert steps(done) == [
            "air-03: stop its services, for good",
            "air-03: stop its etcd, remove its data and all secrets",
            f"air-03: {CLEAR}",
            "here: forget air-03: its place in the inventory, host key, certificates and cloud-config file",
        ]
        assert lab.known() == ["air-01", "air-02"]

    def test_the_last_healthy_one_leaves_its_data_here(self, make: Make) -> None:
        lab = make(2, timeout_seconds=1.0)
        lab.power_off("air-02")
        with pytest.raises(QuorumAtRisk):
            remove(lab, "air-01", existing="air-02")
        done = remove(lab, "air-01", force=True, existing="air-02")
        assert "etcd's data is only in the file that is saved here" in done.notes[0]
        assert lab.known() == ["air-02"]
        assert not lab.machines["air-01"].trusted
        (saved,) = (lab.settings.state_path / "backups").iterdir()
        assert saved.stat().st_size > 10_000


class TestReplacing:
    def test_one_that_is_there_goes_when_the_newcomer_has_its_vote(self, make: Make) -> None:
        lab = make(2)
        word = newcomer(lab, 3)
        first = add(lab, word, Options(replace="air-02"))
        assert first.planned.notes[-1] == "air-02 stays until air-03 is in: run the same with --install then"
        assert lab.voters() == ["air-01", "air-02"]
        done = add(lab, "air-03", Options(replace="air-02", install=True))
        # Who leads is a matter of chance.
        shown = [step for step in steps(done.planned) if not step.startswith(("air-03", "here", "air-02: let "))]
        assert shown == [
            "air-02: drain: routers and balancer send it nothing new",
            "air-02: stop its services, for good",
            "air-02: remove it from etcd",
            "air-02: stop its etcd, remove its data and all secrets",
            f"air-02: {CLEAR}",
            "etcd: forget air-02: 2 keys",
            "machines: tell air-01, air-03 who runs etcd: air-01, air-03",
            "etcd: note that air-02 is replaced",
        ]
        assert lab.voters() == ["air-01", "air-03"]
        assert lab.known() == ["air-01", "air-03"]
        assert lab.stored("/cluster/replacing/") == []
        assert {lab.machines[name].endpoints for name in lab.known()} == {lab.urls("air-01", "air-03")}
        assert steps(add(lab, "air-03", Options(replace="air-02", install=True)).planned) == []

    def test_a_dead_one_goes_first(self, make: Make) -> None:
        lab = make(3, max_members=3)
        lab.power_off("air-02")
        done = add(lab, newcomer(lab, 4), Options(replace="air-02", install=True))
        assert steps(done.planned)[:3] == [
            "air-02: remove it from etcd",
            "etcd: forget air-02: 2 keys",
            "air-04: add it to etcd as a learner",
        ]
        assert lab.voters() == ["air-01", "air-03", "air-04"]
        assert lab.known() == ["air-01", "air-03", "air-04"]

    def test_the_only_machine_hands_over_to_its_successor(self, make: Make) -> None:
        lab = make(1)
        with lab.store() as store:
            store.put("/settings/kept", "yes")
        add(lab, newcomer(lab, 2), Options(replace="air-01", install=True))
        assert lab.voters() == ["air-02"]
        assert lab.known() == ["air-02"]
        with lab.store() as store:
            assert store.get("/settings/kept").value == "yes"
        assert lab.machines["air-02"].endpoints == lab.urls("air-02")


def dying(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let the operator die when that many actions are done."""

    def do(_cluster: OpenCluster, planned: Planned, _subject: str, _what: str) -> None:
        for number, each in enumerate(planned.actions):
            if number >= after:
                raise Interrupted("died")
            each.run()

    monkeypatch.setattr(adding, "do", do)
    monkeypatch.setattr(removing, "do", do)


class TestDying:
    def test_an_addition_is_gone_on_with_from_every_step(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        lab = make(1)
        word = newcomer(lab, 2)
        for after in range(20):
            dying(monkeypatch, after)
            try:
                add(lab, word, Options(install=True))
            except Interrupted:
                continue
            break
        assert after > 3
        assert lab.voters() == ["air-01", "air-02"]
        assert lab.known() == ["air-01", "air-02"]
        assert lab.stored("/cluster/replacing/") == []

    def test_a_removal_is_gone_on_with_from_every_step(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        lab = make(4)
        for after in range(20):
            dying(monkeypatch, after)
            try:
                remove(lab, "air-04")
            except Interrupted:
                continue
            break
        assert after > 3
        assert lab.voters() == ["air-01", "air-02", "air-03"]
        assert lab.known() == ["air-01", "air-02", "air-03"]
        assert not [key for key in lab.stored() if "air-04" in key and not key.startswith("/cluster/history/")]

    def test_a_replacement_is_gone_on_with_from_every_step(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        lab = make(2)
        word = newcomer(lab, 3)
        for after in range(30):
            dying(monkeypatch, after)
            try:
                add(lab, word, Options(replace="air-02", install=True))
            except Interrupted:
                continue
            break
        assert after > 5
        assert lab.voters() == ["air-01", "air-03"]
        assert lab.known() == ["air-01", "air-03"]
        assert lab.stored("/cluster/replacing/") == []
        assert {lab.machines[name].endpoints for name in lab.known()} == {lab.urls("air-01", "air-03")}


class TestTheLock:
    def test_two_operators_don_t_change_the_members_at_once(self, make: Make) -> None:
        lab = make(3)
        with lab.store() as store, cluster_lock.held(store, "cluster.rolling-upgrade"):
            for change in (lambda: add(lab, newcomer(lab, 4)), lambda: remove(lab, "air-03", force=True)):
                with pytest.raises(LockHeld, match=r"cluster\.rolling-upgrade"):
                    change()
        assert lab.known() == ["air-01", "air-02", "air-03"]

    def test_who_has_lost_the_lock_changes_nothing_any_more(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        lab = make(4)

        def send_off(draining: Any, _host: object, **_: object) -> None:
            with lab.store() as store:
                cluster_lock.break_(store)
            draining._lock.renew()

        monkeypatch.setattr(Draining, "send_off", send_off)
        with pytest.raises(LockLost):
            remove(lab, "air-04")
        assert lab.voters() == ["air-01", "air-02", "air-03", "air-04"]
        assert "stop the services" not in lab.machines["air-04"].done
        assert lab.history() == []
