"""How two releases differ, and how releases are told."""

from __future__ import annotations

import pytest

from argosy.cluster.release import Release
from argosy.images.versions import Stored, Version, parse_tag, parse_version, tag_beside
from argosy.model import Image
from argosy.releases.differences import Content, differences
from argosy.releases.listing import Row
from argosy.releases.usage import Usage, chosen


def pin(name: str, version: str = "0.1.0", digest: str = "sha256:a") -> Image:
    return Image(name, f"air/{name}", version, digest)


def content(title: str, *pins: Image, **files: bytes) -> Content:
    return Content(title, {image.name: image for image in pins}, files)


class TestDifferences:
    def test_the_same_images_and_files_are_none(self) -> None:
        one = content("production 0.1.0", pin("web"), unit=b"a\n")
        two = content("staging 0.1.7", Image("web", "team/air/web", "0.1.0", "sha256:a"), unit=b"a\n")
        assert not differences(one, two), "where an image lies does not matter"

    def test_images_differ_by_version_and_by_digest(self) -> None:
        before = content("a", pin("api"), pin("old"), pin("web"))
        after = content("b", pin("api", digest="sha256:b"), pin("new"), pin("web"))
        found = differences(before, after)
        assert [(change.name, change.before, change.after) for change in found.images] == [
            ("api", pin("api"), pin("api", digest="sha256:b")),
            ("new", None, pin("new")),
            ("old", pin("old"), None),
        ]
        assert found.to_json()["images"][1] == {
            "name": "new",
            "before": None,
            "after": {"version": "0.1.0", "digest": "sha256:a"},
        }
        assert found.images[0].row() == ["api", "0.1.0", "sha256:a", "0.1.0", "sha256:b"]

    def test_files_differ_line_by_line(self) -> None:
        found = differences(
            content("a", unit=b"one\ntwo\n", gone=b"x\n"), content("b", unit=b"one\n2\n", bytes=b"\xff")
        )
        assert list(found.diff) == [
            *("--- a/bytes", "+++ b/bytes", "@@ -0,0 +1 @@", "+\ufffd"),
            *("--- a/gone", "+++ b/gone", "@@ -1 +0,0 @@", "-x"),
            *("--- a/unit", "+++ b/unit", "@@ -1,2 +1,2 @@", " one", "-two", "+2"),
        ]
        assert found.to_json()["diff"].endswith("-two\n+2\n")

    def test_files_that_differ_in_no_line_are_told(self) -> None:
        found = differences(content("a", unit=b"one", bytes=b"\xfe"), content("b", unit=b"one\n", bytes=b"\xff"))
        assert found
        assert list(found.diff) == ["Files a/bytes and b/bytes differ", "Files a/unit and b/unit differ"]


class TestWhatAClusterRuns:
    @pytest.mark.parametrize(
        ("used", "release"),
        [
            (Usage(), None),
            (Usage(Release("0.1.4"), {"0.1.3": ("air-01",)}), Release("0.1.4")),
            (Usage(None, {"0.1.3": ("air-01", "air-02")}), Release("0.1.3")),
            (Usage(None, {"0.1.3": ("air-01",), "0.1.4": ("air-02",)}), None),
        ],
    )
    def test_is_the_wanted_release_or_the_one_of_all_machines(self, used: Usage, release: Release | None) -> None:
        assert chosen(used) == release


class TestRow:
    STORED = Stored(
        "installer",
        Version(0, 1, 4),
        "sha256:a",
        pins=(pin("web"),),
        cluster="production",
        promoted="staging 0.1.7",
        created="2026-01-31T12:00:00.123Z",
    )

    def test_tells_who_has_it_and_where_it_comes_from(self) -> None:
        row = Row(self.STORED, Usage(Release("0.1.4"), {"0.1.4": ("air-01", "air-02")}))
        assert row.to_json() == {
            "version": "0.1.4",
            "cluster": "production",
            "digest": "sha256:a",
            "created": "2026-01-31T12:00:00.123Z",
            "promoted_from": {"cluster": "staging", "version": "0.1.7"},
            "wanted": True,
            "machines": ["air-01", "air-02"],
            "images": {"web": {"version": "0.1.0", "digest": "sha256:a"}},
        }
        assert row.cells() == [Version(0, 1, 4), "2026-01-31 12:00:00", "staging 0.1.7", "wanted", "air-01 air-02"]

    def test_what_could_not_be_asked_is_not_a_no(self) -> None:
        told = Row(self.STORED, None).to_json()
        assert (told["wanted"], told["machines"]) == (None, None)
        assert Row(self.STORED, None).cells()[-2:] == ["unknown", "unknown"]

    def test_another_release_is_not_wanted(self) -> None:
        told = Row(self.STORED, Usage(Release("0.1.5"), {})).to_json()
        assert (told["wanted"], told["machines"]) == (False, [])


class TestTagBeside:
    def test_is_a_version_for_listings_and_none_to_count_from(self) -> None:
        tag = tag_beside("0.1.4", "sha256:" + "0123456789abcdef" * 4)
        assert tag == "0.1.4-0123456789ab"
        assert parse_tag(tag) == parse_tag("0.1.4") == Version(0, 1, 4)
        assert parse_version(tag) is None

    @pytest.mark.parametrize("text", ["latest", "0.1.4-rc1", "0.1.4-0123456789abc", "0123456789ab"])
    def test_other_tags_are_not(self, text: str) -> None:
        assert parse_tag(text) is None
