"""How an update goes: `service_update`, what it is to be: `update_plan`, and its record."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.cluster.change import Finish, Finished, Resumed, State, Stopped
from argosy.config.scheduled import ScheduledSettings
from argosy.errors import ConfigError
from argosy.services.record import Generation, ScheduledRecord, ServiceImage
from argosy.services.updates.plan import (
    begin_update,
    change,
    changes,
    next_generation,
    parse_share,
    plan_lines,
    share_weights,
    wanted_replicas,
)
from argosy.services.updates.record import Options, Update, UpdateStep
from argosy.services.updates.transitions import (
    Do,
    Ended,
    Event,
    Failed,
    Soak,
    TurnedBack,
    advance,
    may_turn,
    next_step,
    steps_back,
    steps_on,
)

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
WEB = {"image": "web", "replicas": 4, "discovery": {"port": 80, "scheme": "http"}}


def generation(number: int, version: str = "", **fields: Any) -> Generation:
    definition = ScheduledSettings.model_validate({**WEB, **fields})
    version = version or f"0.1.{number}"
    return Generation(number, definition, ServiceImage(f"10.0.0.5:5000/air/web@sha256:{number:064}", version))


def record(old: Generation | None = None, **fields: Any) -> ScheduledRecord:
    found = old or generation(7)
    return replace(ScheduledRecord("web", found, found.definition.count, NOW, "alice@build-1"), **fields)


def begun(
    new: Generation | None = None, options: Options | None = None, before: ScheduledRecord | None = None
) -> Update:
    return begin_update(
        "id", before or record(), new or generation(8), options or Options(), by="alice@build-1", now=NOW
    )


def gone(update: Update, *events: Event, now: datetime = NOW) -> Update:
    for event in events:
        update = advance(update, event, now)
    return update


def at(step: UpdateStep, update: Update) -> Update:
    while update.step is not step:
        update = advance(update, Ended(), NOW)
    return update


CANARY = Options(share=0.1, soak_seconds=30)
STOP_FIRST = Options(stop_first=True)
SIDE_BY_SIDE = ["starting", "opening", "closing", "emptying", "removing", "ending"]


class TestTheWayOn:
    @pytest.mark.parametrize(
        ("update", "steps"),
        [
            (begun(), SIDE_BY_SIDE),
            (begun(options=CANARY), ["starting", "sharing", "soaking", *SIDE_BY_SIDE[1:]]),
            (begun(options=STOP_FIRST), ["closing", "emptying", "removing", "starting", "opening", "ending"]),
            (begun(generation(8, discovery=None)), ["starting", "closing", "emptying", "removing", "ending"]),
            (
                begun(generation(8), before=record(generation(7, discovery=None))),
                ["starting", "opening", "removing", "ending"],
            ),
            (
                begun(generation(8, discovery=None), STOP_FIRST, record(generation(7, discovery=None))),
                ["removing", "starting", "ending"],
            ),
            (begun(before=record(stopped=True)), ["removing", "ending"]),
        ],
    )
    def test_is_by_the_order_and_by_who_is_routed(self, update: Update, steps: list[str]) -> None:
        assert [str(step) for step in steps_on(update)] == steps
        walked = [update.step]
        while update.step is not UpdateStep.ENDING:
            assert next_step(update, NOW + timedelta(hours=1)) == Do(update.step)
            update = advance(update, Ended(), NOW + timedelta(seconds=1))
            walked.append(update.step)
        assert [str(step) for step in walked] == steps
        assert next_step(update, NOW) == Finish()
        assert advance(update, Finished(), NOW).state is State.DONE

    def test_takes_the_time_of_the_soak_from_its_begin_whoever_goes_on(self) -> None:
        update = at(UpdateStep.SOAKING, begun(options=CANARY))
        until = NOW + timedelta(seconds=30)
        assert next_step(update, NOW) == Soak(until)
        later = gone(update, Resumed("bob@build-2"), now=NOW + timedelta(seconds=20))
        assert next_step(later, NOW + timedelta(seconds=20)) == Soak(until)
        assert next_step(later, until) == Do(UpdateStep.SOAKING)
        ahead = gone(update, Resumed("bob@build-2"), now=NOW - timedelta(hours=1))
        assert next_step(ahead, NOW - timedelta(hours=1)) == Soak(NOW - timedelta(hours=1) + timedelta(seconds=30))

    def test_notes_what_each_step_took(self) -> None:
        update = gone(begun(), Ended(), now=NOW + timedelta(seconds=2.5))
        assert update.seconds == {"starting": 2.5}
        assert update.since == NOW + timedelta(seconds=2.5)


class TestTheWayBack:
    @pytest.mark.parametrize(
        ("update", "step", "steps"),
        [
            (begun(), UpdateStep.STARTING, ["discarding", "ending"]),
            (
                begun(options=CANARY),
                UpdateStep.SHARING,
                ["reopening", "withdrawing", "leaving", "discarding", "ending"],
            ),
            (
                begun(options=CANARY),
                UpdateStep.SOAKING,
                ["reopening", "withdrawing", "leaving", "discarding", "ending"],
            ),
            (begun(), UpdateStep.EMPTYING, ["reopening", "withdrawing", "leaving", "discarding", "ending"]),
            (begun(options=STOP_FIRST), UpdateStep.CLOSING, ["reopening", "ending"]),
            (begun(options=STOP_FIRST), UpdateStep.REMOVING, ["discarding", "restarting", "reopening", "ending"]),
            (begun(options=STOP_FIRST), UpdateStep.STARTING, ["discarding", "restarting", "reopening", "ending"]),
            (
                begun(options=STOP_FIRST),
                UpdateStep.OPENING,
                ["withdrawing", "leaving", "discarding", "restarting", "reopening", "ending"],
            ),
        ],
    )
    def test_undoes_as_much_as_was_begun(self, update: Update, step: UpdateStep, steps: list[str]) -> None:
        reached = at(step, update)
        assert may_turn(reached)
        back = gone(reached, Failed("air-02: its check fails"))
        assert (back.state, back.back, back.reason) == (State.GOING_BACK, True, f"{step}: air-02: its check fails")
        assert back.wanted == update.old
        assert [str(step) for step in steps_back(back)] == steps
        assert str(back.step) == steps[0]
        for _ in steps[1:]:
            back = advance(back, Ended(), NOW)
        assert next_step(back, NOW) == Finish()
        assert advance(back, Finished(), NOW).state is State.ROLLED_BACK

    @pytest.mark.parametrize(
        ("update", "step"),
        [
            (begun(), UpdateStep.REMOVING),
            (begun(), UpdateStep.ENDING),
            (begun(options=STOP_FIRST), UpdateStep.ENDING),
            (begun(before=record(stopped=True)), UpdateStep.REMOVING),
        ],
    )
    def test_is_not_there_any_more_once_the_old_ones_go(self, update: Update, step: UpdateStep) -> None:
        reached = at(step, update)
        assert not may_turn(reached)
        failed = gone(reached, Failed("no manager answers"))
        assert (failed.state, failed.step, failed.back) == (State.STOPPED, step, False)
        assert failed.trouble == f"{step}: no manager answers"
        with pytest.raises(ValueError, match="no way back"):
            advance(reached, TurnedBack("bob@build-2", "x"), NOW)

    def test_that_fails_is_stopped_there_and_gone_on_with(self) -> None:
        back = gone(begun(), TurnedBack("bob@build-2", "taken back by bob"), Failed("no manager answers"))
        assert (back.state, back.step, back.back) == (State.STOPPED, UpdateStep.DISCARDING, True)
        assert (back.reason, back.trouble) == ("taken back by bob", "discarding: no manager answers")
        again = gone(back, Resumed("carol@build-3"))
        assert (again.state, again.step, again.trouble, again.by) == (
            State.GOING_BACK,
            UpdateStep.DISCARDING,
            "",
            "carol@build-3",
        )

    def test_is_not_turned_twice(self) -> None:
        back = gone(begun(), TurnedBack("bob@build-2", "x"))
        assert not may_turn(back)

    def test_what_is_stopped_goes_on(self) -> None:
        stopped = gone(begun(), Stopped("interrupted"))
        assert (stopped.state, stopped.trouble) == (State.STOPPED, "interrupted")
        assert gone(stopped, Resumed("bob@build-2")).state is State.RUNNING

    def test_nothing_comes_after_the_end(self) -> None:
        with pytest.raises(ValueError, match="no step left"):
            advance(at(UpdateStep.ENDING, begun()), Ended(), NOW)


class TestTheRecord:
    @pytest.mark.parametrize(
        "update",
        [
            begun(),
            begun(generation(8, replicas=None, everywhere=True), CANARY),
            gone(at(UpdateStep.SOAKING, begun(options=CANARY)), Failed("ill"), Stopped("Ctrl-C")),
            gone(at(UpdateStep.REMOVING, begun(options=STOP_FIRST)), Resumed("bob")),
            begun(before=record(stopped=True)),
        ],
    )
    def test_is_read_as_it_was_written(self, update: Update) -> None:
        assert Update.parse(update.text()) == update
        assert json.loads(update.text())["step"] == str(update.step)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "not the record of an update"),
            ("[]", "not the record of an update"),
            ("{}", "it lacks 'id'"),
            (begun().text().replace('"starting"', '"flying"'), "step: Input should be 'starting', 'sharing'"),
            (begun().text().replace('"replicas":4', '"replicas":"many"'), "replicas: Input should be a valid integer"),
            (begun().text().replace('"port":80', '"port":0'), "discovery.port"),
        ],
    )
    def test_that_is_none_is_told(self, text: str, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            Update.parse(text)


class TestShares:
    @pytest.mark.parametrize(
        ("share", "new", "old", "weight", "expected"),
        [
            (0.1, 4, 4, 100, (11, 100)),
            (0.5, 2, 2, 100, (100, 100)),
            (0.5, 1, 2, 100, (200, 100)),
            (0.01, 8, 8, 100, (1, 100)),
            (0.1, 4, 4, 1, (1, 9)),
            (0.9, 4, 4, 100, (9, 1)),
        ],
    )
    def test_by_weights(self, share: float, new: int, old: int, weight: int, expected: tuple[int, int]) -> None:
        assert share_weights(share, new, old, weight) == expected

    @given(st.integers(1, 99), st.integers(1, 50), st.integers(1, 50), st.integers(0, 256))
    def test_are_near_and_never_nothing(self, percent: int, new: int, old: int, weight: int) -> None:
        mine, its = share_weights(percent / 100, new, old, weight)
        assert 1 <= mine <= 256
        assert 1 <= its <= 256
        # The nearest that is to be had: 256 to 1 is the most that weights can say.
        wanted = min(max(percent / 100, new / (new + old * 256)), new * 256 / (new * 256 + old))
        assert new * mine / (new * mine + old * its) == pytest.approx(wanted, rel=0.11)

    @pytest.mark.parametrize(("text", "share"), [("", 0), ("10%", 0.1), ("1%", 0.01), ("99%", 0.99)])
    def test_are_read(self, text: str, share: float) -> None:
        assert parse_share(text) == share

    @pytest.mark.parametrize("text", ["0%", "100%", "10", "-1%", "1.5%", "ten"])
    def test_that_are_none_are_refused(self, text: str) -> None:
        with pytest.raises(ConfigError, match="no share"):
            parse_share(text)


class TestWhatItIsToBe:
    @pytest.mark.parametrize(
        ("current", "used", "expected"),
        [(1, [], 2), (7, [], 8), (7, [8], 10), (7, [3, 8, 9], 10), (7, [10, 11], 12), (8, [9], 11)],
    )
    def test_its_number_was_never_used_and_is_odd_beside_an_even_one(
        self, current: int, used: list[int], expected: int
    ) -> None:
        assert next_generation(current, used) == expected

    @given(st.integers(1, 1000), st.lists(st.integers(1, 1000)))
    def test_its_number_grows(self, current: int, used: list[int]) -> None:
        number = next_generation(current, used)
        assert number > max([current, *used])
        assert (number - current) % 2 == 1

    @pytest.mark.parametrize(
        ("before", "definition", "expected"),
        [
            (record(), generation(8).definition, 4),
            (record(replicas=9), generation(8).definition, 9),
            (record(replicas=9), generation(8, replicas=6).definition, 6),
            (record(replicas=9), generation(8, replicas=None, everywhere=True).definition, None),
            (
                record(generation(7, replicas=None, everywhere=True)),
                generation(8, replicas=2).definition,
                2,
            ),
        ],
    )
    def test_as_many_as_were_scaled_to_unless_the_definition_says_another_number(
        self, before: ScheduledRecord, definition: ScheduledSettings, expected: int | None
    ) -> None:
        assert wanted_replicas(before, definition) == expected

    def test_what_is_another_is_said(self) -> None:
        assert changes(generation(7), generation(7)) == ""
        assert changes(generation(7), replace(generation(7), number=9)) == ""
        assert changes(generation(7), generation(8)) == "0.1.7 -> 0.1.8"
        assert changes(generation(7), generation(7, env={"A": "1"}, replicas=3)) == "env, replicas"
        assert change(begun(replace(generation(7), number=8))) == "the same again"


class TestThePlan:
    def lines(self, update: Update) -> list[str]:
        return [str(line) for line in plan_lines(update)]

    def test_side_by_side_with_a_canary(self) -> None:
        assert self.lines(begun(options=CANARY)) == [
            "web: start generation 8 (0.1.7 -> 0.1.8) beside generation 7: 4 instances, which get no requests yet",
            "web: wait until each of them is healthy, registered, and known to every live router",
            "web: give generation 8 10% of the requests",
            "web: watch it for 30 s",
            "web: give generation 8 its full share of requests",
            "web: give generation 7 no more requests, and wait until every live router knows",
            "web: wait until the connections to generation 7 have ended",
            "web: stop and remove generation 7",
        ]

    def test_stop_first_says_that_it_is_an_outage(self) -> None:
        lines = self.lines(begun(options=STOP_FIRST))
        assert "web: from here on nobody serves until generation 8 does (order: stop-first)" in lines
        assert lines.index("web: stop and remove generation 7") < lines.index(
            "web: start generation 8 (0.1.7 -> 0.1.8) once generation 7 is gone: 4 instances, which get no requests yet"
        )

    def test_of_what_is_left(self) -> None:
        assert self.lines(at(UpdateStep.REMOVING, begun())) == ["web: stop and remove generation 7"]
        assert self.lines(at(UpdateStep.ENDING, begun())) == []
        back = gone(at(UpdateStep.EMPTYING, begun()), TurnedBack("bob", "x"))
        assert self.lines(back) == [
            "web: give generation 7 its full share of requests again",
            "web: give generation 8 no more requests, and wait until every live router knows",
            "web: wait until the connections to generation 8 have ended",
            "web: stop and remove generation 8",
        ]

    def test_of_a_stopped_service_and_a_global_one(self) -> None:
        assert self.lines(begun(before=record(stopped=True))) == [
            "web: it is stopped, and stays so: generation 8 (0.1.7 -> 0.1.8) is what service.start starts"
        ]
        everywhere = generation(8, replicas=None, everywhere=True)
        assert "one on each machine that fits" in self.lines(begun(everywhere))[0]
