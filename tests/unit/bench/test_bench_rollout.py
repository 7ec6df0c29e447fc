from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from argosy.cluster.release import Release
from argosy.rollouts.plan import Findings, Found, begin_rollout
from argosy.rollouts.record import Options, RolloutStep, parse_rollout
from argosy.rollouts.transitions import Began, Ended, advance

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from bench.rollout import measure, plan_and_decide

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_a_rollout_is_measured_by_its_record() -> None:
    rollout = begin_rollout(
        "r",
        Release("2", "b"),
        Findings((Found("a", Release("1", "a")),)),
        Options(),
        by="x",
        now=NOW,
        total=1,
        whole=True,
    )
    now = NOW
    rollout = advance(rollout, Began((("a", RolloutStep.PREPARING),)), now)
    for seconds in (5, 2, 10, 1.5, 1):
        now += timedelta(seconds=seconds)
        rollout = advance(rollout, Ended("a"), now)
        if rollout.machines["a"].step is RolloutStep.PREPARED:
            rollout = advance(rollout, Began((("a", RolloutStep.DRAINING),)), now)
    measured = measure(parse_rollout(rollout.text()), 21)
    assert measured.seconds == 19.5
    assert measured.parts == {"pull": 5, "stop and start": 10, "check": 1.5, "drain": 2, "back into service": 1}
    assert measured.sum_seconds == measured.path_seconds == 16.5
    assert measured.longest_pull == 5


def test_a_thousand_machines_are_planned() -> None:
    planned = plan_and_decide(1000, "25%")
    assert planned.batches >= 5
    assert planned.seconds > planned.plan_seconds > 0
    assert planned.record_bytes < 1_000_000
