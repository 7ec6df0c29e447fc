"""The real steps, driver, lock and records of an update in a simulated cluster where everything happens that can.

pytest tests/unit/simulation/test_update_simulation.py --stories 20000      # more of them
pytest tests/unit/simulation/test_update_simulation.py --story 619          # this one again, and what happened in it
"""

from __future__ import annotations

import pytest
from update_story import UpdateStory

from argosy.operations.service.updating import looking, steps

BLOCKS = 10
STORIES = 600
"""So many take about 40 s of one processor."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look less often: time goes on by steps here, and each costs."""
    for module in (looking, steps):
        monkeypatch.setattr(module, "POLL_SECONDS", 1.0)


def tell(seed: int) -> str:
    """Return an empty string when the story ends well, else what happened in it."""
    story = UpdateStory(seed)
    try:
        story.run()
    except BaseException as error:  # noqa: BLE001 (whatever it is, the seed must be told)
        happened = "\n".join(story.told)
        return f"story {seed}: {type(error).__name__}: {error}\n{happened}\nagain: pytest {__file__} --story {seed}"
    return ""


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_update_ends_well(block: int, request: pytest.FixtureRequest) -> None:
    chosen = request.config.getoption("--story")
    if chosen is not None:
        if block == 0:
            assert tell(int(chosen)) == ""
        return
    number = int(request.config.getoption("--stories") or STORIES) // BLOCKS
    broken = [told for seed in range(block * number, (block + 1) * number) if (told := tell(seed))]
    assert not broken, "\n\n".join(broken[:3])
