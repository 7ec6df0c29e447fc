"""Waiting until something is so, by a simulated clock."""

from __future__ import annotations

from collections.abc import Callable
from operator import not_
from typing import TypeVar

import pytest
from scheduler import Process, Scheduler
from world import SimulatedClock

from argosy.clock import Clock, retry, retry_for, wait_until

T = TypeVar("T")


def simulated(work: Callable[[Clock], T]) -> tuple[T, float]:
    """Return what `work` returns, and the seconds that it took."""
    scheduler, process, found = Scheduler(1), Process("waiting"), list[T]()
    scheduler.spawn(process, "main", lambda: found.append(work(SimulatedClock(scheduler, process))))
    scheduler.run()
    return found[0], scheduler.now


def after(looks: int, seen: T, before: T) -> Callable[[], T]:
    """Return a look that sees `seen` at last."""
    given = iter([before] * (looks - 1))
    return lambda: next(given, seen)


def test_what_is_so_at_once_is_not_waited_for() -> None:
    assert simulated(lambda clock: wait_until(lambda: "there", 60, clock=clock)) == ("there", 0)


def test_it_looks_every_so_often() -> None:
    look = after(4, ["key"], [])
    assert simulated(lambda clock: wait_until(look, 60, every=2, clock=clock)) == (["key"], 6)


def test_late_is_what_was_seen_last_after_one_more_look() -> None:
    looks: list[float] = []

    def work(clock: Clock) -> float:
        def look() -> float:
            looks.append(clock.elapsed())
            return clock.elapsed()

        return wait_until(look, 5, done=lambda seen: seen > 5, every=2, clock=clock)

    assert simulated(work) == (5, 5)
    assert looks == [0, 2, 4, 5]


def test_reasons_are_waited_for_until_there_is_none() -> None:
    look = after(2, "", "not ready")
    assert simulated(lambda clock: wait_until(look, 60, done=not_, every=1, clock=clock)) == ("", 1)


def test_without_time_it_looks_once() -> None:
    assert simulated(lambda clock: wait_until(after(2, True, False), 0, clock=clock)) == (False, 0)


def test_a_pause_of_the_caller_s_may_end_it() -> None:
    def lost(_seconds: float) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        wait_until(lambda: False, 60, pause=lost)


class Passing(Exception):
    """What may pass by itself."""


def failing(*errors: Exception) -> Callable[[], int]:
    """Return what raises these, one at each call, and then returns how often it was called."""
    given, calls = iter(errors), iter(range(1, 100))

    def act() -> int:
        call = next(calls)
        error = next(given, None)
        if error is not None:
            raise error
        return call

    return act


def may_pass(error: Exception) -> bool:
    return isinstance(error, Passing)


class TestTryingAgain:
    def test_what_may_pass_is_done_again(self) -> None:
        assert retry_for(60, failing(Passing(), Passing()), may_pass, every=0) == 3
        assert retry(3, failing(Passing(), Passing()), may_pass, longest_seconds=0) == 3

    def test_the_last_error_is_raised_when_it_has_lasted(self) -> None:
        with pytest.raises(Passing, match="second"):
            retry(2, failing(Passing("first"), Passing("second")), may_pass, longest_seconds=0)
        with pytest.raises(Passing, match="first"):
            retry_for(0, failing(Passing("first")), may_pass)

    def test_nothing_else_is_done_again(self) -> None:
        with pytest.raises(ConnectionError):
            retry_for(60, failing(ConnectionError()), may_pass)
        with pytest.raises(ConnectionError):
            retry(9, failing(ConnectionError()), may_pass)
