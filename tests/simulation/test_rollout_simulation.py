"""The real driver, lock and journal of a rollout in a simulated cluster where everything happens that can.

pytest tests/simulation --stories 20000                                   # more stories
pytest tests/simulation/test_rollout_simulation.py --story 619            # this one again, and what happened in it
"""

from __future__ import annotations

import pytest
from rollout_story import RolloutStory
from story import BLOCKS, broken

STORIES = 1500
"""So many take about 30 s of one processor."""

pytestmark = pytest.mark.slow(3)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_story_ends_well(block: int, request: pytest.FixtureRequest) -> None:
    found = broken(RolloutStory, block, STORIES, request.config)
    assert not found, "\n\n".join(found[:3])


def test_a_story_is_told_the_same_way_twice() -> None:
    for seed in range(20):
        first, second = RolloutStory(seed), RolloutStory(seed)
        first.run()
        second.run()
        assert (first.scheduler.steps, first.scheduler.now) == (second.scheduler.steps, second.scheduler.now)


def test_much_happens_in_the_stories() -> None:
    told = []
    for seed in range(60):
        story = RolloutStory(seed)
        story.run()
        told += story.told
    happened = "\n".join(told)
    for word in ("is killed", "Ctrl-C", "loses its power", "no quorum", "cut off", "stalled", "breaks the lock"):
        assert word in happened
    for command in ("upgrade", "roll_back", "abort"):
        assert f"begins to {command}" in happened
