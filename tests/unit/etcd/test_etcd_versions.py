"""Which version of etcd may follow which."""

from __future__ import annotations

from dataclasses import replace

import pytest

from argosy.errors import Refused
from argosy.etcd.versions import EtcdVersion, RunningEtcd, parse_etcd_version, plan_upgrade, refusal

OLD, NEW = "sha256:" + "1" * 64, "sha256:" + "2" * 64
V34, V35, V36 = (EtcdVersion(3, minor, 7) for minor in (4, 5, 6))


def running(*versions: str) -> dict[str, str]:
    return {f"air-{number:02}": version for number, version in enumerate(versions, 1)}


def members(*versions: str) -> list[RunningEtcd]:
    """Return members of which the first leads; those of 3.5 run the new image."""
    return [
        RunningEtcd(name, version, image, image, leader=name == "air-01")
        for name, version in running(*versions).items()
        for image in [NEW if version.startswith("3.5") else OLD]
    ]


def down(member: RunningEtcd, *, chosen: str) -> RunningEtcd:
    return replace(member, version="", healthy=False, runs="", chosen=chosen)


class TestReading:
    @pytest.mark.parametrize(
        ("text", "version"),
        [
            ("3.4.23", EtcdVersion(3, 4, 23)),
            ("3.5.16+dfsg", EtcdVersion(3, 5, 16)),
            ("3.6.0-rc.1", EtcdVersion(3, 6, 0)),
            ("etcd Version: 3.5.1\nGit SHA: e8732fb5f\nGo Version: go1.16.3\n", EtcdVersion(3, 5, 1)),
        ],
    )
    def test_what_members_and_programs_tell(self, text: str, version: EtcdVersion) -> None:
        assert parse_etcd_version(text) == version

    @pytest.mark.parametrize("text", ["", "unknown", "3.5", "v3.5.1", "3.5.1.2", "sh: etcd: not found"])
    def test_what_tells_none(self, text: str) -> None:
        assert parse_etcd_version(text) is None

    def test_versions_count_by_their_numbers(self) -> None:
        assert EtcdVersion(3, 10, 0).series > V36.series
        assert str(EtcdVersion(3, 10, 2)) == "3.10.2"
        assert str(V34.series.next) == "3.5"


class TestWhatMayCome:
    @pytest.mark.parametrize(
        ("present", "new"),
        [
            ((), V36),
            (("3.4.23",), V34),
            (("3.4.23", "3.4.1", "3.4.23"), V35),
            (("3.5.30",), V35),  # patches may go back
            (("3.4.23", "3.5.16", "3.4.23"), V35),
            (("3.4.23", "3.5.16", "3.5.16"), V34),  # as long as one member has it
        ],
    )
    def test_the_same_minor_and_the_next_one(self, present: tuple[str, ...], new: EtcdVersion) -> None:
        assert refusal(running(*present), new) == ""

    def test_a_skip_says_who_is_behind_and_what_comes_first(self) -> None:
        assert refusal(running("3.4.23", "3.5.16", "3.4.20"), V36) == (
            "etcd 3.6.7 would skip a minor version: air-01, air-03 have 3.4. First bring every member to 3.5: inv "
            "cluster.upgrade-etcd with an image that has it"
        )
        assert "air-01 has 3.4" in refusal(running("3.4.23"), V36)

    def test_what_follows_3_5_wants_its_late_patches(self) -> None:
        assert refusal(running("3.5.26", "3.5.30", "3.6.1"), V36) == ""
        assert refusal(running("3.5.26", "3.5.16", "3.6.1"), V36) == (
            "etcd 3.6.7 may follow 3.5.26 or later only, for before that a promoted learner could become one again: "
            "air-02 has an older one. First bring every member to 3.5.26 or later: inv cluster.upgrade-etcd with an "
            "image that has it"
        )
        assert refusal(running("3.6.1"), EtcdVersion(3, 7, 0)) == ""

    def test_there_is_no_way_back(self) -> None:
        assert refusal(running("3.5.16", "3.5.16"), V34) == (
            "etcd 3.4.7 is older than what the cluster speaks, which is 3.5 on air-01, air-02, and etcd has no way "
            "back: take an image that has etcd 3.5 or 3.6"
        )

    def test_another_major_is_no_next_minor(self) -> None:
        assert "would skip" in refusal(running("3.6.1"), EtcdVersion(4, 0, 0))
        assert "older" in refusal(running("3.4.1"), EtcdVersion(2, 5, 0))

    def test_what_is_not_known_is_no_version(self) -> None:
        assert refusal(running("3.5.16", "", "3.5.16"), V35) == (
            "air-02: which etcd runs there could not be known; bring it back, or remove it, first"
        )


class TestUpgrading:
    def test_who_leads_comes_last(self) -> None:
        assert plan_upgrade(members("3.4.23", "3.4.23", "3.4.23"), NEW, V35) == ("air-02", "air-03", "air-01")

    def test_what_is_done_is_not_done_again(self) -> None:
        assert plan_upgrade(members("3.4.23", "3.5.16", "3.4.23"), NEW, V35) == ("air-03", "air-01")
        assert plan_upgrade(members("3.5.16", "3.5.16", "3.5.16"), NEW, V35) == ()

    def test_a_killed_run_s_choice_has_still_to_be_started(self) -> None:
        first, second = members("3.4.23", "3.5.16")
        assert plan_upgrade([replace(first, chosen=NEW), second], NEW, V35) == ("air-01",)
        assert plan_upgrade([replace(first, runs=NEW), second], NEW, V35) == ("air-01",)

    def test_as_long_as_one_is_left_the_way_back_is_open(self) -> None:
        assert plan_upgrade(members("3.5.16", "3.4.23", "3.5.16"), OLD, V34) == ("air-03", "air-01")
        with pytest.raises(Refused, match="no way back"):
            plan_upgrade(members("3.5.16", "3.5.16", "3.5.16"), OLD, V34)

    def test_a_skip_is_refused(self) -> None:
        with pytest.raises(Refused, match="would skip a minor version: air-01 has"):
            plan_upgrade(members("3.4.23", "3.5.16"), "sha256:" + "3" * 64, V36)

    def test_it_begins_when_all_are_well(self) -> None:
        first, second, third = members("3.4.23", "3.4.23", "3.4.23")
        with pytest.raises(Refused, match="air-03: its etcd member is not well: bring it back"):
            plan_upgrade([first, second, down(third, chosen=OLD)], NEW, V35)

    def test_one_that_did_not_come_back_from_it_goes_first_by_either_image(self) -> None:
        first, second, third = members("3.4.23", "3.4.23", "3.5.16")
        lost = down(second, chosen=NEW)
        assert plan_upgrade([first, lost, third], NEW, V35) == ("air-02", "air-01")
        assert plan_upgrade([first, lost, third], OLD, V34) == ("air-02", "air-03")
        with pytest.raises(Refused, match="air-03: its etcd member is not well: bring it back"):
            plan_upgrade([first, second, replace(third, healthy=False)], NEW, V35)
        with pytest.raises(Refused, match="air-01, air-02: its etcd member is not well"):
            plan_upgrade([replace(first, healthy=False), lost, third], NEW, V35)

    def test_nobody_is_on_their_way_in(self) -> None:
        first, second = members("3.4.23", "3.4.23")
        with pytest.raises(Refused, match="air-02: its etcd has no vote yet"):
            plan_upgrade([first, replace(second, learner=True)], NEW, V35)

    def test_what_nobody_tells_is_found_out_later(self) -> None:
        assert plan_upgrade(members("3.4.23"), NEW, None) == ("air-01",)
