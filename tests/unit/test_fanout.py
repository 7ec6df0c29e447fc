from __future__ import annotations

import threading

import pytest

from argosy.errors import CommandFailed, HostsFailed
from argosy.fanout import Outcome, Outcomes, fan_out, joined


def numbers(count: int) -> dict[str, int]:
    return {f"air-{number:02}": number for number in range(count)}


def fail_on_odd(number: int) -> int:
    if number % 2:
        raise CommandFailed(f"air-{number:02}: it is odd")
    return number


def test_outcomes_stand_in_the_order_of_the_hosts() -> None:
    outcomes = fan_out(numbers(50), lambda number: number * 2, max_parallel=7)
    assert list(outcomes) == list(numbers(50))
    assert joined(outcomes) == {name: number * 2 for name, number in numbers(50).items()}


def test_no_more_run_at_once_than_allowed_and_as_many_do() -> None:
    running, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(4)

    def work(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(10)
        with lock:
            running -= 1

    joined(fan_out(numbers(16), work, max_parallel=4))
    assert most == 4


def test_all_finish_and_all_failures_are_told() -> None:
    outcomes = fan_out(numbers(4), fail_on_odd, max_parallel=2, what="Counting")
    assert [outcome.ok for outcome in outcomes.values()] == [True, False, True, False]
    assert outcomes["air-02"].get() == 2
    with pytest.raises(HostsFailed) as caught:
        joined(outcomes)
    assert str(caught.value) == ("Counting failed on 2 of 4 machines: air-01: it is odd; air-03: it is odd")
    assert set(caught.value.failures) == {"air-01", "air-03"}


def test_one_host_alone_fails_with_its_own_error() -> None:
    with pytest.raises(CommandFailed, match="it is odd"):
        joined(fan_out({"air-01": 1}, fail_on_odd, max_parallel=8))


def test_nobody_to_ask_is_no_failure() -> None:
    assert joined(fan_out({}, fail_on_odd, max_parallel=8)) == {}


def test_a_value_of_none_is_a_value() -> None:
    assert joined(Outcomes("", {"air-01": Outcome(value=None)})) == {"air-01": None}


def test_an_interruption_begins_nothing_more_and_cancels_what_runs() -> None:
    begun: list[int] = []
    cancelled = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            # As Ctrl-C does it: in the main thread, wherever that waits.
            import _thread

            _thread.interrupt_main()
        cancelled.wait(10)

    with pytest.raises(KeyboardInterrupt):
        fan_out(numbers(8), work, max_parallel=2, cancel=cancelled.set)
    assert cancelled.is_set()
    assert sorted(begun) == [0, 1]
