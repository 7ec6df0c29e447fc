"""Versions: which comes next, which may go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import ConfigError, Refused
from argosy.model import Image
from argosy.versions import Decision, Stored, Version, decide, newest_of, parse_series, parse_version, plan_prune

SERIES = (0, 1)


def stored(name: str, patch: int, digest: str = "", pins: tuple[Image, ...] = ()) -> Stored:
    return Stored(name, Version(0, 1, patch), digest or f"{name}-{patch}", pins=pins)


def pin(name: str, patch: int, digest: str = "") -> Image:
    return Image(name, f"air/{name}", f"0.1.{patch}", digest or f"{name}-{patch}")


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
        with pytest.raises(ConfigError, match=r"version_file: /x/VERSION must hold MAJOR.MINOR"):
            parse_series(text, "/x/VERSION")


class TestDecide:
    def test_the_first_version_is_patch_zero(self) -> None:
        assert decide("web", SERIES, {}, "a") == Decision(Version(0, 1, 0), is_new=True)

    def test_the_same_content_keeps_its_version(self) -> None:
        assert decide("web", SERIES, {Version(0, 1, 4): "a"}, "a") == Decision(Version(0, 1, 4), is_new=False)

    def test_another_content_is_the_next_patch(self) -> None:
        known = {Version(0, 1, 9): "a", Version(0, 1, 10): "b"}
        assert decide("web", SERIES, known, "c") == Decision(Version(0, 1, 11), is_new=True)

    def test_going_back_to_an_older_content_is_a_new_version(self) -> None:
        known = {Version(0, 1, 0): "a", Version(0, 1, 1): "b"}
        assert decide("web", SERIES, known, "a") == Decision(Version(0, 1, 2), is_new=True)

    def test_a_raised_version_file_begins_a_series_even_with_the_same_content(self) -> None:
        assert decide("web", (0, 2), {Version(0, 1, 4): "a"}, "a") == Decision(Version(0, 2, 0), is_new=True)

    def test_a_version_file_that_is_behind_is_an_error(self) -> None:
        with pytest.raises(ConfigError, match=r"it says 0.1, but web 0.2.0 exists: raise it to 0.2"):
            decide("web", SERIES, {Version(0, 2, 0): "a"}, "a")

    @given(st.lists(st.sampled_from("abc"), max_size=12))
    def test_a_second_build_of_the_same_never_makes_a_version(self, history: list[str]) -> None:
        known: dict[Version, str] = {}
        for content in history:
            decision = decide("web", SERIES, known, content)
            assert decision.is_new == (decision.version not in known)
            known[decision.version] = content
            assert decide("web", SERIES, known, content) == Decision(decision.version, is_new=False)


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
        assert names(plan_prune(images, keep=1, in_use={"0.1.0"})) == [
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

    def test_an_unknown_release_in_use_stops_it(self) -> None:
        images = [stored("web", 0), stored("web", 1), stored("installer", 1)]
        with pytest.raises(Refused, match=r"release 0.1.0 is in use but not here"):
            plan_prune(images, keep=1, in_use={"0.1.0", "0.1.1"})

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
            pins = tuple(pin(*it) for it in data.draw(choice)) if name == "installer" else ()
            images.append(stored(name, patch, pins=pins))
        gone = plan_prune(images, keep)
        kept = [item for item in images if item not in gone]
        needed = {image.digest for item in kept for image in item.pins}
        assert not needed & {item.digest for item in gone}
        for name in {name for name, _ in versions}:
            assert sum(item.name == name for item in kept) >= min(keep, sum(it == name for it, _ in versions))
