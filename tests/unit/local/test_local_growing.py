from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from argosy import inventory
from argosy.addressing import machine_numbered, machines_wanted
from argosy.config import Settings, load
from argosy.errors import ConfigError, LockHeld, Refused
from argosy.model import Image, Machine
from argosy.operations import registry
from argosy.operations.local import choice, growth, patience, record, upgrading
from argosy.operations.local.facts import HostFacts
from argosy.operations.local.growth_phases import NoteJoining, Settled
from argosy.operations.local.record import Record
from argosy.operations.local.work import Work
from argosy.operations.rollout.running import Flags
from argosy.providers.base import ABSENT, RUNNING, STOPPED, Boot
from argosy.providers.container import EngineFacts
from argosy.providers.vagrant import VagrantMachines
from argosy.rollout_record import Options, Release, Rollout, State


def settings(root: Path = Path("/nowhere"), **section: Any) -> Settings:
    return load({"clusters": {"here": {"provider": "vagrant", **section}}}, root=root)


def numbered(*numbers: int) -> list[Machine]:
    return [machine_numbered(settings(), number) for number in numbers]


@pytest.mark.parametrize(
    ("known", "joining", "expected"),
    [
        ([1], "", "air-02"),
        ([1, 2, 3], "", "air-04"),
        ([1, 3], "", "air-02"),
        ([2, 3], "", "air-01"),
        ([1, 3, 4], "air-04", "air-04"),
        ([1, 3], "air-04", "air-04"),
    ],
    ids=["next", "next of three", "lowest free", "first", "half-made and known", "half-made and not known yet"],
)
def test_the_newcomer_is_one_half_made_or_the_lowest_free_number(known: list[int], joining: str, expected: str) -> None:
    new = choice.newcomer(settings(), numbered(*known), Record(joining=joining))
    assert new.name == expected
    assert new.address == f"192.168.55.{100 + int(expected[-2:])}"


def test_an_address_that_another_name_has_is_not_given_twice() -> None:
    known = [*numbered(1), Machine("other", "192.168.55.102")]
    assert choice.newcomer(settings(), known, Record()).name == "air-03"


def test_beyond_the_most_machines_the_next_step_is_named() -> None:
    with pytest.raises(Refused, match=r"at most 5; raise local\.max_machines.*local\.remove-machine"):
        choice.newcomer(settings(), numbered(1, 2, 3, 4, 5), Record())


def test_nobody_comes_to_no_cluster_or_while_somebody_leaves() -> None:
    with pytest.raises(Refused, match=r"inv local\.start"):
        choice.newcomer(settings(), [], Record())
    with pytest.raises(Refused, match=r"air-03 is half-way out: `inv local\.remove-machine`"):
        choice.newcomer(settings(), numbered(1, 2), Record(leaving="air-03"))


@pytest.mark.parametrize(
    ("known", "record", "word", "expected"),
    [
        ([1, 2, 3], Record(), "", "air-03"),
        ([1, 2, 10], Record(), "", "air-10"),
        ([1, 2, 3], Record(), "air-01", "air-01"),
        ([1, 2, 3], Record(), "192.168.55.102", "air-02"),
        ([1, 3], Record(joining="air-02"), "", "air-02"),
        ([1, 2, 3], Record(joining="air-02"), "air-03", "air-03"),
        ([1, 3], Record(leaving="air-02"), "", "air-02"),
        ([1, 3], Record(leaving="air-02"), "air-02", "air-02"),
        ([1, 2, 3], Record(joining="air-03", leaving="air-02"), "", "air-02"),
    ],
)
def test_who_leaves(known: list[int], record: Record, word: str, expected: str) -> None:
    assert choice.leaver(settings(), numbered(*known), record, word).name == expected


def test_one_leaves_at_a_time_and_nobody_unknown() -> None:
    with pytest.raises(Refused, match="air-02 is half-way out"):
        choice.leaver(settings(), numbered(1, 3), Record(leaving="air-02"), "air-03")
    with pytest.raises(ConfigError, match="no such machine"):
        choice.leaver(settings(), numbered(1, 3), Record(), "air-04")
    with pytest.raises(Refused, match="nothing to remove"):
        choice.leaver(settings(), [], Record())


def test_start_goes_on_with_as_many_machines_as_exist_whatever_their_numbers() -> None:
    known = numbered(1, 3)
    running = dict.fromkeys(("air-01", "air-03"), RUNNING)
    assert choice.machines_of_start(settings(), 2, known, running) == known
    assert choice.machines_of_start(settings(), 3, known, running) == machines_wanted(settings(), 3)
    gone = dict.fromkeys(("air-01", "air-03"), ABSENT)
    assert choice.machines_of_start(settings(), 2, known, gone) == machines_wanted(settings(), 2)
    assert choice.machines_of_start(settings(), 2, [], {}) == machines_wanted(settings(), 2)


def test_start_waits_for_whoever_is_half_way() -> None:
    choice.refuse_half_done(Record())
    with pytest.raises(Refused, match=r"half-way in: `inv local\.add-machine` completes.*remove-machine` takes"):
        choice.refuse_half_done(Record(joining="air-04"))
    with pytest.raises(Refused, match="half-way out"):
        choice.refuse_half_done(Record(leaving="air-04"))


def test_the_last_machine_is_the_end_of_the_cluster(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    inventory.save(chosen, numbered(1, 2))
    assert growth.choose_leaver(chosen) == growth.Leaver(numbered(2)[0], last=False)
    inventory.save(chosen, numbered(1))
    assert growth.choose_leaver(chosen) == growth.Leaver(numbered(1)[0], last=True)
    record.save(chosen, Record(leaving="air-02"))
    assert growth.choose_leaver(chosen) == growth.Leaver(numbered(2)[0], last=False)


class Gone:
    """A provider that notes what it is told to destroy."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def remove(self, machine: Machine) -> bool:
        self.log.append(f"destroy {machine.name}")
        return True


def work_on(root: Path, known: Record, **states: str) -> Work:
    """Return what the phases work with, without a host behind it."""
    chosen = settings(root)
    record.save(chosen, known)
    observed = HostFacts(EngineFacts(1), {}, [], [])
    named = {name.replace("_", "-"): state for name, state in states.items()}
    return Work(chosen, numbered(1, 2), cast(Any, None), observed, named, known, lambda _subject, _message: None)


def test_what_an_earlier_machine_left_goes_before_its_name_is_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    monkeypatch.setattr(Work, "provider", lambda *_: Gone(log))
    work = work_on(tmp_path, Record(bip="172.18.42.1/16"), air_01=RUNNING, air_02=STOPPED)
    phase = NoteJoining(numbered(2)[0])
    assert phase.run(work)
    assert log == ["destroy air-02"]
    assert work.states["air-02"] == ABSENT
    assert record.load(work.settings) == Record(bip="172.18.42.1/16", joining="air-02")
    # From here on what is there is a newcomer that is half-way in.
    again = work_on(tmp_path, record.load(work.settings), air_01=RUNNING, air_02=RUNNING)
    assert not phase.should_run(again)


def test_only_the_machine_that_is_through_is_settled(tmp_path: Path) -> None:
    work = work_on(tmp_path, Record(joining="air-04", leaving="air-02"))
    assert Settled(numbered(2)[0]).run(work)
    assert record.load(work.settings) == Record(joining="air-04")
    assert not Settled(numbered(2)[0]).run(work)


def test_the_lock_of_a_killed_run_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(patience, "SPARE_SECONDS", -29.8)
    told: list[str] = []
    left = [1, 2, 3]

    def act() -> str:
        if left:
            left.pop()
            raise LockHeld("the cluster is being changed by somebody", "somebody")
        return "done"

    def stubborn() -> str:
        raise LockHeld("the cluster is being changed by somebody", "somebody")

    assert patience.once_free(settings(), lambda subject, _message: told.append(subject), act) == "done"
    assert told == ["lock"]
    with pytest.raises(LockHeld):
        patience.once_free(settings(), lambda _subject, _message: None, stubborn)


ROLLOUT = Rollout(
    id="1",
    release=Release("0.1.1"),
    state=State.STOPPED,
    options=Options(),
    machines={},
    order=(),
    started=datetime(2026, 1, 31, tzinfo=UTC),
    by="somebody",
)


def test_nothing_is_built_for_a_release_that_is_there_or_on_its_way() -> None:
    assert upgrading.build_phases(Flags(), None) == upgrading.BUILD
    assert upgrading.build_phases(Flags(rollback=True), None) == upgrading.BUILD
    assert upgrading.build_phases(Flags(release="0.1.0"), None) == ()
    assert upgrading.build_phases(Flags(), ROLLOUT) == ()


def test_the_release_that_all_machines_have_is_remembered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def current_release(_settings: Settings, version: str) -> Image:
        asked.append(version)
        return Image("installer", "air/installer", version, "sha256:new")

    monkeypatch.setattr(registry, "current_release", current_release)
    chosen = settings(tmp_path)
    record.save(chosen, Record(bip="172.18.42.1/16"))
    upgrading.remember_release(chosen, "0.1.1")
    upgrading.remember_release(chosen, "0.1.1")
    assert asked == ["0.1.1"]
    found = record.load(chosen)
    assert found.bip == "172.18.42.1/16"
    assert found.release == Image("installer", "air/installer", "0.1.1", "sha256:new")


class Told:
    """Vagrant, which notes what it is told and keeps its machines."""

    def __init__(self, *machines: str) -> None:
        self.machines = set(machines)
        self.calls: list[str] = []

    def up(self, vm_name: str | None, provider: str) -> None:
        self.calls.append(f"up {vm_name} {provider}")

    def destroy(self, vm_name: str | None = None) -> None:
        self.calls.append(f"destroy {vm_name}")
        self.machines.discard(str(vm_name))

    def status(self) -> list[Any]:
        class Status:
            def __init__(self, name: str) -> None:
                self.name, self.state = name, "running"

        return [Status(name) for name in self.machines]


def asked_for(provider: VagrantMachines) -> list[str]:
    request = json.loads((provider.folder / "request.json").read_text())
    return [machine["name"] for machine in request["machines"]]


def test_one_machine_is_made_and_destroyed_beside_others(tmp_path: Path) -> None:
    provider = VagrantMachines(settings(tmp_path, local={"provider": "libvirt"}), tmp_path / "key")
    told = Told("air-01", "air-02", "air-03")
    provider.__dict__["_vagrant"] = told
    machines = numbered(1, 2, 3)
    boots = [Boot(machine, tmp_path / machine.name) for machine in machines]
    provider.up(boots, [machines[2]])
    assert asked_for(provider) == ["air-01", "air-02", "air-03"]
    assert provider.remove(machines[1])
    assert asked_for(provider) == ["air-01", "air-03"]
    assert not provider.remove(machines[1])
    provider.up(boots[:1])
    assert told.calls == ["up air-03 libvirt", "destroy air-02", "up None libvirt"]
