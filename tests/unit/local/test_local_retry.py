from __future__ import annotations

from dataclasses import replace

import pytest

from argosy.local.choice import names_of_failed, wanted_release
from argosy.machine.install_progress import State
from argosy.model import Image

OLD = Image("installer", "air/installer", "0.1.0", "sha256:old")
NEW = Image("installer", "air/installer", "0.1.1", "sha256:new")
ACTIVE = State("inactive", "active", marker=True, release="0.1.0", record={"state": "active"})
FAILED = State("failed", "active", marker=True, release="0.1.0", record={"state": "failed"})


@pytest.mark.parametrize(
    ("state", "ended", "active"),
    [
        (ACTIVE, False, True),
        (replace(FAILED, release="0.1.1"), True, False),
        (replace(ACTIVE, installer="activating", record={}), False, False),
        (replace(FAILED, installer="inactive", secrets="inactive", marker=False, record={}), False, False),
        (replace(FAILED, record={}), True, False),
    ],
    ids=["installed", "failed after an upgrade", "at work", "waits for secrets", "record cut"],
)
def test_how_far_a_machine_got(state: State, ended: bool, active: bool) -> None:
    assert (state.has_ended, state.is_active) == (ended, active)


def test_only_what_is_over_is_tried_again() -> None:
    assert names_of_failed({"air-01": ACTIVE, "air-02": FAILED}) == ["air-02"]


def test_the_newest_release_is_tried_while_no_machine_serves() -> None:
    assert wanted_release({"air-01": FAILED}, OLD, NEW) == NEW
    assert wanted_release({"air-01": FAILED, "air-02": ACTIVE}, OLD, NEW) == OLD
