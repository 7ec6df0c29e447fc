from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.agent.router.backoff import LONGEST_REST, LONGEST_RETRY, Pace


def test_the_first_reload_and_one_after_a_rest_need_not_wait() -> None:
    pace = Pace()
    assert pace.wait_seconds("a", 100) == 0
    pace.succeeded(100, took=0.2)
    assert pace.wait_seconds("b", 100.05) == pytest.approx(0.15)
    assert pace.wait_seconds("b", 100.2) == 0


def test_a_slow_reload_makes_nobody_wait_for_long() -> None:
    pace = Pace()
    pace.succeeded(100, took=60)
    assert pace.wait_seconds("b", 100) == LONGEST_REST


def test_what_failed_is_tried_again_less_and_less_often() -> None:
    pace, now, waits = Pace(), 100.0, []
    for _ in range(10):
        pace.failed("bad", now)
        waits.append(pace.wait_seconds("bad", now))
        now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, *[LONGEST_RETRY] * 4]


def test_another_plan_need_not_wait_for_one_that_failed() -> None:
    pace = Pace()
    pace.failed("bad", 100)
    assert pace.wait_seconds("good", 100) == 0


def test_after_a_success_a_failure_counts_anew() -> None:
    pace = Pace()
    pace.failed("bad", 100)
    pace.failed("bad", 101)
    pace.succeeded(102, took=0)
    pace.failed("bad", 103)
    assert pace.wait_seconds("bad", 103) == 1


@given(st.lists(st.floats(0.01, 5), min_size=1, max_size=50))
def test_reloads_never_take_more_than_half_of_the_time_or_rest_for_longer_than_allowed(times: list[float]) -> None:
    pace, now, busy = Pace(), 0.0, 0.0
    for took in times:
        now += pace.wait_seconds("x", now) + took
        busy += min(took, LONGEST_REST)
        pace.succeeded(now, took)
        assert pace.wait_seconds("x", now) <= LONGEST_REST + 1e-9
    assert now + pace.wait_seconds("x", now) >= 2 * busy - 1e-9
