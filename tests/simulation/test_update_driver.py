"""An update's driver and what decides before it, in a simulated cluster where little happens: what is told, refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fake_etcd import Client
from scheduler import Scheduler
from update_world import NAME, FakeSwarm, UpdateWorld
from world import Result, Simulation

from argosy.cluster.change import State
from argosy.cluster.events import Event, StepDone
from argosy.errors import ConfigError, Interrupted, LockLost, Refused, TakenBack, Unhealthy
from argosy.etcd import Put
from argosy.services import waiting
from argosy.services.record import ScheduledRecord
from argosy.services.updates.begin import UpdateRequest, update
from argosy.services.updates.events import StepBegan
from argosy.services.updates.interfaces import Operator
from argosy.services.updates.journal import KEPT_UPDATES, of_updates
from argosy.services.updates.record import Update, UpdateStep


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 1.0)


class UpdateSimulation(Simulation[Operator]):
    def __init__(self, bad: str = "", stop_first: bool = False, replicas: int | None = 3) -> None:
        self.world = UpdateWorld(Scheduler(1), 3, replicas, {"web:2": bad} if bad else {}, stop_first)
        super().__init__(self.world)
        self.replicas = replicas

    def update(self, version: int = 2, named: bool = True, **changes: Any) -> Result:
        target = self.world.target(version, self.replicas)
        request = replace(UpdateRequest(NAME, lambda _: target, named=named), **changes)
        return self.run(lambda operator: update(request, operator))

    def refused(self, version: int = 2) -> Result:
        """Let something stand against the update before anything is done."""

        def ready(_: Update) -> None:
            raise Refused("it can't run")

        target = self.world.target(version, self.replicas)
        request = UpdateRequest(NAME, lambda _: target, named=True)
        return self.run(lambda operator: update(request, replace(operator, ready=ready)))

    def roll_back(self) -> Result:
        return self.run(lambda operator: update(UpdateRequest(NAME, rollback=True), operator))

    def kill_at(self, step: UpdateStep) -> None:
        """Let the operator be killed when `step` begins."""

        def tell(event: Event) -> None:
            if isinstance(event, StepBegan) and event.step is step:
                self.watching = lambda _: None
                self.scheduler.kill(self.process)
                self.scheduler.step()

        self.watching = tell
        self.update()
        self.scheduler.now += 60
        self.world.settle()

    def raise_at(self, *kinds: UpdateStep) -> None:
        """Let Ctrl-C be pressed when each of these begins."""
        left = list(kinds)

        def tell(event: Event) -> None:
            if isinstance(event, StepBegan) and event.step in left:
                left.remove(event.step)
                raise KeyboardInterrupt

        self.watching = tell

    def states(self) -> list[State]:
        return [update.state for update in of_updates(NAME).past(self.client)]

    def trail(self) -> list[str]:
        return [f"{entry.what}: {entry.outcome}" for entry in self.history()]


@pytest.fixture
def simulation() -> UpdateSimulation:
    return UpdateSimulation()


def done(simulation: UpdateSimulation) -> list[str]:
    return [str(event.step) for event in simulation.events if isinstance(event, StepDone)]


def test_it_goes_from_step_to_step(simulation: UpdateSimulation) -> None:
    assert simulation.update().error is None
    assert done(simulation) == ["starting", "opening", "closing", "emptying", "removing"]
    assert simulation.lines()[0].endswith("begins: generation 1 -> 2: 1 -> 2, check")
    assert simulation.lines()[-1].startswith("web: generation 2 serves (")
    assert simulation.trail() == ["update of web: generation 1 -> 2: done"]
    simulation.world.check_end("web:2")


def test_the_record_is_json_in_every_event(simulation: UpdateSimulation) -> None:
    simulation.update()
    told = [event.to_json() for event in simulation.events]
    assert [entry["event"] for entry in told][:3] == ["planned", "step-began", "checked"]
    assert told[0]["update"]["new"]["generation"] == 2
    assert told[1] | {"at": ""} == {"event": "step-began", "at": "", "service": "web", "step": "starting"}
    assert told[-1]["state"] == "done"


def test_with_nothing_to_do_it_says_so(simulation: UpdateSimulation) -> None:
    assert simulation.update(version=1).error is None
    assert simulation.lines() == ["web: generation 1 (1) is just that: nothing to do"]
    assert simulation.states() == []


def test_what_is_that_already_is_renewed_when_asked_to_be(simulation: UpdateSimulation) -> None:
    assert simulation.update(version=1, renew=True).error is None
    assert simulation.lines()[0].endswith("begins: generation 1 -> 2: the same again")
    assert simulation.states() == [State.DONE]
    simulation.world.check_end("web:1")


@pytest.mark.parametrize("bad", ["sick", "crash"])
def test_a_bad_version_is_taken_back(bad: str) -> None:
    simulation = UpdateSimulation(bad)
    error = simulation.update().error
    assert isinstance(error, TakenBack)
    assert error.code == 34
    why = "its agent has not registered it yet, after 40 s" if bad == "sick" else "has failed 3 times: it ended with 1"
    assert why in str(error)
    assert "the last lines of air-web-2." in str(error)
    assert str(error).endswith(": it said this")
    assert simulation.states() == [State.ROLLED_BACK]
    assert "web: going back" in simulation.lines()
    simulation.world.check_end("web:1")


def test_whoever_comes_after_a_kill_goes_on(simulation: UpdateSimulation) -> None:
    simulation.kill_at(UpdateStep.EMPTYING)
    assert simulation.update(named=False).error is None
    assert any("resumes" in line for line in simulation.lines())
    assert simulation.states() == [State.DONE]
    simulation.world.check_end("web:2")


def test_another_update_is_refused_until_this_one_has_ended(simulation: UpdateSimulation) -> None:
    simulation.kill_at(UpdateStep.OPENING)
    error = simulation.update(version=3).error
    assert isinstance(error, Refused)
    assert str(error) == (
        "the update of web to generation 2 has not ended (running), and is another one (2 -> 3, check): "
        "inv service.update web resumes it, inv service.rollback web takes it back"
    )
    assert simulation.update(version=3, named=False).error is None, "resumes what was begun"
    assert simulation.update(version=3).error is None
    simulation.world.check_end("web:3")


def test_a_rollback_takes_an_update_back(simulation: UpdateSimulation) -> None:
    simulation.kill_at(UpdateStep.EMPTYING)
    assert simulation.roll_back().error is None
    assert simulation.states() == [State.ROLLED_BACK]
    simulation.world.check_end("web:1")


def test_where_there_is_no_way_back_a_rollback_is_an_update_of_its_own(simulation: UpdateSimulation) -> None:
    simulation.kill_at(UpdateStep.REMOVING)
    assert simulation.roll_back().error is None
    assert simulation.states() == [State.DONE, State.DONE]
    assert simulation.trail()[-1] == "rollback of web: generation 2 -> 3: done"
    simulation.world.check_end("web:1")


def test_a_rollback_of_what_has_no_past_is_refused(simulation: UpdateSimulation) -> None:
    assert str(simulation.roll_back().error) == ("nothing is known of web before generation 1: there is no way back")


def test_a_rollback_that_fails_leaves_what_is_there() -> None:
    simulation = UpdateSimulation()
    simulation.update()
    simulation.world.bad = {"web:1": "crash"}
    assert isinstance(simulation.roll_back().error, TakenBack)
    simulation.world.check_end("web:2")


def test_ctrl_c_takes_it_back(simulation: UpdateSimulation) -> None:
    simulation.raise_at(UpdateStep.EMPTYING)
    error = simulation.update().error
    assert isinstance(error, Interrupted)
    assert str(error) == "the update of web was interrupted: generation 1 serves as before"
    assert simulation.states() == [State.ROLLED_BACK]
    simulation.world.check_end("web:1")


def test_a_second_ctrl_c_leaves_the_way_back_to_whoever_comes(simulation: UpdateSimulation) -> None:
    simulation.raise_at(UpdateStep.EMPTYING, UpdateStep.WITHDRAWING)
    assert "interrupted on its way back" in str(simulation.update().error)
    present = of_updates(NAME).present(simulation.client)
    assert present is not None
    assert (present.state, present.back, present.step) == (State.STOPPED, True, UpdateStep.WITHDRAWING)
    assert isinstance(simulation.update(named=False).error, TakenBack)
    simulation.world.check_end("web:1")


def test_with_ctrl_c_while_the_old_go_the_same_command_resumes(simulation: UpdateSimulation) -> None:
    simulation.raise_at(UpdateStep.REMOVING)
    assert "interrupted while removing; the same command resumes" in str(simulation.update().error)
    entry = simulation.world.etcd.get(f"/cluster/scheduled/{NAME}")
    assert entry is not None
    assert ScheduledRecord.parse(entry.value).generation == 2, "what is wanted from there on"
    assert simulation.update().error is None
    simulation.world.check_end("web:2")


def test_what_can_t_be_taken_back_is_stopped_and_told(simulation: UpdateSimulation) -> None:
    simulation.world.fall_ill("web:1")
    simulation.world.settle()
    simulation.raise_at(UpdateStep.CLOSING)
    error = simulation.update().error
    assert isinstance(error, Unhealthy)
    assert not isinstance(error, TakenBack)
    assert (
        "is stopped (going back, since interrupted by operator-1@host): withdrawing: instances: no instance of"
        in str(error)
    )
    simulation.world.recover()
    assert isinstance(simulation.update().error, TakenBack)
    simulation.world.check_end("web:1")


def test_a_service_whose_old_instances_are_dead_is_mended_by_an_update(simulation: UpdateSimulation) -> None:
    simulation.world.fall_ill("web:1")
    simulation.world.settle()
    assert simulation.update(canary="10%", soak_seconds=5.0).error is None
    assert any("there is nothing to share: the new ones get all requests" in line for line in simulation.lines())
    simulation.world.check_end("web:2")


def test_a_canary_gets_its_share_first() -> None:
    simulation = UpdateSimulation()
    assert simulation.update(canary="10%", soak_seconds=20.0).error is None
    assert "web: 3 new instances of weight 11, 3 old ones of 100: 9.9% of the requests" in simulation.lines()
    assert "web: watching the new instances for 20 s" in simulation.lines()
    assert done(simulation)[:3] == ["starting", "sharing", "soaking"]


@pytest.mark.parametrize(
    ("stop_first", "changes", "reason"),
    [
        (True, {"canary": "10%"}, "canary: web: stop-first leaves no old instance"),
        (False, {"canary": "ten"}, "canary: 'ten' is no share of the requests"),
        (False, {"soak_seconds": 5.0}, "soak: it is for how long a canary gets its share"),
        (False, {"canary": "10%", "soak_seconds": -5.0}, "soak: it can't be less than nothing"),
    ],
)
def test_what_makes_no_sense_is_refused(stop_first: bool, changes: dict[str, Any], reason: str) -> None:
    error = UpdateSimulation(stop_first=stop_first).update(**changes).error
    assert isinstance(error, ConfigError)
    assert str(error).startswith(reason)


def test_stop_first_is_done_in_its_order() -> None:
    simulation = UpdateSimulation(stop_first=True)
    assert simulation.update().error is None
    assert done(simulation) == ["closing", "emptying", "removing", "starting", "opening"]
    simulation.world.check_end("web:2")


def test_stop_first_puts_the_old_back() -> None:
    simulation = UpdateSimulation("crash", stop_first=True)
    assert isinstance(simulation.update().error, TakenBack)
    assert done(simulation)[-3:] == ["discarding", "restarting", "reopening"]
    simulation.world.check_end("web:1")


def test_whoever_stood_still_before_the_old_were_removed_takes_nothing_away(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = UpdateSimulation(stop_first=True)
    world, remove, late = simulation.world, FakeSwarm.remove_service, list[Result]()

    def stand_still(swarm: FakeSwarm, service_id: str) -> None:
        if not late:
            world.break_lock(Client(world.etcd, world.scheduler, "breaker"))
            roll_back = UpdateRequest(NAME, rollback=True)
            late.append(simulation.begin(lambda operator: update(roll_back, operator)))
            swarm._process.stalled_until = world.scheduler.now + 70
            world.scheduler.sleep(0.02)
        remove(swarm, service_id)

    monkeypatch.setattr(FakeSwarm, "remove_service", stand_still)
    assert isinstance(simulation.update().error, LockLost)
    assert late[0].error is None
    assert simulation.states() == [State.ROLLED_BACK]
    world.check_end("web:1")


def test_a_record_that_can_t_be_read_is_told(simulation: UpdateSimulation) -> None:
    simulation.world.etcd.on_write = lambda *_: None
    simulation.world.etcd.transact("world", [], [Put(f"/cluster/updates/{NAME}", "{}")])
    assert "/cluster/updates/web in etcd is not the record of an update: it lacks 'id'" in str(
        simulation.update().error
    )


def test_a_service_that_is_none_is_refused(simulation: UpdateSimulation) -> None:
    error = simulation.run(lambda operator: update(UpdateRequest("shop"), operator)).error
    assert str(error).startswith("no scheduled service shop in this cluster: inv service.submit shop")


def test_the_oldest_records_are_dropped(simulation: UpdateSimulation) -> None:
    for number in range(12):
        assert simulation.update(version=2 + number % 2).error is None
    assert len(simulation.states()) == KEPT_UPDATES


@pytest.mark.parametrize("stop_first", [False, True])
def test_what_stands_against_an_update_is_heard_before_anything_is_done(stop_first: bool) -> None:
    simulation = UpdateSimulation(stop_first=stop_first)
    assert isinstance(simulation.refused().error, Refused)
    assert {task.number for task in simulation.world.tasks() if not task.over} == {1}
    assert simulation.update().error is None
    assert simulation.refused().error is None, "nothing is to be done, so nothing stands against it"


def test_what_is_half_done_is_resumed_whatever_stands_against_it() -> None:
    simulation = UpdateSimulation(stop_first=True)
    simulation.kill_at(UpdateStep.REMOVING)
    assert simulation.refused().error is None
