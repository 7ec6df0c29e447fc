"""An update's driver and what decides before it, in a simulated cluster where little happens: what is told, refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fake_etcd import Client
from scheduler import Scheduler
from update_world import NAME, UpdateWorld, operate
from world import Result

from argosy.errors import ConfigError, Interrupted, Refused, TakenBack, Unhealthy
from argosy.etcd import Put
from argosy.events import Event
from argosy.operations import journal
from argosy.operations.journal import of_updates
from argosy.operations.service.updating import looking, steps
from argosy.operations.service.updating.deciding import Wish, update
from argosy.operations.service.updating.seams import Operator
from argosy.scheduled_record import parse_record
from argosy.update_events import StepBegan, StepDone
from argosy.update_record import State, Step


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (looking, steps):
        monkeypatch.setattr(module, "POLL_SECONDS", 1.0)


class Simulation:
    """One cluster, and operators one after the other. `events`: all that was told."""

    def __init__(self, bad: str = "", stop_first: bool = False, replicas: int | None = 3) -> None:
        self.scheduler = Scheduler(1)
        self.world = UpdateWorld(self.scheduler, 3, replicas, {"web:2": bad} if bad else {}, stop_first)
        self.replicas = replicas
        self.events: list[Event] = []
        self.number = 0
        self.before: Callable[[Event], None] = lambda _: None

    def run(self, command: Callable[[Operator], object]) -> Result:
        self.number += 1
        name = f"operator-{self.number}"

        def tell(event: Event) -> None:
            self.events.append(event)
            self.before(event)

        def work(operator: Operator) -> None:
            command(replace(operator, events=tell))

        self.process, result = operate(self.world, name, work, Client(self.world.etcd, self.scheduler, name))
        self.scheduler.run()
        return result

    def update(self, version: int = 2, named: bool = True, **wish: Any) -> Result:
        target = self.world.target(version, self.replicas)
        wished = replace(Wish(NAME, lambda _: target, named=named), **wish)
        return self.run(lambda operator: update(wished, operator))

    def roll_back(self) -> Result:
        return self.run(lambda operator: update(Wish(NAME, rollback=True), operator))

    def kill_at(self, step: Step) -> None:
        """Let the operator be killed when `step` begins."""

        def tell(event: Event) -> None:
            if isinstance(event, StepBegan) and event.step is step:
                self.before = lambda _: None
                self.scheduler.kill(self.process)
                self.scheduler.step()

        self.before = tell
        self.update()
        self.scheduler.now += 60
        self.world.settle()

    def raise_at(self, *kinds: Step) -> None:
        """Let Ctrl-C be pressed when each of these begins."""
        left = list(kinds)

        def tell(event: Event) -> None:
            if isinstance(event, StepBegan) and event.step in left:
                left.remove(event.step)
                raise KeyboardInterrupt

        self.before = tell

    def lines(self) -> list[str]:
        return [f"{event.subject}: {event.text}" for event in self.events]

    def states(self) -> list[State]:
        return [it.state for it in of_updates(NAME).past(Plain(self.world))]

    def trail(self) -> list[str]:
        return [f"{it.what}: {it.outcome}" for it in reversed(journal.read_history(Plain(self.world)))]


class Plain(Client):
    """Reads without anybody's turn."""

    def __init__(self, world: UpdateWorld) -> None:
        super().__init__(world.etcd, world.scheduler, "reader")

    def _reach(self) -> None:
        pass


@pytest.fixture
def simulation() -> Simulation:
    return Simulation()


def done(simulation: Simulation) -> list[str]:
    return [str(event.step) for event in simulation.events if isinstance(event, StepDone)]


def test_it_goes_from_step_to_step(simulation: Simulation) -> None:
    assert simulation.update().error is None
    assert done(simulation) == ["starting", "opening", "closing", "emptying", "removing"]
    assert simulation.lines()[0].endswith("begins: generation 1 -> 2: 1 -> 2, check")
    assert simulation.lines()[-1].startswith("web: generation 2 serves (")
    assert simulation.trail() == ["update of web: generation 1 -> 2: done"]
    simulation.world.check_end("web:2")


def test_the_record_is_json_in_every_event(simulation: Simulation) -> None:
    simulation.update()
    told = [event.to_json() for event in simulation.events]
    assert [it["event"] for it in told][:3] == ["planned", "step-began", "checked"]
    assert told[0]["update"]["new"]["generation"] == 2
    assert told[1] | {"at": ""} == {"event": "step-began", "at": "", "service": "web", "step": "starting"}
    assert told[-1]["state"] == "done"


def test_with_nothing_to_do_it_says_so(simulation: Simulation) -> None:
    assert simulation.update(version=1).error is None
    assert simulation.lines() == ["web: generation 1 (1) is just that: nothing to do"]
    assert simulation.states() == []


def test_what_is_that_already_is_renewed_when_asked_to_be(simulation: Simulation) -> None:
    assert simulation.update(version=1, renew=True).error is None
    assert simulation.lines()[0].endswith("begins: generation 1 -> 2: the same again")
    assert simulation.states() == [State.DONE]
    simulation.world.check_end("web:1")


@pytest.mark.parametrize("bad", ["sick", "crash"])
def test_a_bad_version_is_taken_back(bad: str) -> None:
    simulation = Simulation(bad)
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


def test_whoever_comes_after_a_kill_goes_on(simulation: Simulation) -> None:
    simulation.kill_at(Step.EMPTYING)
    assert simulation.update(named=False).error is None
    assert any("goes on" in line for line in simulation.lines())
    assert simulation.states() == [State.DONE]
    simulation.world.check_end("web:2")


def test_another_update_is_refused_until_this_one_has_ended(simulation: Simulation) -> None:
    simulation.kill_at(Step.OPENING)
    error = simulation.update(version=3).error
    assert isinstance(error, Refused)
    assert str(error) == (
        "the update of web to generation 2 has not ended (running), and is another one (2 -> 3, check): "
        "inv service.update web goes on with it, inv service.rollback web takes it back"
    )
    assert simulation.update(version=3, named=False).error is None, "goes on with what was begun"
    assert simulation.update(version=3).error is None
    simulation.world.check_end("web:3")


def test_a_rollback_takes_an_update_back(simulation: Simulation) -> None:
    simulation.kill_at(Step.EMPTYING)
    assert simulation.roll_back().error is None
    assert simulation.states() == [State.ROLLED_BACK]
    simulation.world.check_end("web:1")


def test_where_there_is_no_way_back_a_rollback_is_an_update_of_its_own(simulation: Simulation) -> None:
    simulation.kill_at(Step.REMOVING)
    assert simulation.roll_back().error is None
    assert simulation.states() == [State.DONE, State.DONE]
    assert simulation.trail()[-1] == "rollback of web: generation 2 -> 3: done"
    simulation.world.check_end("web:1")


def test_a_rollback_of_what_has_no_past_is_refused(simulation: Simulation) -> None:
    assert str(simulation.roll_back().error) == ("nothing is known of web before generation 1: there is no way back")


def test_a_rollback_that_fails_leaves_what_is_there() -> None:
    simulation = Simulation()
    simulation.update()
    simulation.world.bad = {"web:1": "crash"}
    assert isinstance(simulation.roll_back().error, TakenBack)
    simulation.world.check_end("web:2")


def test_ctrl_c_takes_it_back(simulation: Simulation) -> None:
    simulation.raise_at(Step.EMPTYING)
    error = simulation.update().error
    assert isinstance(error, Interrupted)
    assert str(error) == "the update of web was interrupted: generation 1 serves as before"
    assert simulation.states() == [State.ROLLED_BACK]
    simulation.world.check_end("web:1")


def test_a_second_ctrl_c_leaves_the_way_back_to_whoever_comes(simulation: Simulation) -> None:
    simulation.raise_at(Step.EMPTYING, Step.WITHDRAWING)
    assert "interrupted on its way back" in str(simulation.update().error)
    present = of_updates(NAME).present(Plain(simulation.world))
    assert present is not None
    assert (present.state, present.back, present.step) == (State.STOPPED, True, Step.WITHDRAWING)
    assert isinstance(simulation.update(named=False).error, TakenBack)
    simulation.world.check_end("web:1")


def test_with_ctrl_c_while_the_old_go_the_same_again_goes_on(simulation: Simulation) -> None:
    simulation.raise_at(Step.REMOVING)
    assert "interrupted while removing; the same command goes on" in str(simulation.update().error)
    entry = simulation.world.etcd.get(f"/cluster/scheduled/{NAME}")
    assert entry is not None
    assert parse_record(entry.value).generation == 2, "what is wanted from there on"
    assert simulation.update().error is None
    simulation.world.check_end("web:2")


def test_what_can_t_be_taken_back_is_stopped_and_told(simulation: Simulation) -> None:
    simulation.world.fall_ill("web:1")
    simulation.world.settle()
    simulation.raise_at(Step.CLOSING)
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


def test_a_service_whose_old_instances_are_dead_is_mended_by_an_update(simulation: Simulation) -> None:
    simulation.world.fall_ill("web:1")
    simulation.world.settle()
    assert simulation.update(canary="10%", soak_seconds=5.0).error is None
    assert any("there is nothing to share: the new ones get all requests" in line for line in simulation.lines())
    simulation.world.check_end("web:2")


def test_a_canary_gets_its_share_first() -> None:
    simulation = Simulation()
    assert simulation.update(canary="10%", soak_seconds=20.0).error is None
    assert "web: 3 new instances of weight 11, 3 old ones of 100: 9.9% of the requests" in simulation.lines()
    assert "web: watching the new instances for 20 s" in simulation.lines()
    assert done(simulation)[:3] == ["starting", "sharing", "soaking"]


@pytest.mark.parametrize(
    ("stop_first", "wish", "reason"),
    [
        (True, {"canary": "10%"}, "canary: web: stop-first leaves no old instance"),
        (False, {"canary": "ten"}, "canary: 'ten' is no share of the requests"),
        (False, {"soak_seconds": 5.0}, "soak: it is for how long a canary gets its share"),
        (False, {"canary": "10%", "soak_seconds": -5.0}, "soak: it can't be less than nothing"),
    ],
)
def test_what_makes_no_sense_is_refused(stop_first: bool, wish: dict[str, Any], reason: str) -> None:
    error = Simulation(stop_first=stop_first).update(**wish).error
    assert isinstance(error, ConfigError)
    assert str(error).startswith(reason)


def test_stop_first_is_done_in_its_order() -> None:
    simulation = Simulation(stop_first=True)
    assert simulation.update().error is None
    assert done(simulation) == ["closing", "emptying", "removing", "starting", "opening"]
    simulation.world.check_end("web:2")


def test_stop_first_puts_the_old_back() -> None:
    simulation = Simulation("crash", stop_first=True)
    assert isinstance(simulation.update().error, TakenBack)
    assert done(simulation)[-3:] == ["discarding", "restarting", "reopening"]
    simulation.world.check_end("web:1")


def test_a_record_that_can_t_be_read_is_told(simulation: Simulation) -> None:
    simulation.world.etcd.on_write = lambda *_: None
    simulation.world.etcd.transact("world", [], [Put(f"/cluster/updates/{NAME}", "{}")], [])
    assert "/cluster/updates/web in etcd is not the record of an update: it lacks 'options'" in str(
        simulation.update().error
    )


def test_a_service_that_is_none_is_refused(simulation: Simulation) -> None:
    error = simulation.run(lambda operator: update(Wish("shop"), operator)).error
    assert str(error).startswith("no scheduled service shop in this cluster: inv service.submit shop")


def test_the_oldest_records_are_dropped(simulation: Simulation) -> None:
    for number in range(12):
        assert simulation.update(version=2 + number % 2).error is None
    assert len(simulation.states()) == journal.KEPT_UPDATES
