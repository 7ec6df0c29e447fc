"""Versions: which comes next, which may go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raised import raises

from argosy.errors import ConfigError, Refused
from argosy.images.versions import (
    ReleaseInUse,
    Stored,
    Version,
    counted,
    decide,
    newest_of,
    of_cluster,
    parse_series,
    parse_version,
    plan_prune,
    unchanged,
)
from argosy.model import Image

SERIES = (0, 1)


def stored(name: str, patch: int, digest: str = "", pins: tuple[Image, ...] = ()) -> Stored:
    return Stored(name, Version(0, 1, patch), digest or f"{name}-{patch}", pins=pins)


def pin(name: str, patch: int, digest: str = "") -> Image:
    return Image(name, f"air/{name}", f"0.1.{patch}", digest or f"{name}-{patch}")


def release(patch: int, cluster: str, foreign: str = "", pins: tuple[Image, ...] = ()) -> Stored:
    digest = f"{cluster}-{patch}"
    return Stored("installer", Version(0, 1, patch), digest, digest, pins=pins, cluster=cluster, foreign=foreign)


def names(items: list[Stored]) -> list[str]:
    return [f"{item.name} {item.version}" for item in items]


class TestVersion:
    def test_compares_as_numbers(self) -> None:
        assert Version(0, 1, 10) > Version(0, 1, 9)

    @pytest.mark.parametrize("text", ["latest", "1.0", "1.0.0-rc1", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.0\n"])
    def test_other_tags_are_not_versions(self, text: str) -> None:
        assert parse_version(text) is None

    @given(st.builds(Version, *[st.integers(0, 10**6)] * 3))
    def test_reads_what_it_writes(self, version: Version) -> None:
        assert parse_version(str(version)) == version

    def test_the_series_may_end_with_a_line_break(self) -> None:
        assert parse_series("0.1\n", "VERSION") == (0, 1)

    @pytest.mark.parametrize("text", ["", "1", "1.2.3", "one.two", "1.2-beta"])
    def test_a_bad_series_is_an_error_that_names_the_file(self, text: str) -> None:
        with raises(ConfigError, "/x/VERSION", path="version_file"):
            parse_series(text, "/x/VERSION")


class TestDecide:
    def test_the_first_version_is_patch_zero(self) -> None:
        assert decide("web", SERIES, {}, "a") == Version(0, 1, 0)

    def test_the_same_content_keeps_its_version(self) -> None:
        assert decide("web", SERIES, {Version(0, 1, 4): "a"}, "a") == Version(0, 1, 4)

    def test_another_content_is_the_next_patch(self) -> None:
        known = {Version(0, 1, 9): "a", Version(0, 1, 10): "b"}
        assert decide("web", SERIES, known, "c") == Version(0, 1, 11)

    def test_going_back_to_an_older_content_is_a_new_version(self) -> None:
        known = {Version(0, 1, 0): "a", Version(0, 1, 1): "b"}
        assert decide("web", SERIES, known, "a") == Version(0, 1, 2)

    def test_a_raised_version_file_begins_a_series_even_with_the_same_content(self) -> None:
        assert decide("web", (0, 2), {Version(0, 1, 4): "a"}, "a") == Version(0, 2, 0)

    def test_a_version_file_that_is_behind_is_an_error(self) -> None:
        with raises(ConfigError, "web 0.2.0", path="version_file"):
            decide("web", SERIES, {Version(0, 2, 0): "a"}, "a")

    @given(st.lists(st.sampled_from("abc"), max_size=12))
    def test_a_second_build_of_the_same_never_makes_a_version(self, history: list[str]) -> None:
        known: dict[Version, str] = {}
        for content in history:
            before = max(known, default=None)
            decided = decide("web", SERIES, known, content)
            assert (decided in known) == (before is not None and known[before] == content)
            known[decided] = content
            assert decide("web", SERIES, known, content) == decided


def made(patch: int, content: str, inputs: str) -> Stored:
    return Stored("web", Version(0, 1, patch), f"sha256:{content}", content, inputs=inputs)


class TestUnchanged:
    @pytest.mark.parametrize(
        ("stored", "inputs", "series", "patch"),
        [
            ([], "i", SERIES, None),
            ([made(3, "a", "i")], "i", SERIES, 3),
            ([made(3, "a", "i")], "j", SERIES, None),
            ([made(3, "a", "")], "", SERIES, None),  # of before inputs were noted: its content decides
            ([made(3, "a", "i")], "", SERIES, None),  # what can't be known is not the same
            ([made(3, "a", "i"), made(4, "b", "j")], "i", SERIES, None),  # back to an older one
            ([made(3, "a", "i")], "i", (0, 2), None),
            ([made(3, "a", "j"), made(3, "a", "i")], "i", SERIES, 3),  # the same content made of two things
            (
                [made(3, "a", "i"), made(3, "b", "j")],
                "i",
                SERIES,
                None,
            ),  # it is the registry that counts
        ],
    )
    def test_is_the_newest_version_if_it_was_made_of_the_same(
        self, stored: list[Stored], inputs: str, series: tuple[int, int], patch: int | None
    ) -> None:
        known = counted(stored, "test").get("web", {})
        found = unchanged(series, known, stored, inputs)
        assert (found.version.patch if found else None) == patch


class TestClusters:
    def test_share_images_and_not_releases(self) -> None:
        everything = [stored("web", 1), release(1, ""), release(2, "staging"), release(3, "production")]
        assert of_cluster(everything, "production") == [stored("web", 1), release(3, "production")]

    def test_count_their_own_releases(self) -> None:
        known = counted([release(7, "staging"), release(3, "production")], "production")
        assert known == {"installer": {Version(0, 1, 3): "production-3"}}

    def test_begin_above_the_releases_that_name_none_whatever_is_in_those(self) -> None:
        known = counted([release(4, ""), release(9, "staging")], "production")["installer"]
        assert decide("installer", SERIES, known, "-4") == Version(0, 1, 5)

    @pytest.mark.parametrize("turned", [False, True])
    def test_know_their_own_release_though_one_without_a_cluster_has_its_version(self, turned: bool) -> None:
        both = [release(4, ""), release(4, "production")]
        known = counted(reversed(both) if turned else both, "production")
        assert known == {"installer": {Version(0, 1, 4): "production-4"}}

    def test_count_on_from_a_strange_one_among_theirs(self) -> None:
        known = counted([release(3, "production"), release(8, "production", "it is staging's")], "production")
        assert decide("installer", SERIES, known["installer"], "production-3") == Version(0, 1, 9)


def test_the_newest_is_the_highest_whatever_the_order() -> None:
    assert newest_of([stored("web", 9), stored("web", 10), stored("web", 2)]) == {"web": stored("web", 10)}


class TestPrune:
    def test_the_last_ones_of_each_image_stay(self) -> None:
        images = [stored("web", patch) for patch in range(7)] + [stored("api", 0)]
        assert names(plan_prune(images, keep=5)) == ["web 0.1.0", "web 0.1.1"]

    def test_a_second_prune_finds_nothing(self) -> None:
        images = [stored("web", patch) for patch in range(7)]
        gone = plan_prune(images, keep=2)
        assert plan_prune([item for item in images if item not in gone], keep=2) == []

    def test_what_a_kept_release_pins_stays(self) -> None:
        release = stored("installer", 9, pins=(pin("web", 0),))
        images = [*(stored("web", patch) for patch in range(3)), release]
        assert names(plan_prune(images, keep=1)) == ["web 0.1.1"]

    def test_a_release_in_use_stays_with_what_it_pins(self) -> None:
        releases = [stored("installer", patch, pins=(pin("web", patch),)) for patch in range(4)]
        images = [*(stored("web", patch) for patch in range(4)), *releases]
        assert names(plan_prune(images, keep=1, in_use={ReleaseInUse("0.1.0")})) == [
            *("installer 0.1.1", "installer 0.1.2", "web 0.1.1", "web 0.1.2"),
        ]

    def test_what_a_release_that_goes_pins_goes_too(self) -> None:
        releases = [stored("installer", patch, pins=(pin("web", patch),)) for patch in range(2)]
        images = [stored("web", 0), stored("web", 1), *releases]
        assert names(plan_prune(images, keep=1)) == ["installer 0.1.0", "web 0.1.0"]

    def test_a_digest_that_a_kept_version_shares_is_not_deleted(self) -> None:
        images = [stored("web", 0, "same"), stored("web", 1), stored("web", 2, "same")]
        assert names(plan_prune(images, keep=1)) == ["web 0.1.1"]

    def test_a_digest_that_a_scheduled_service_runs_stays(self) -> None:
        images = [stored("web", 0, "a"), stored("web", 1, "b"), stored("web", 2, "c")]
        assert names(plan_prune(images, keep=1, running={"a", "elsewhere"})) == ["web 0.1.1"]

    def test_some_images_are_never_pruned(self) -> None:
        images = [stored("etcd", 0), stored("etcd", 1)]
        assert plan_prune(images, keep=1, never={"etcd"}) == []

    def test_each_cluster_s_releases_are_its_own_to_prune(self) -> None:
        releases = [release(patch, cluster) for patch in range(3) for cluster in ("", "production", "staging")]
        gone = plan_prune(releases, keep=1, cluster="production")
        assert [(item.cluster, item.version.patch) for item in gone] == [
            *(("", 0), ("production", 0), ("", 1), ("production", 1)),
        ]

    def test_what_another_cluster_s_release_pins_stays(self) -> None:
        theirs = [release(0, "staging", pins=(pin("web", 0),)), release(1, "staging", pins=(pin("web", 1),))]
        images = [*(stored("web", patch) for patch in range(4)), *theirs]
        assert names(plan_prune(images, keep=1, cluster="production")) == ["web 0.1.2"]

    def test_what_belongs_to_nobody_we_know_stays(self) -> None:
        strange = release(0, "production", "it is a release of the system sea")
        assert plan_prune([strange, release(1, "production")], keep=1, cluster="production") == []

    def test_another_cluster_s_release_of_the_same_version_does_not_stand_for_one_in_use(self) -> None:
        images = [release(0, "staging"), release(1, "production")]
        with pytest.raises(Refused, match=r"release 0.1.0 is in use but not here"):
            plan_prune(images, keep=1, in_use={ReleaseInUse("0.1.0", "production")}, cluster="production")

    def test_one_without_a_cluster_may_be_in_use_anywhere(self) -> None:
        images = [release(patch, "") for patch in range(3)]
        gone = plan_prune(images, keep=1, in_use={ReleaseInUse("0.1.0", "production")}, cluster="production")
        assert names(gone) == ["installer 0.1.1"]

    def test_an_unknown_release_in_use_stops_it(self) -> None:
        images = [stored("web", 0), stored("web", 1), stored("installer", 1)]
        with pytest.raises(Refused, match=r"release 0.1.0 is in use but not here"):
            plan_prune(images, keep=1, in_use={ReleaseInUse("0.1.0"), ReleaseInUse("0.1.1")})

    @given(
        st.lists(st.tuples(st.sampled_from(["web", "api", "installer"]), st.integers(0, 8)), unique=True),
        st.integers(1, 5),
        st.data(),
    )
    def test_nothing_that_a_kept_release_needs_is_ever_deleted(
        self, versions: list[tuple[str, int]], keep: int, data: st.DataObject
    ) -> None:
        services = [item for item in versions if item[0] != "installer"]
        images = []
        for name, patch in versions:
            choice = st.lists(st.sampled_from(services), unique=True) if services else st.just([])
            pins = tuple(pin(*pair) for pair in data.draw(choice)) if name == "installer" else ()
            images.append(stored(name, patch, pins=pins))
        gone = plan_prune(images, keep)
        kept = [item for item in images if item not in gone]
        needed = {image.digest for item in kept for image in item.pins}
        assert not needed & {item.digest for item in gone}
        for name in {name for name, _ in versions}:
            assert sum(item.name == name for item in kept) >= min(keep, sum(it == name for it, _ in versions))
