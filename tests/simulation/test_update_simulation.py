"""The real steps, driver, lock and records of an update in a simulated cluster where everything happens that can.

pytest tests/simulation/test_update_simulation.py --stories 20000      # more of them
pytest tests/simulation/test_update_simulation.py --story 619          # this one again, and what happened in it
"""

from __future__ import annotations

import pytest
from story import BLOCKS, broken
from update_story import UpdateStory

from argosy.services import waiting

STORIES = 600
"""So many take about 40 s of one processor."""

pytestmark = pytest.mark.slow(3)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look less often: time goes on by steps here, and each costs."""
    monkeypatch.setattr(waiting, "POLL_SECONDS", 1.0)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_update_ends_well(block: int, request: pytest.FixtureRequest) -> None:
    found = broken(UpdateStory, block, STORIES, request.config)
    assert not found, "\n\n".join(found[:3])
