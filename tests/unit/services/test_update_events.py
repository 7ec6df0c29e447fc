"""What is told of an update: lines and JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from argosy.cluster.change import State
from argosy.cluster.events import Checked, Event, Said, Soaking, StepDone, StepFailed
from argosy.config.scheduled import ScheduledSettings
from argosy.rollouts import view
from argosy.services.record import Generation, ScheduledRecord, ServiceImage
from argosy.services.updates import events as told
from argosy.services.updates.plan import begin_update
from argosy.services.updates.record import Options, Update, UpdateStep
from argosy.services.updates.transitions import TurnedBack, advance

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
DEFINITION = ScheduledSettings.model_validate({"image": "web", "discovery": {"port": 80}})
OLD = Generation(7, DEFINITION, ServiceImage("registry:5000/air/web@sha256:7", "0.1.7"))
NEW = Generation(8, DEFINITION, ServiceImage("registry:5000/air/web@sha256:8", "0.1.8"))


def update() -> Update:
    record = ScheduledRecord("web", OLD, 1, NOW, "alice@here")
    return begin_update("u1", record, NEW, Options(), by="alice@here", now=NOW)


def event(kind: type[Event], **fields: object) -> Event:
    return kind(**{"at": NOW, "service": "web", **fields})  # type: ignore[arg-type]


EVENTS: list[tuple[Event, str]] = [
    (event(told.Planned, update=update()), "web|update u1 begins: generation 7 -> 8: 0.1.7 -> 0.1.8"),
    (
        event(told.Planned, update=advance(update(), TurnedBack("x", "taken back by bob"), NOW), resumed=True),
        "web|update u1 resumes: back to generation 7, since taken back by bob",
    ),
    (
        event(told.Planned, update=replace(update(), new=replace(OLD, number=8))),
        "web|update u1 begins: generation 7 -> 8: the same again",
    ),
    (
        event(told.NothingToDo, generation=7, version="0.1.7"),
        "web|generation 7 (0.1.7) is just that: nothing to do",
    ),
    (event(Said, machine="air-01", message="hello"), "air-01|hello"),
    (event(Checked, machine="air-01", check="air-web-8.1", reason="starting"), "air-01|air-web-8.1: starting"),
    (event(Checked, check="routers"), "web|routers: passes"),
    (event(told.StepBegan, step=UpdateStep.STARTING), "web|starting the new instances ..."),
    (event(StepDone, step=UpdateStep.EMPTYING, seconds=1.25), "web|emptying took 1.2 s"),
    (event(StepFailed, step=UpdateStep.STARTING, reason="no"), "web|starting failed: no"),
    (event(Soaking, until=NOW + timedelta(seconds=30)), "web|watching the new instances for 30 s"),
    (event(told.GoingBack, reason="no"), "web|going back"),
    (event(told.Ended, state=State.DONE, generation=8, seconds=61.6), "web|generation 8 serves (62 s)"),
    (
        event(told.Ended, state=State.ROLLED_BACK, generation=7, seconds=5, reason="no"),
        "web|generation 7 serves as before (5 s)",
    ),
    (event(told.Ended, state=State.STOPPED, generation=8, seconds=5, reason="no"), "web|stopped (5 s): no"),
]


@pytest.mark.parametrize(("event", "line"), EVENTS)
def test_a_line_and_json_of_each_event(event: Event, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{event.subject}|{event.text}" == line
    view.lines(as_json=True)(event)
    read = json.loads(capsys.readouterr().out)
    assert (read["at"], read["service"]) == ("2026-01-31T12:00:00.000Z", "web")
    view.lines()(event)
    assert capsys.readouterr().err.split(maxsplit=1)[0] == event.subject


def test_all_kinds_of_events_are_tried_here() -> None:
    kinds = {kind.__name__ for kind in Event.__subclasses__() if kind.__module__ in (told.__name__, Event.__module__)}
    assert {type(event).__name__ for event, _ in EVENTS} == kinds


@pytest.mark.parametrize("step", [step for step in UpdateStep if step is not UpdateStep.ENDING])
def test_every_step_has_its_words(step: UpdateStep) -> None:
    assert event(told.StepBegan, step=step).text.endswith(" ...")


def test_the_json_of_the_end() -> None:
    assert event(told.Ended, state=State.ROLLED_BACK, generation=7, seconds=5, reason="no").to_json() == {
        "event": "ended",
        "at": "2026-01-31T12:00:00.000Z",
        "service": "web",
        "state": "rolled-back",
        "generation": 7,
        "seconds": 5,
        "reason": "no",
    }
