"""The real driver, lock and journal in a simulated cluster where everything happens that can: thousands of stories.

pytest tests/unit/simulation --stories 20000      # more of them
pytest tests/unit/simulation --story 619          # this one again, and what happened in it
"""

from __future__ import annotations

import pytest
from story import Story

BLOCKS = 10
STORIES = 1500
"""So many take about 30 s of one processor."""


def tell(seed: int) -> str:
    """Return an empty string when the story ends well, else what happened in it."""
    story = Story(seed)
    try:
        story.run()
    except BaseException as error:  # noqa: BLE001 (whatever it is, the seed must be told)
        happened = "\n".join(story.told)
        return f"story {seed}: {type(error).__name__}: {error}\n{happened}\nagain: pytest {__file__} --story {seed}"
    return ""


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_story_ends_well(block: int, request: pytest.FixtureRequest) -> None:
    chosen = request.config.getoption("--story")
    if chosen is not None:
        if block == 0:
            assert tell(int(chosen)) == ""
        return
    number = int(request.config.getoption("--stories") or STORIES) // BLOCKS
    broken = [told for seed in range(block * number, (block + 1) * number) if (told := tell(seed))]
    assert not broken, "\n\n".join(broken[:3])


def test_a_story_is_told_the_same_way_twice() -> None:
    for seed in range(20):
        first, second = Story(seed), Story(seed)
        first.run()
        second.run()
        assert (first.scheduler.steps, first.scheduler.now) == (second.scheduler.steps, second.scheduler.now)


def test_much_happens_in_the_stories() -> None:
    told = []
    for seed in range(60):
        story = Story(seed)
        story.run()
        told += story.told
    happened = "\n".join(told)
    for word in ("is killed", "Ctrl-C", "loses its power", "no quorum", "cut off", "stalled", "breaks the lock"):
        assert word in happened
    for command in ("upgrade", "roll_back", "abort"):
        assert f"begins to {command}" in happened
