"""Many checks are repeated by few threads."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from argosy.agent.registrar.checker import WORKERS, Checker
from argosy.agent.registrar.verdicts import FAILURES, LASTING_FAILURES, Kind, Probe, Verdict
from argosy.model import Endpoint


def probe(port: int = 80, seconds: float = 0.1) -> Probe:
    return Probe(Kind.TCP, Endpoint("127.0.0.1", port), seconds)


class Checked:
    """Checks whose results the test sets."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}
        self.told: queue.Queue[tuple[str, Verdict]] = queue.Queue()
        self.counts: Counter[int] = Counter()
        self.busy = self.most = 0
        self.turn = threading.Lock()
        self.wait: Callable[[], object] = lambda: None
        self.checker = Checker(self.check, lambda *it: self.told.put(it))

    def check(self, it: Probe) -> str:
        with self.turn:
            self.counts[it.endpoint.port] += 1
            self.busy += 1
            self.most = max(self.most, self.busy)
        self.wait()
        with self.turn:
            self.busy -= 1
        return self.reasons.get(it.endpoint.port, "")

    def next(self) -> tuple[str, Verdict]:
        return self.told.get(timeout=5)


@pytest.fixture
def checked() -> Iterator[Checked]:
    made = Checked()
    yield made
    made.checker.stop()


class TestChecker:
    def test_tells_the_first_pass_at_once(self, checked: Checked) -> None:
        checked.checker.watch("a", probe(seconds=60), Verdict())
        assert checked.next() == ("a", Verdict(passing=True, sure=True))

    def test_tells_what_changes_and_nothing_twice(self, checked: Checked) -> None:
        checked.checker.watch("a", probe(), Verdict())
        checked.next()
        checked.reasons[80] = "refused"
        assert checked.next() == ("a", Verdict(failures=FAILURES, reason="refused", sure=True))
        assert checked.next()[1].failures == LASTING_FAILURES
        del checked.reasons[80]
        assert checked.next() == ("a", Verdict(passing=True, sure=True))
        assert checked.told.empty()

    def test_stops_for_one_that_is_forgotten(self, checked: Checked) -> None:
        checked.checker.watch("a", probe(1), Verdict())
        checked.checker.watch("b", probe(2), Verdict())
        assert {checked.next()[0], checked.next()[0]} == {"a", "b"}
        checked.checker.forget("a")
        before = dict(checked.counts)
        wait_until(lambda: checked.counts[2] >= before[2] + 3)
        assert checked.counts[1] <= before[1] + 1

    def test_the_same_again_does_not_begin_anew_and_another_does(self, checked: Checked) -> None:
        checked.checker.watch("a", probe(seconds=60), Verdict())
        checked.next()
        checked.checker.watch("a", probe(seconds=60), Verdict())
        checked.checker.watch("a", probe(81, seconds=60), Verdict())
        checked.next()
        assert checked.counts == {80: 1, 81: 1}

    def test_a_check_that_does_not_work_is_a_failure_and_ends_nothing(self, checked: Checked) -> None:
        def fail() -> None:
            raise RuntimeError("no")

        checked.wait = fail
        checked.checker.watch("a", probe(), Verdict())
        assert checked.next() == ("a", Verdict(failures=1, reason="the check failed to work: no"))
        checked.wait = lambda: None
        wait_until(lambda: not checked.told.empty())
        assert checked.next()[1].passing

    def test_two_hundred_take_a_few_threads(self, checked: Checked) -> None:
        pause = threading.Event()
        checked.wait = lambda: pause.wait(0.005)
        for number in range(200):
            checked.checker.watch(f"{number}", probe(number, seconds=0.5), Verdict())
        assert {checked.next()[0] for _ in range(200)} == {f"{number}" for number in range(200)}
        wait_until(lambda: min(checked.counts.values()) >= 3)
        assert checked.most <= WORKERS

    def test_some_that_hang_do_not_keep_the_others_waiting(self, checked: Checked) -> None:
        release = threading.Event()

        def hang() -> None:
            if threading.current_thread().name.endswith(("-0", "-1")):
                release.wait(10)

        checked.wait = hang
        for number in range(20):
            checked.checker.watch(f"{number}", probe(number), Verdict())
        for _ in range(18):
            checked.next()
        release.set()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.01)
