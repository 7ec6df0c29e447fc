"""What is told of a rollout: lines, JSON, and the table."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from argosy.cluster.change import Resumed, State
from argosy.cluster.events import Checked, Event, Said, Soaking, StepDone, StepFailed
from argosy.cluster.release import Release
from argosy.rollouts import events as told
from argosy.rollouts.plan import Findings, Found, begin_rollout
from argosy.rollouts.record import Options, Rollout, RolloutStep
from argosy.rollouts.transitions import TurnedBack, advance
from argosy.rollouts.view import COLUMNS, MOST_ROWS, Board, shown

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
OLD, NEW = Release("0.1.2", "old"), Release("0.1.3", "new")


def rollout(machines: int = 2) -> Rollout:
    names = [f"air-{number:02}" for number in range(1, machines + 1)]
    found = Findings(tuple(Found(name, OLD) for name in names))
    return begin_rollout("r1", NEW, found, Options(), by="alice@here", now=NOW, total=machines, whole=True)


EVENTS: list[tuple[Event, str]] = [
    (
        told.Planned(at=NOW, rollout=rollout()),
        "cluster|rollout r1 begins: to release 0.1.3, 2 machines in 2 batches",
    ),
    (
        told.Planned(at=NOW, rollout=advance(rollout(), TurnedBack("x"), NOW), resumed=True),
        "cluster|rollout r1 resumes: putting back what had release 0.1.3, 2 machines in 2 batches",
    ),
    (told.NothingToDo(at=NOW, release="0.1.3"), "cluster|release 0.1.3 is everywhere already: nothing to do"),
    (Said(at=NOW, machine="air-01", message="hello"), "air-01|hello"),
    (told.StepBegan(at=NOW, machine="air-01", step=RolloutStep.DRAINING, release="0.1.3"), "air-01|draining ..."),
    (
        told.StepBegan(at=NOW, machine="air-01", step=RolloutStep.INSTALLING, release="0.1.3"),
        "air-01|installing release 0.1.3 ...",
    ),
    (
        StepDone(at=NOW, machine="air-01", step=RolloutStep.UNDRAINING, next=RolloutStep.DONE, seconds=1.25),
        "air-01|undraining took 1.2 s; done",
    ),
    (
        StepDone(at=NOW, machine="air-01", step=RolloutStep.UNDRAINING, next=RolloutStep.ROLLED_BACK, seconds=1),
        "air-01|undraining took 1.0 s; back on its old release",
    ),
    (Checked(at=NOW, machine="air-01", check="web", reason="answers 500"), "air-01|web: answers 500"),
    (Checked(at=NOW, machine="air-01", check="web"), "air-01|web: passes"),
    (StepFailed(at=NOW, machine="air-01", step=RolloutStep.CHECKING, reason="no"), "air-01|checking failed: no"),
    (
        Soaking(at=NOW, machines=("air-01", "air-02"), until=NOW + timedelta(seconds=30)),
        "cluster|watching air-01, air-02 for 30 s",
    ),
    (told.RollingBack(at=NOW, reason="air-01: no"), "cluster|rolling back: air-01: no"),
    (told.Ended(at=NOW, state=State.DONE, release="0.1.3", seconds=61.6), "cluster|release 0.1.3 is installed (62 s)"),
    (
        told.Ended(at=NOW, state=State.STOPPED, release="0.1.3", seconds=1, reason="air-01: no"),
        "cluster|stopped (1 s): air-01: no",
    ),
]


@pytest.mark.parametrize(
    ("event", "line"), EVENTS, ids=lambda event: type(event).__name__ if isinstance(event, Event) else ""
)
def test_every_event_has_a_line_and_json(event: Event, line: str) -> None:
    assert f"{event.subject}|{event.text}" == line
    read = json.loads(json.dumps(event.to_json()))
    assert read["at"] == "2026-01-31T12:00:00.000Z"
    assert read.get("machine", "") == event.machine


def test_all_kinds_of_events_are_tried_here() -> None:
    kinds = {kind.__name__ for kind in Event.__subclasses__() if kind.__module__ in (told.__name__, Event.__module__)}
    assert {type(event).__name__ for event, _ in EVENTS} == kinds


def test_the_json_of_a_step() -> None:
    event = StepDone(at=NOW, machine="air-01", step=RolloutStep.DRAINING, next=RolloutStep.INSTALLING, seconds=5.0)
    assert event.to_json() == {
        "event": "step-done",
        "at": "2026-01-31T12:00:00.000Z",
        "machine": "air-01",
        "step": "draining",
        "next": "installing",
        "seconds": 5.0,
    }


def test_in_a_pipe_it_is_lines_on_stderr_and_as_json_lines_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    event = Said(at=NOW, machine="air-01", message="hello")
    with shown() as show:
        show(event)
    with shown(as_json=True) as show:
        show(event)
    captured = capsys.readouterr()
    assert captured.err == "air-01       hello\n"
    assert json.loads(captured.out) == event.to_json()


class TestBoard:
    def board(self, *events: Event, machines: int = 2) -> Board:
        board = Board()
        for event in (told.Planned(at=NOW, rollout=rollout(machines)), *events):
            board.apply(event)
        return board

    def test_each_machine_has_its_step_its_time_and_its_checks(self) -> None:
        at = {"at": NOW, "machine": "air-01"}
        board = self.board(
            told.StepBegan(**at, step=RolloutStep.CHECKING, release="0.1.3"),  # type: ignore[arg-type]
            Checked(**at, check="host"),  # type: ignore[arg-type]
            Checked(**at, check="web", reason="answers 500"),  # type: ignore[arg-type]
        )
        assert COLUMNS == ("machine", "release", "step", "for", "checks")
        assert board.rows(NOW + timedelta(seconds=7)) == [
            ("air-01", "0.1.2 -> 0.1.3", "checking", "7 s", "1 of 2 pass; web: answers 500"),
            ("air-02", "0.1.2 -> 0.1.3", "pending", "", ""),
        ]
        assert board.summary() == "1 pending, 1 checking"
        assert board.title.startswith("rollout r1 begins")

    def test_why_a_machine_failed_stays_until_it_is_tried_again(self) -> None:
        board = self.board(StepFailed(at=NOW, machine="air-01", step=RolloutStep.DRAINING, reason="draining: no"))
        assert board.rows(NOW)[0] == ("air-01", "0.1.2 -> 0.1.3", "failed", "", "draining: no")
        board.apply(told.StepBegan(at=NOW, machine="air-01", step=RolloutStep.PREPARING, release="0.1.3"))
        assert board.rows(NOW)[0][2:] == ("preparing", "0 s", "")

    def test_the_way_back_shows_where_it_leads(self) -> None:
        board = Board()
        board.apply(told.Planned(at=NOW, rollout=advance(advance(rollout(), Resumed("x"), NOW), TurnedBack("x"), NOW)))
        assert board.rows(NOW)[0][1] == "0.1.3 -> 0.1.2"

    def test_of_very_many_machines_those_at_work_are_shown(self) -> None:
        began = told.StepBegan(at=NOW, machine="air-77", step=RolloutStep.DRAINING, release="0.1.3")
        board = self.board(began, machines=500)
        assert [row[0] for row in board.rows(NOW)] == ["air-77"]
        assert board.summary() == "499 pending, 1 draining"
        assert MOST_ROWS < 500

    def test_what_goes_on_between_batches_is_told(self) -> None:
        board = self.board(Soaking(at=NOW, machines=("air-01",), until=NOW + timedelta(seconds=30)))
        assert board.watching == "watching air-01 for 30 s"
        board.apply(told.StepBegan(at=NOW, machine="air-02", step=RolloutStep.DRAINING, release="0.1.3"))
        assert board.watching == ""


def test_on_a_terminal_it_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with shown() as show:
        show(told.Planned(at=NOW, rollout=rollout()))
        show(Said(at=NOW, machine="air-01", message="hello"))
        show(told.StepBegan(at=NOW, machine="air-01", step=RolloutStep.DRAINING, release="0.1.3"))
    drawn = terminal.getvalue()
    assert "hello" in drawn
    assert "draining" in drawn
    assert "air-02" in drawn
