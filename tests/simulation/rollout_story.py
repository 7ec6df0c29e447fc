"""A story of operators who upgrade a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rollout_world import NEW, OLD, RolloutWorld
from story import LAST_TRIES, Story
from world import Violation

from argosy.cluster import lock
from argosy.cluster.change import State
from argosy.cluster.journal import ROLLOUT
from argosy.errors import Unhealthy
from argosy.model import MachineState
from argosy.rollouts.interfaces import Operator
from argosy.rollouts.record import Options, parse_rollout
from argosy.rollouts.upgrade import UpgradeRequest, abort, upgrade


class RolloutStory(Story):
    ANSWERS_LOST = 20
    SLEEPS = (0.01, 0.1, 1, 5, 20, 40)
    STEPS = 40
    AWAY = (1, 10, 60, 120)
    world: RolloutWorld

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        random = self.random
        size = random.choice((1, 2, 3, 3, 4, 5, 6))
        names = [f"air-{number:02}" for number in range(1, size + 1)]
        bad = random.choice(((), (), (), names, [random.choice(names)]))
        self.world = RolloutWorld(self.scheduler, size, random.choice((min(size, 5), 3, 1)), frozenset(bad))
        self.options = Options(
            batch=random.choice(("1", "1", "2", "50%", "100%")),
            canary=random.random() < 0.4,
            soak_seconds=random.choice((0.0, 0.0, 20.0)),
            rollback=random.random() < 0.3,
        )
        self.say(f"{size} machines, the release is bad on {list(bad)}, {self.options}")

    # What happens

    def commands(self) -> Sequence[Callable[[Operator], None]]:
        return (self.upgrade,)

    def happenings(self) -> Sequence[Callable[[], None]]:
        return [
            self.kill,
            self.kill,
            self.kill,
            self.stall,
            self.cut_off,
            self.interrupt,
            self.second_operator,
            self.second_operator,
            self.machine_dies,
            self.outage,
            self.give_up,
            self.break_the_lock,
            self.go_back,
        ]

    def upgrade(self, operator: Operator) -> None:
        upgrade(UpgradeRequest(options=self.options), operator)

    def roll_back(self, operator: Operator) -> None:
        upgrade(UpgradeRequest(options=Options(rollback=True)), operator)

    def go_back(self) -> None:
        self.start(self.roll_back)

    def give_up(self) -> None:
        self.start(abort)

    # What comes of it

    def calm_down(self) -> None:
        """Let operators whom nothing befalls finish it, and see that all is as promised."""
        self.scheduler.now += 100
        if self.world.bad:
            self.until_it_is_stopped_or_back()
            self.check_the_others_are_untouched()
            self.repeat(self.roll_back, lambda: self.world.etcd.get(ROLLOUT) is None)
            if not any(rollout.state is State.ABORTED for rollout in self.world.finished):
                # What was done before a rollout was given up stays.
                self.check_all_on(OLD)
            self.world.bad = frozenset()
        self.repeat(self.upgrade, self.is_everywhere)
        self.check_all_on(NEW)
        if self.last(self.upgrade).error is not None:
            raise Violation("with nothing to do, it fails")

    def until_it_is_stopped_or_back(self) -> None:
        """A bad release must not come through: the upgrade is stopped, or has gone back by itself."""
        result = self.last(self.upgrade)
        if result.error is None and not self.ended_back():
            raise Violation("a release that is never healthy has come through")
        if result.error is not None and not isinstance(result.error, Unhealthy):
            raise Violation(f"stopped for another reason: {result.error}")

    def check_the_others_are_untouched(self) -> None:
        """A release that is healthy nowhere gets no further than the first batch."""
        records = [rollout for rollout in self.world.finished if rollout.order]
        entry = self.world.etcd.get(ROLLOUT)
        first = records[0] if records else parse_rollout(entry.value) if entry else None
        if len(self.world.bad) == self.world.size and first and not self.world.touched <= set(first.order[0]):
            raise Violation(f"touched: {sorted(self.world.touched)}, the first batch is {first.order[0]}")

    def is_everywhere(self) -> bool:
        runs = all(machine.runs == NEW for machine in self.world.machines.values())
        return runs and not self.world.draining() and self.world.etcd.get(ROLLOUT) is None

    def ended_back(self) -> bool:
        return bool(self.world.finished) and self.world.finished[-1].state is State.ROLLED_BACK

    def repeat(self, command: Callable[[Operator], object], is_done: Callable[[], bool]) -> None:
        for _ in range(LAST_TRIES):
            if is_done():
                return
            result = self.last(command)
        if not is_done():
            raise Violation(f"the last operator never succeeds: {result.error}")

    def check_all_on(self, release: object) -> None:
        world = self.world
        wrong = {name: machine.runs for name, machine in world.machines.items() if machine.runs != release}
        if wrong:
            raise Violation(f"not on {release}: {wrong}")
        out = [name for name in world.machines if world.state(name) != MachineState.ACTIVE]
        if out:
            raise Violation(f"not back in service: {out}")
        if world.etcd.get(ROLLOUT) is not None:
            raise Violation("the rollout is in the journal still")
        if world.etcd.get(lock.KEY) is not None:
            raise Violation("the lock is held still")
