from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from argosy.rollout import Began, Ended, advance
from argosy.rollout_plan import Found, begin_rollout
from argosy.rollout_record import Options, Release, Step, parse_rollout

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.rollout import measure, plan_and_decide

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_a_rollout_is_measured_by_its_record() -> None:
    rollout = begin_rollout(
        "r", Release("2", "b"), [Found("a", Release("1", "a"))], Options(), by="x", now=NOW, total=1
    )
    now = NOW
    rollout = advance(rollout, Began((("a", Step.PREPARING),)), now)
    for seconds in (5, 2, 10, 1.5, 1):
        now += timedelta(seconds=seconds)
        rollout = advance(rollout, Ended("a"), now)
        if rollout.machines["a"].step is Step.PREPARED:
            rollout = advance(rollout, Began((("a", Step.DRAINING),)), now)
    measured = measure(parse_rollout(rollout.text()), 21)
    assert measured.seconds == 19.5
    assert measured.parts == {"pull": 5, "stop and start": 10, "check": 1.5, "drain": 2, "back into service": 1}
    assert measured.sum_seconds == measured.path_seconds == 16.5
    assert measured.longest_pull == 5


def test_a_thousand_machines_are_planned_at_once() -> None:
    planned = plan_and_decide(1000, "25%")
    assert planned.batches >= 5
    assert planned.plan_seconds < 1
    assert planned.record_bytes < 1_000_000
