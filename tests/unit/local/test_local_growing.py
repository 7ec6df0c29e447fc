from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from argosy import inventory
from argosy.cluster.change import State
from argosy.cluster.release import Release
from argosy.config.loading import Settings, load
from argosy.errors import ConfigError, Refused
from argosy.local import choice, growth, record, upgrading
from argosy.local.addressing import machine_numbered, machines_wanted
from argosy.local.makers.base import ABSENT, RUNNING, STOPPED
from argosy.local.record import Record
from argosy.model import Machine
from argosy.rollouts.record import Options, Rollout
from argosy.rollouts.run import Flags


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


@pytest.mark.parametrize(
    ("wanted", "recorded", "state", "vagrant", "made_by"),
    [
        ("auto", "", ABSENT, True, "vagrant"),
        ("auto", "", ABSENT, False, "engine"),
        ("vagrant", "", ABSENT, False, "vagrant"),  # which is refused as not installed
        ("engine", "", ABSENT, True, "engine"),
        ("auto", "engine", RUNNING, True, "engine"),
        ("auto", "vagrant", STOPPED, False, "vagrant"),
        ("auto", "engine", ABSENT, True, "vagrant"),  # of a run that made nothing
        ("engine", "vagrant", ABSENT, True, "engine"),
        ("engine", "engine", RUNNING, True, "engine"),
    ],
)
def test_machines_stay_with_what_made_them(wanted: str, recorded: str, state: str, vagrant: bool, made_by: str) -> None:
    chosen = settings(local={"maker": wanted})
    assert choice.maker(chosen, recorded, {"air-01": state}, vagrant) == made_by


@pytest.mark.parametrize(("wanted", "recorded"), [("engine", "vagrant"), ("vagrant", "engine")])
def test_another_maker_than_theirs_is_refused_while_machines_are_there(wanted: str, recorded: str) -> None:
    chosen = settings(local={"maker": wanted})
    with pytest.raises(Refused, match=rf"local\.maker is {wanted}, but {recorded} made"):
        choice.maker(chosen, recorded, {"air-01": ABSENT, "air-02": STOPPED}, True)


def test_virtual_machines_are_vagrant_s_alone() -> None:
    assert choice.maker(settings(local={"provider": "libvirt"}), "", {}, False) == "vagrant"
    with pytest.raises(ConfigError, match="not with provider libvirt"):
        choice.maker(settings(local={"provider": "libvirt", "maker": "engine"}), "", {}, True)


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
    assert growth.choose_leaver(chosen) == growth.LeavingMachine(numbered(2)[0], last=False)
    inventory.save(chosen, numbered(1))
    assert growth.choose_leaver(chosen) == growth.LeavingMachine(numbered(1)[0], last=True)
    record.save(chosen, Record(leaving="air-02"))
    assert growth.choose_leaver(chosen) == growth.LeavingMachine(numbered(2)[0], last=False)


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
