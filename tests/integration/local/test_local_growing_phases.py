"""Growing with stand-ins for the provider, Vagrant, the registry and a lock that somebody holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from argosy.config.loading import Settings, load
from argosy.errors import LockHeld, Refused
from argosy.local import lock, preparing, record, upgrading
from argosy.local.addressing import machine_numbered
from argosy.local.facts import HostFacts
from argosy.local.growth_phases import Growth, NoteJoining, Settled
from argosy.local.makers.base import ABSENT, RUNNING, STOPPED, Boot
from argosy.local.makers.container import EngineFacts
from argosy.local.makers.vagrant import VagrantMachines
from argosy.local.record import Record
from argosy.local.work import LocalWork
from argosy.model import Image, Machine
from argosy.registry import access
from argosy.report import silent


def settings(root: Path = Path("/nowhere"), **section: Any) -> Settings:
    return load({"clusters": {"here": {"provider": "vagrant", **section}}}, root=root)


def numbered(*numbers: int) -> list[Machine]:
    return [machine_numbered(settings(), number) for number in numbers]


class Gone:
    """A provider that notes what it is told to destroy."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def remove(self, machine: Machine) -> bool:
        self.log.append(f"destroy {machine.name}")
        return True


def work_on(root: Path, known: Record, **states: str) -> Growth:
    """Return what the phases work with, without a host behind it."""
    chosen = settings(root)
    record.save(chosen, known)
    observed = HostFacts(EngineFacts(), "argosy-test-machines", {}, [], [])
    named = {name.replace("_", "-"): state for name, state in states.items()}
    new = numbered(2)[0]
    return Growth(chosen, numbered(1, 2), cast(Any, None), observed, named, known, silent, changing=new, resumed=False)


def test_what_an_earlier_machine_left_goes_before_its_name_is_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    monkeypatch.setattr(LocalWork, "maker", lambda *_: Gone(log))
    work = work_on(tmp_path, Record(bip="172.18.42.1/16"), air_01=RUNNING, air_02=STOPPED)
    phase = NoteJoining()
    assert phase.run(work)
    assert log == ["destroy air-02"]
    assert work.states["air-02"] == ABSENT
    assert record.load(work.settings) == Record(bip="172.18.42.1/16", joining="air-02")
    # From here on what is there is a newcomer that is half-way in.
    again = work_on(tmp_path, record.load(work.settings), air_01=RUNNING, air_02=RUNNING)
    assert not phase.should_run(again)


def test_only_the_machine_that_is_through_is_settled(tmp_path: Path) -> None:
    work = work_on(tmp_path, Record(joining="air-04", leaving="air-02"))
    assert Settled().run(work)
    assert record.load(work.settings) == Record(joining="air-04")
    assert not Settled().run(work)


def test_the_lock_of_a_killed_run_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(lock, "SPARE_SECONDS", -29.8)
    told: list[str] = []
    left = [1, 2, 3]

    def act() -> str:
        if left:
            left.pop()
            raise LockHeld("the cluster is being changed by somebody", "somebody")
        return "done"

    def stubborn() -> str:
        raise LockHeld("the cluster is being changed by somebody", "somebody")

    assert lock.retry_when_unlocked(settings(), lambda subject, _message: told.append(subject), act) == "done"
    assert told == ["lock"]
    with pytest.raises(LockHeld):
        lock.retry_when_unlocked(settings(), lambda _subject, _message: None, stubborn)


def test_the_release_that_all_machines_have_is_remembered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def current_release(_settings: Settings, version: str) -> Image:
        asked.append(version)
        return Image("installer", "air/installer", version, "sha256:new")

    monkeypatch.setattr(access, "current_release", current_release)
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


def choosing(
    root: Path, monkeypatch: pytest.MonkeyPatch, programs: set[str], maker: str = "auto", known: str = ""
) -> tuple[Growth, list[str]]:
    """Return the work, and what is said of it, on a host that has these programs.

    `known`: what made its first machine, if there is one.
    """
    for module in ("makers.vagrant", "preparing"):
        monkeypatch.setattr(f"argosy.local.{module}.which", lambda name: name if name in programs else None)
    work, said = work_on(root, Record(maker=known), air_01=RUNNING if known else ABSENT, air_02=ABSENT), list[str]()
    work.settings = settings(root, local={"maker": maker})
    work.report = lambda _subject, message: said.append(message)
    return work, said


def test_who_makes_the_machines_is_said_once_where_it_is_not_vagrant_for_lack_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, said = choosing(tmp_path, monkeypatch, {"docker"})
    preparing.choose_maker(work, needed=True)
    assert (work.record.maker, work.by) == ("engine", "through the Docker engine")
    assert said == ["vagrant is not installed: the Docker engine makes them (local.maker)"]
    preparing.choose_maker(work, needed=True)
    assert len(said) == 1
    for maker, programs, found in (("auto", {"vagrant"}, "vagrant"), ("engine", {"docker", "vagrant"}, "engine")):
        work, said = choosing(tmp_path, monkeypatch, programs, maker)
        preparing.choose_maker(work, needed=True)
        assert (work.record.maker, said) == (found, [])


@pytest.mark.parametrize(
    ("programs", "maker", "known", "missing"),
    [
        ({"docker"}, "vagrant", "", "vagrant is not installed"),
        ({"docker"}, "auto", "vagrant", "vagrant is not installed"),
        (set(), "auto", "", "Docker's own command"),
        ({"vagrant"}, "auto", "engine", "Docker's own command"),
    ],
)
def test_a_maker_that_is_not_installed_is_refused_where_there_is_something_to_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: set[str], maker: str, known: str, missing: str
) -> None:
    work, _ = choosing(tmp_path, monkeypatch, programs, maker, known)
    with pytest.raises(Refused, match=missing):
        preparing.choose_maker(work, needed=True)
    preparing.choose_maker(work, needed=False)
