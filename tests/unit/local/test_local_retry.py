from __future__ import annotations

import pytest

from argosy.model import Image
from argosy.operations.local.retry import Tried, names_of_failed, parse, wanted_release

OLD = Image("installer", "air/installer", "0.1.0", "sha256:old")
NEW = Image("installer", "air/installer", "0.1.1", "sha256:new")
ACTIVE = Tried(active=True, over=False, release="0.1.0")
FAILED = Tried(active=False, over=True, release="0.1.0")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            'units inactive active\nmarker\nrelease 0.1.0\nrecord {"state": "active"}\n',
            Tried(active=True, over=False, release="0.1.0"),
        ),
        (
            'units failed active\nmarker\nrelease 0.1.0\nrelease 0.1.1\nrecord {"state": "failed"}\n',
            Tried(active=False, over=True, release="0.1.1"),
        ),
        ("units activating active\nmarker\nrelease 0.1.0\n", Tried(active=False, over=False, release="0.1.0")),
        ("units inactive inactive\nrelease 0.1.0\n", Tried(active=False, over=False, release="0.1.0")),
        ("units failed active\nmarker\nrelease 0.1.0\nrecord {cut", Tried(active=False, over=True, release="0.1.0")),
    ],
    ids=["installed", "failed after an upgrade", "at work", "waits for secrets", "record cut"],
)
def test_how_far_a_machine_got(output: str, expected: Tried) -> None:
    assert parse(output) == expected


def test_only_what_is_over_is_tried_again() -> None:
    assert names_of_failed({"air-01": ACTIVE, "air-02": FAILED}) == ["air-02"]


def test_the_newest_release_is_tried_while_no_machine_serves() -> None:
    assert wanted_release({"air-01": FAILED}, OLD, NEW) == NEW
    assert wanted_release({"air-01": FAILED, "air-02": ACTIVE}, OLD, NEW) == OLD
