"""The rollout as a value: batches, and what comes next."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raised import raises

from argosy.cluster.change import Finish, Finished, Resumed, State, Stopped
from argosy.cluster.release import Release
from argosy.errors import ConfigError
from argosy.images.versions import PinnedService
from argosy.rollouts.plan import (
    Findings,
    Found,
    begin_rollout,
    down_lines,
    parse_batch,
    plan_batches,
    plan_lines,
    stopped,
)
from argosy.rollouts.record import UNDER_WAY, Options, Rollout, RolloutStep, parse_rollout
from argosy.rollouts.transitions import (
    Aborted,
    Began,
    Begin,
    Dropped,
    Ended,
    Event,
    Facts,
    Failed,
    Soak,
    Stop,
    Survey,
    TurnBack,
    TurnedBack,
    Wait,
    advance,
    next_step,
)

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
OLD, NEW = Release("0.1.2", "r:5000/air/installer@sha256:old"), Release("0.1.3", "r:5000/air/installer@sha256:new")
DB = PinnedService(("air-01",), "1a2b", 30.0)
WELL = Facts()


def names(number: int) -> list[str]:
    return [f"air-{index:02}" for index in range(1, number + 1)]


def rollout(machines: int = 3, *, batch: str = "1", **options: object) -> Rollout:
    return begin_rollout(
        "r1",
        NEW,
        Findings(tuple(Found(name, OLD) for name in names(machines))),
        replace(Options(batch), **options),  # type: ignore[arg-type]
        by="alice@here",
        now=NOW,
        total=machines,
        whole=True,
    )


def after(start: Rollout, *events: Event, now: datetime = NOW) -> Rollout:
    for event in events:
        start = advance(start, event, now)
    return start


def prepared(start: Rollout) -> Rollout:
    work = tuple((name, RolloutStep.PREPARING) for name in start.names)
    return after(start, Began(work), *(Ended(name) for name, _ in work))


def upgraded(start: Rollout, *machines: str, now: datetime = NOW) -> Rollout:
    for name in machines:
        start = after(start, Began(((name, RolloutStep.DRAINING),)), *[Ended(name)] * 4, now=now)
    return start


class TestBatches:
    @pytest.mark.parametrize(
        ("text", "total", "size"),
        [
            ("1", 5, 1),
            ("3", 5, 3),
            ("25%", 8, 2),
            ("10%", 5, 1),
            ("1%", 1000, 10),
            ("50%", 5, 2),
            ("100%", 5, 4),
            ("9", 5, 4),
            ("5", 1, 1),
            ("100%", 1, 1),
        ],
    )
    def test_a_batch_is_never_none_and_never_all(self, text: str, total: int, size: int) -> None:
        assert parse_batch(text, total) == size

    @pytest.mark.parametrize("text", ["", "0", "0%", "-1", "1.5", "x", "%", "25 %", "99999"])
    def test_what_is_no_batch_is_refused(self, text: str) -> None:
        with raises(ConfigError, path="batch"):
            parse_batch(text, 5)

    def test_the_canary_is_alone(self) -> None:
        assert plan_batches(names(5), "2", canary=True, total=5) == (
            ("air-01",),
            ("air-02", "air-03"),
            ("air-04", "air-05"),
        )

    def test_members_of_etcd_are_spread_and_clients_fill_up(self) -> None:
        batches = plan_batches(names(6), "3", canary=False, total=6, members=names(3), away=1)
        assert batches == (("air-01", "air-04", "air-05"), ("air-02", "air-06"), ("air-03",))

    @given(st.integers(1, 40), st.sampled_from(["1", "2", "7", "25%", "60%", "100%"]), st.booleans(), st.integers(0, 7))
    def test_every_machine_once_and_no_batch_too_large(
        self, number: int, batch: str, canary: bool, member: int
    ) -> None:
        everybody = names(number)
        members = everybody[:member]
        away = max(1, (len(members) - 1) // 2)
        batches = plan_batches(everybody, batch, canary=canary, total=number, members=members, away=away)
        assert sorted(name for batch in batches for name in batch) == everybody
        assert all(0 < len(pair) <= parse_batch(batch, number) for pair in batches)
        assert all(sum(name in members for name in batch) <= away for batch in batches)
        assert not canary or len(batches[0]) == 1
        assert number == 1 or all(len(batch) < number for batch in batches)


class TestBeginning:
    def test_machines_that_have_the_release_and_are_well_are_left_out(self) -> None:
        found = (
            Found("a", NEW),
            Found("b", OLD),
            Found("c", NEW, "it is draining"),
            Found("d", replace(OLD, version="9")),
        )
        made = begin_rollout("r", NEW, Findings(found), Options(), by="x", now=NOW, total=4, whole=True)
        assert made.order == (("c",), ("b",), ("d",))
        assert list(made.machines) == ["c", "b", "d"]

    def test_the_same_version_of_other_bytes_is_another_release(self) -> None:
        seen = Findings((Found("a", replace(NEW, image="elsewhere")),))
        assert begin_rollout("r", NEW, seen, Options(), by="x", now=NOW, total=1, whole=True).order == (("a",),)

    def test_with_nothing_to_do_it_is_finished_at_once(self) -> None:
        made = begin_rollout("r", NEW, Findings((Found("a", NEW),)), Options(), by="x", now=NOW, total=1, whole=True)
        assert made.order == ()
        assert next_step(made, NOW) == Finish()
        assert plan_lines(made) == []

    def test_the_plan_reads_as_what_will_be_done(self) -> None:
        assert [str(line) for line in plan_lines(rollout(2, canary=True, soak_seconds=30))] == [
            "air-01: pull the images of release 0.1.3",
            "air-02: pull the images of release 0.1.3",
            "air-01: batch 1 of 2: drain, install 0.1.2 -> 0.1.3, check, undrain",
            "air-01: watch for 30 s",
            "air-02: batch 2 of 2: drain, install 0.1.2 -> 0.1.3, check, undrain",
        ]

    @pytest.mark.parametrize(
        ("before", "after", "down"),
        [
            ({}, {"db": DB}, []),
            ({"db": DB}, {"db": DB}, []),
            ({"db": DB}, {"db": replace(DB, revision="other")}, [("db", 30.0)]),
            ({"db": DB}, {"db": replace(DB, machines=("air-02",))}, [("db", 30.0)]),
            ({"db": DB}, {}, [("db", 30.0)]),
            ({"db": replace(DB, machines=("air-02",))}, {}, []),
            ({"db": DB}, None, [("db", 30.0)]),
            (None, {"db": DB}, [("db", 30.0)]),
            (None, None, []),
        ],
    )
    def test_what_stops_that_nobody_else_stands_in_for(self, before: Any, after: Any, down: Any) -> None:
        assert stopped("air-01", before, after) == down

    def test_the_plan_says_what_will_be_down(self) -> None:
        pinned = {OLD: {"db": DB, "queue": DB}, NEW: {"db": replace(DB, revision="other"), "queue": DB}}
        (line,) = down_lines(rollout(2), pinned.get)
        assert str(line) == "air-01: db will be down for about 30 s, and until it passes its check"
        assert line.to_json() == {"subject": "air-01", "action": line.action, "down_seconds": 30.0}
        assert "down_seconds" not in plan_lines(rollout(2))[0].to_json()


class TestForward:
    def test_all_images_are_pulled_before_anything_is_stopped(self) -> None:
        start = rollout(2)
        assert next_step(start, NOW) == Begin((("air-01", RolloutStep.PREPARING), ("air-02", RolloutStep.PREPARING)))
        began = after(
            start, Began((("air-01", RolloutStep.PREPARING), ("air-02", RolloutStep.PREPARING))), Ended("air-01")
        )
        assert next_step(began, NOW, {"air-02"}) == Wait()
        assert next_step(began, NOW) == Begin((("air-02", RolloutStep.PREPARING),))

    def test_a_failed_pull_stops_it_with_nothing_touched(self) -> None:
        began = after(rollout(2), Began((("air-01", RolloutStep.PREPARING), ("air-02", RolloutStep.PREPARING))))
        failed = after(began, Failed("air-01", "no space"))
        assert next_step(failed, NOW, {"air-02"}) == Wait()
        assert next_step(after(failed, Ended("air-02")), NOW) == Stop("air-01: preparing: no space")
        assert not any(machine.touched for machine in failed.machines.values())

    def test_a_batch_begins_only_after_a_look_at_the_others(self) -> None:
        ready = prepared(rollout(3, batch="2"))
        assert next_step(ready, NOW) == Survey(("air-01", "air-02"))
        begin = Begin((("air-01", RolloutStep.DRAINING), ("air-02", RolloutStep.DRAINING)))
        assert next_step(ready, NOW, (), WELL) == begin
        stop = next_step(ready, NOW, (), Facts({"air-03": "its router is gone"}))
        assert stop == Stop("air-01, air-02 can't be spared, since others are not well: air-03: its router is gone")
        assert next_step(ready, NOW, (), Facts(closed="closed till Monday")) == Stop("closed till Monday")

    def test_a_machine_that_is_out_already_may_be_upgraded_whatever_the_others_are(self) -> None:
        ready = prepared(rollout(3))
        troubles = Facts({"air-01": "it is draining", "air-03": "it is draining"})
        assert next_step(ready, NOW, (), troubles) == Begin((("air-01", RolloutStep.DRAINING),))

    def test_of_a_batch_those_that_are_out_come_first(self) -> None:
        ready = prepared(rollout(3, batch="2"))
        first = next_step(ready, NOW, (), Facts({"air-02": "its router is gone", "air-03": "it is draining"}))
        assert first == Begin((("air-02", RolloutStep.DRAINING),))
        at = upgraded(ready, "air-02")
        assert next_step(at, NOW) == Survey(("air-01",))
        assert next_step(at, NOW, (), WELL) == Begin((("air-01", RolloutStep.DRAINING),))

    def test_one_step_follows_the_other(self) -> None:
        at = after(prepared(rollout(1)), Began((("air-01", RolloutStep.DRAINING),)))
        seen = []
        while not isinstance(next_step(at, NOW), Finish):
            assert next_step(at, NOW, {"air-01"}) == Wait()
            seen.append(next_step(at, NOW))
            at = after(at, Ended("air-01"))
        assert seen == [Begin((("air-01", step),)) for step in UNDER_WAY]
        assert after(at, Finished()).state is State.DONE

    def test_what_a_step_took_is_kept(self) -> None:
        at = after(prepared(rollout(1)), Began((("air-01", RolloutStep.DRAINING),)))
        at = after(at, Ended("air-01"), now=NOW + timedelta(seconds=5.1239))
        assert at.machines["air-01"].seconds == {"preparing": 0, "draining": 5.123}
        assert at.machines["air-01"].since == NOW + timedelta(seconds=5.1239)

    def test_the_next_batch_waits_for_the_soak(self) -> None:
        later = NOW + timedelta(seconds=29)
        at = upgraded(prepared(rollout(2, soak_seconds=30)), "air-01")
        assert next_step(at, later) == Soak(NOW + timedelta(seconds=30), ("air-01",))
        assert next_step(at, NOW + timedelta(seconds=30)) == Survey(("air-02",))

    def test_nothing_soaks_after_the_last_batch(self) -> None:
        assert next_step(upgraded(prepared(rollout(1, soak_seconds=30)), "air-01"), NOW) == Finish()

    def test_a_machine_that_falls_ill_in_the_soak_stops_it(self) -> None:
        at = after(upgraded(prepared(rollout(2, soak_seconds=30)), "air-01"), Failed("air-01", "web fails"))
        assert next_step(at, NOW) == Stop("air-01: web fails")

    def test_after_a_failure_the_others_of_the_batch_are_finished_and_no_more_begins(self) -> None:
        at = after(
            prepared(rollout(4, batch="2")),
            Began((("air-01", RolloutStep.DRAINING), ("air-02", RolloutStep.DRAINING))),
            Failed("air-01", "no"),
        )
        assert next_step(at, NOW) == Begin((("air-02", RolloutStep.DRAINING),))
        assert next_step(at, NOW, {"air-02"}) == Wait()
        at = after(at, *[Ended("air-02")] * 4)
        assert next_step(at, NOW) == Stop("air-01: draining: no")
        assert [at.machines[name].step for name in names(4)] == [
            RolloutStep.FAILED,
            RolloutStep.DONE,
            RolloutStep.PREPARED,
            RolloutStep.PREPARED,
        ]

    def test_what_failed_is_tried_again_from_its_images_on(self) -> None:
        at = after(
            prepared(rollout(2)), Began((("air-01", RolloutStep.DRAINING),)), Failed("air-01", "no"), Stopped("x")
        )
        again = after(at, Resumed("bob@there"))
        assert (again.state, again.reason, again.by) == (State.RUNNING, "", "bob@there")
        assert next_step(again, NOW) == Begin((("air-01", RolloutStep.PREPARING),))
        assert again.machines["air-01"].touched

    def test_moments_that_are_still_to_come_are_none(self) -> None:
        at = upgraded(prepared(rollout(2, soak_seconds=30)), "air-01", now=NOW + timedelta(hours=1))
        again = after(at, Resumed("bob@there"))
        assert next_step(again, NOW) == Soak(NOW + timedelta(seconds=30), ("air-01",))


class TestBack:
    def broken(self, **options: object) -> Rollout:
        """Return a rollout with a done batch, a failed machine, and one to come."""
        at = upgraded(prepared(rollout(3, **options)), "air-01")  # type: ignore[arg-type]
        return after(at, Began((("air-02", RolloutStep.DRAINING),)), Ended("air-02"), Failed("air-02", "no"))

    def test_it_turns_back_only_when_asked_to(self) -> None:
        assert next_step(self.broken(), NOW) == Stop("air-02: installing: no")
        assert next_step(self.broken(rollback=True), NOW) == TurnBack("air-02: installing: no")

    def test_the_failed_machine_is_first_and_the_untouched_one_stays(self) -> None:
        at = after(self.broken(), TurnedBack("bob@there"))
        assert (at.state, at.back, at.by) == (State.ROLLING_BACK, True, "bob@there")
        assert next_step(at, NOW) == Begin((("air-02", RolloutStep.DRAINING),))
        assert at.target("air-02") == OLD
        at = after(at, *[Ended("air-02")] * 4)
        assert at.machines["air-02"].step is RolloutStep.ROLLED_BACK
        assert next_step(at, NOW) == Survey(("air-01",))
        assert isinstance(next_step(at, NOW, (), Facts({"air-03": "gone"})), Stop)
        assert next_step(at, NOW, (), WELL) == Begin((("air-01", RolloutStep.DRAINING),))
        at = after(at, Began((("air-01", RolloutStep.DRAINING),)), *[Ended("air-01")] * 4)
        assert next_step(at, NOW) == Finish()
        at = after(at, Finished())
        assert at.state is State.ROLLED_BACK
        assert at.machines["air-03"].step is RolloutStep.PENDING

    def test_no_window_holds_it_up(self) -> None:
        at = after(upgraded(prepared(rollout(2)), "air-01"), TurnedBack("x"))
        assert next_step(at, NOW, (), Facts()) == Begin((("air-01", RolloutStep.DRAINING),))

    def test_a_machine_that_can_t_be_put_back_stops_it_and_is_tried_again(self) -> None:
        at = after(self.broken(rollback=True), TurnedBack("x"), Failed("air-02", "unreachable"))
        assert next_step(at, NOW) == Stop("air-02: draining: unreachable")
        again = after(after(at, Stopped("x")), Resumed("y"))
        assert (again.state, again.back) == (State.ROLLING_BACK, True)
        assert next_step(again, NOW) == Begin((("air-02", RolloutStep.DRAINING),))
        assert after(after(at, Stopped("x")), TurnedBack("y")) == again

    def test_a_touched_machine_that_was_to_be_tried_again_goes_back_too(self) -> None:
        at = after(self.broken(), Stopped("x"), Resumed("y"), TurnedBack("z"))
        assert next_step(at, NOW) == Begin((("air-02", RolloutStep.DRAINING),))

    def test_a_machine_that_was_only_drained_just_goes_back_into_service(self) -> None:
        at = after(prepared(rollout(2)), Began((("air-01", RolloutStep.DRAINING),)))
        assert at.drained_only == ["air-01"]
        for failed in (at, after(at, Failed("air-01", "no")), after(at, Failed("air-01", "no"), Resumed("x"))):
            back = after(failed, TurnedBack("x"))
            assert next_step(back, NOW) == Begin((("air-01", RolloutStep.UNDRAINING),))
            assert next_step(after(back, Ended("air-01")), NOW) == Finish()

    def test_with_nothing_touched_there_is_nothing_to_put_back(self) -> None:
        at = after(rollout(2), Began((("air-01", RolloutStep.PREPARING),)), Failed("air-01", "no"), TurnedBack("x"))
        assert next_step(at, NOW) == Finish()


class TestOtherEnds:
    def test_given_up_leaves_the_machines_as_they_are(self) -> None:
        at = upgraded(prepared(rollout(3)), "air-01")
        at = after(at, Began((("air-02", RolloutStep.DRAINING),)), Stopped("x"), Aborted("enough", ("air-02",)))
        assert (at.state, at.reason) == (State.ABORTED, "enough")
        assert [at.machines[name].step for name in names(3)] == [
            RolloutStep.DONE,
            RolloutStep.PENDING,
            RolloutStep.PREPARED,
        ]

    def test_machines_that_left_the_cluster_are_forgotten(self) -> None:
        at = after(prepared(rollout(3)), Dropped(("air-01", "air-03")))
        assert at.order == (("air-02",),)
        assert list(at.machines) == ["air-02"]

    def test_what_can_t_happen_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="air-01 is pending: nothing of it can have ended"):
            after(rollout(1), Ended("air-01"))
        with pytest.raises(ValueError, match="air-01 is prepared: it can't have failed"):
            after(prepared(rollout(1)), Failed("air-01", "x"))


class TestRecord:
    def test_it_survives_etcd(self) -> None:
        at = upgraded(prepared(rollout(3, batch="2", canary=True, soak_seconds=1.5, rollback=True)), "air-01")
        at = after(at, Began((("air-02", RolloutStep.DRAINING),)), Failed("air-02", 'a "reason"'), Stopped("…"))
        assert parse_rollout(at.text()) == at

    def test_its_shape(self) -> None:
        told = json.loads(after(prepared(rollout(1)), Began((("air-01", RolloutStep.DRAINING),))).text())
        assert told == {
            "id": "r1",
            "release": {"version": "0.1.3", "image": NEW.image},
            "state": "running",
            "reason": "",
            "back": False,
            "whole": True,
            "options": {"batch": "1", "canary": False, "soak_seconds": 0, "rollback": False},
            "order": [["air-01"]],
            "started": "2026-01-31T12:00:00.000Z",
            "by": "alice@here",
            "machines": {
                "air-01": {
                    "step": "draining",
                    "since": "2026-01-31T12:00:00.000Z",
                    "from": {"version": "0.1.2", "image": OLD.image},
                    "touched": True,
                    "reason": "",
                    "seconds": {"preparing": 0.0},
                }
            },
        }

    @pytest.mark.parametrize(
        "change",
        [
            lambda record: record.pop("order"),
            lambda record: record.update(state="asleep"),
            lambda record: record.update(started="yesterday"),
            lambda record: record.update(started="2026-01-31T12:00:00"),
            lambda record: record.update(machines=[]),
            lambda record: record.update(order=[["air-01", "air-02"]]),
            lambda record: record.update(release="0.1.3"),
        ],
    )
    def test_what_is_no_record_says_so(self, change: object) -> None:
        told = rollout(1).to_json()
        change(told)  # type: ignore[operator]
        with pytest.raises(ValueError, match="not the record of a rollout"):
            parse_rollout(json.dumps(told))

    @pytest.mark.parametrize("text", ["", "[]", "null", "{}", "1"])
    def test_nor_is_other_json(self, text: str) -> None:
        with pytest.raises(ValueError, match="not the record of a rollout"):
            parse_rollout(text)
