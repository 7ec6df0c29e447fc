"""The driver and what decides before it, in a simulated cluster where little happens: what is told and refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rollout_world import NEW, OLD, RolloutWorld
from scheduler import Scheduler
from world import Result, Simulation

from argosy.cluster.change import State
from argosy.cluster.events import Event, StepDone
from argosy.cluster.history import KEPT_HISTORY
from argosy.cluster.journal import ROLLOUT, Records
from argosy.cluster.release import Release, read_release
from argosy.errors import Interrupted, LockHeld, Refused, Unhealthy
from argosy.etcd import Entry, Put
from argosy.rollouts import events as told
from argosy.rollouts import upgrade as upgrading
from argosy.rollouts.driver import RolloutDriver
from argosy.rollouts.interfaces import Operator
from argosy.rollouts.journal import KEPT_ROLLOUTS, OF_ROLLOUTS
from argosy.rollouts.record import Options, RolloutStep, parse_rollout
from argosy.rollouts.upgrade import UpgradeRequest, abort, upgrade


class RolloutSimulation(Simulation[Operator]):
    def __init__(self, size: int = 3, bad: tuple[str, ...] = ()) -> None:
        self.world = RolloutWorld(Scheduler(1), size, size, frozenset(bad))
        super().__init__(self.world)
        self.closed = ""
        self.newest = NEW

    def changes(self) -> dict[str, Any]:
        return {"closed": lambda _: self.closed, "newest": lambda: self.newest}

    def upgrade(self, machine: str = "", release: Release | None = None, **options: object) -> Result:
        request = UpgradeRequest(machine, release, replace(Options(), **options))  # type: ignore[arg-type]
        return self.run(lambda operator: upgrade(request, operator))

    @property
    def ended(self) -> list[State]:
        return [rollout.state for rollout in OF_ROLLOUTS.past(self.client)]

    def releases(self) -> list[str]:
        return [machine.runs.image for machine in self.world.machines.values()]

    def outcomes(self) -> list[str]:
        return [f"{entry.task}: {entry.outcome}" for entry in self.history()]


def test_it_is_told_from_beginning_to_end() -> None:
    simulation = RolloutSimulation(2)
    assert simulation.upgrade(canary=True, soak_seconds=10.0).error is None
    kinds = [type(event).__name__ for event in simulation.events if event.machine in ("", "air-01")]
    steps = ["StepBegan", "StepDone"]
    assert kinds == ["Planned", *steps, *steps * 4, "Soaking", "Ended"]
    assert [event.at for event in simulation.events] == sorted(event.at for event in simulation.events)
    assert simulation.releases() == ["new", "new"]
    assert simulation.ended == [State.DONE]
    assert read_release(simulation.client) == NEW
    assert simulation.outcomes() == ["a task: done"]


def test_each_step_is_written_once_between_the_one_before_and_its_own_work() -> None:
    simulation, written = RolloutSimulation(1), list[RolloutStep]()
    check = simulation.world.etcd.on_write

    def note(who: str, before: Entry | None, after: Entry | None) -> None:
        check(who, before, after)
        if after is not None and after.key == ROLLOUT:
            written.append(parse_rollout(after.value).machines["air-01"].step)

    simulation.world.etcd.on_write = note
    assert simulation.upgrade().error is None
    assert written == [
        RolloutStep.PENDING,
        RolloutStep.PREPARING,
        RolloutStep.PREPARED,
        RolloutStep.DRAINING,
        RolloutStep.INSTALLING,
        RolloutStep.CHECKING,
        RolloutStep.UNDRAINING,
        RolloutStep.DONE,
    ]


def test_with_the_release_everywhere_nothing_is_done() -> None:
    simulation = RolloutSimulation(2)
    simulation.upgrade()
    simulation.events.clear()
    assert simulation.upgrade().error is None
    assert simulation.lines() == ["cluster: release 0.1.3 is everywhere already: nothing to do"]
    assert len(simulation.ended) == 1
    assert len(simulation.history()) == 1


def test_the_wanted_release_is_recorded_even_when_nothing_was_to_be_done() -> None:
    simulation = RolloutSimulation(2)
    assert simulation.upgrade(release=OLD).error is None
    assert read_release(simulation.client) == OLD


def test_a_failure_says_where_why_and_what_can_be_done() -> None:
    simulation = RolloutSimulation(3, bad=("air-01",))
    error = simulation.upgrade(canary=True).error
    assert isinstance(error, Unhealthy)
    for words in ("stopped: air-01: checking: web", "untouched: air-02, air-03", "--rollback", "--abort"):
        assert words in str(error)
    assert simulation.releases() == ["new", "old", "old"]
    record = OF_ROLLOUTS.present(simulation.client)
    assert record is not None
    assert (record.state, record.machines["air-01"].step) == (State.STOPPED, RolloutStep.FAILED)
    assert simulation.outcomes()[-1].startswith("a task: stopped: air-01")
    assert simulation.upgrade(rollback=True).error is None
    assert simulation.releases() == ["old", "old", "old"]
    assert simulation.ended == [State.ROLLED_BACK]
    assert simulation.world.draining() == []


def test_with_rollback_it_goes_back_by_itself() -> None:
    simulation = RolloutSimulation(3, bad=("air-02",))
    assert simulation.upgrade(rollback=True).error is None
    assert simulation.releases() == ["old", "old", "old"]
    assert simulation.ended == [State.ROLLED_BACK]
    assert any("rolling back: air-02" in line for line in simulation.lines())


def test_one_machine_alone_leaves_the_wanted_release_as_it_is() -> None:
    simulation = RolloutSimulation(3)
    assert simulation.upgrade("air-02").error is None
    assert simulation.releases() == ["old", "new", "old"]
    assert read_release(simulation.client) is None
    error = simulation.upgrade("air-09").error
    assert isinstance(error, Refused)
    assert "air-09: no such machine; known: air-01" in str(error)


class TestAnotherRollout:
    def stopped(self) -> RolloutSimulation:
        simulation = RolloutSimulation(3, bad=("air-01",))
        simulation.upgrade()
        return simulation

    @pytest.mark.parametrize(("machine", "release"), [("", OLD), ("air-02", None), ("air-02", NEW)])
    def test_is_refused_until_the_first_has_ended(self, machine: str, release: Release | None) -> None:
        simulation = self.stopped()
        error = simulation.upgrade(machine, release).error
        assert isinstance(error, Refused)
        assert "has not ended (stopped: air-01" in str(error)
        assert "--abort" in str(error)

    def test_without_a_release_the_present_one_is_gone_on_with(self) -> None:
        simulation = self.stopped()
        simulation.world.bad = frozenset()
        simulation.newest = Release("0.1.4", "newer")
        assert simulation.upgrade().error is None
        assert simulation.releases() == ["new", "new", "new"]

    def test_may_begin_when_the_first_is_given_up(self) -> None:
        simulation = self.stopped()
        assert simulation.run(abort).error is None
        assert any("air-01: it is half-way" in line for line in simulation.lines())
        assert simulation.ended == [State.ABORTED]
        assert simulation.upgrade(release=OLD).error is None
        assert simulation.releases() == ["old", "old", "old"]
        assert simulation.world.draining() == []

    def test_there_must_be_one_to_be_given_up(self) -> None:
        error = RolloutSimulation().run(abort).error
        assert isinstance(error, Refused)


def test_outside_of_the_windows_nothing_begins_but_going_back() -> None:
    simulation = RolloutSimulation(2, bad=("air-01",))
    simulation.closed = "no window is open"
    error = simulation.upgrade().error
    assert isinstance(error, Refused)
    assert str(error) == "no window is open: nothing was changed"
    assert OF_ROLLOUTS.present(simulation.client) is None
    simulation.closed = ""
    assert isinstance(simulation.upgrade().error, Unhealthy)
    simulation.closed = "no window is open"
    assert simulation.upgrade(rollback=True).error is None
    assert simulation.releases() == ["old", "old"]


def test_a_window_that_closes_stops_it_between_two_batches() -> None:
    simulation = RolloutSimulation(2)

    def close(event: Event) -> None:
        if isinstance(event, StepDone) and event.next is RolloutStep.DONE:
            simulation.closed = "the window is over"

    def command(operator: Operator) -> None:
        upgrade(UpgradeRequest(), replace(operator, events=close))

    error = simulation.run(command).error
    assert isinstance(error, Unhealthy)
    assert "the window is over" in str(error)
    assert simulation.releases() == ["new", "old"]
    simulation.closed = ""
    assert simulation.upgrade().error is None


def test_ctrl_c_leaves_a_clear_record_and_no_lock() -> None:
    simulation = RolloutSimulation(2)
    result = simulation.begin(lambda operator: upgrade(UpgradeRequest(), operator))

    def press() -> None:
        simulation.scheduler.sleep(4)
        (task,) = [task for task in simulation.scheduler.tasks_of(simulation.process) if task.name == "main"]
        task.interrupt, task.until = KeyboardInterrupt(), 0.0

    simulation.scheduler.spawn(type(simulation.process)("user"), "user", press)
    simulation.scheduler.run()
    assert isinstance(result.error, Interrupted)
    record = OF_ROLLOUTS.present(simulation.client)
    assert record is not None
    assert (record.state, record.reason) == (State.STOPPED, "interrupted by operator-1@host")
    assert simulation.world.holder() == ""
    assert simulation.upgrade().error is None


def test_a_second_operator_is_told_who_works() -> None:
    simulation = RolloutSimulation(2)
    first = simulation.begin(lambda operator: upgrade(UpgradeRequest(), operator))
    second = simulation.begin(lambda operator: upgrade(UpgradeRequest(), operator))
    simulation.scheduler.run()
    errors = [result.error for result in (first, second) if result.error is not None]
    assert len(errors) == 1
    assert isinstance(errors[0], LockHeld)
    assert "on host (a task) since" in str(errors[0])


def test_a_record_that_nobody_can_read_is_nobody_s_to_overwrite() -> None:
    simulation = RolloutSimulation(2)
    simulation.world.etcd.transact("world", [], [Put(ROLLOUT, "{}")])
    error = simulation.upgrade().error
    assert isinstance(error, Refused)
    assert "delete it there" in str(error)


def test_a_fault_of_ours_is_recorded_and_comes_out_as_it_is() -> None:
    simulation = RolloutSimulation(2)

    def command(operator: Operator) -> None:
        def broken(name: str, release: Release) -> None:
            raise TypeError(f"{name} {release}")

        operator.machines.install = broken  # type: ignore[method-assign]
        upgrade(UpgradeRequest(), operator)

    with pytest.raises(TypeError):
        simulation.run(command)
    record = OF_ROLLOUTS.present(simulation.client)
    assert record is not None
    assert record.machines["air-01"].reason == "installing: TypeError: air-01 0.1.3"


def test_no_more_machines_are_worked_on_than_may_be() -> None:
    simulation = RolloutSimulation(6)
    at_work: set[str] = set()
    most = 0

    def count(event: Event) -> None:
        nonlocal most
        if isinstance(event, told.StepBegan):
            at_work.add(event.machine)
        elif isinstance(event, StepDone):
            at_work.discard(event.machine)
        most = max(most, len(at_work))

    def command(operator: Operator) -> None:
        upgrade(UpgradeRequest(), replace(operator, events=count, max_parallel=2))

    assert simulation.run(command).error is None
    assert most == 2


def test_the_journal_and_the_trail_are_bounded() -> None:
    simulation = RolloutSimulation(1)

    def command(operator: Operator) -> None:
        record = Records(operator.work.store, operator.work.holding, OF_ROLLOUTS)
        plan = upgrading.decide(
            UpgradeRequest(), None, operator.machines, lambda: NEW, "x", operator.work.clock.now()
        ).rollout
        for number in range(60):
            record.close(replace(plan, id=f"{number:03}", state=State.ABORTED))
        for number in range(520):
            record.note(operator.work.clock.now(), f"{number}", "done")

    simulation.run(command)
    kept = [rollout.id for rollout in OF_ROLLOUTS.past(simulation.client)]
    assert (len(kept), kept[0], kept[-1]) == (KEPT_ROLLOUTS, "059", "010")
    trail = simulation.history()
    assert (len(trail), trail[-1].what) == (KEPT_HISTORY, "519")


def test_what_a_driver_is_given_it_goes_on_with() -> None:
    simulation = RolloutSimulation(2)

    def command(operator: Operator) -> None:
        decided = upgrading.decide(
            UpgradeRequest(), None, operator.machines, lambda: NEW, "x", operator.work.clock.now()
        )
        text = decided.rollout.text()
        done = RolloutDriver(operator, parse_rollout(text)).run()
        assert done.state is State.DONE

    assert simulation.run(command).error is None
