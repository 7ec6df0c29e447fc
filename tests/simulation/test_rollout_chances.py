"""The rollout as a value: whatever fails by chance and whoever dies, every record leads to the same end."""

from __future__ import annotations

import random
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import pytest

from argosy.cluster.change import Finished, Resumed, State, Stopped
from argosy.cluster.release import Release
from argosy.rollouts.plan import Findings, Found, begin_rollout
from argosy.rollouts.record import UNDER_WAY, Options, RolloutStep, parse_rollout
from argosy.rollouts.transitions import (
    Action,
    Began,
    Begin,
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


def names(number: int) -> list[str]:
    return [f"air-{index:02}" for index in range(1, number + 1)]


class World:
    """Machines that fail by chance, and an operator who crashes by chance and is replaced by the next one."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.size = self.random.randint(1, 7)
        members = names(self.size)[: self.random.choice((0, 3, 5))]
        self.away = max(1, (len(members) - 1) // 2)
        self.members = members
        self.release = dict.fromkeys(names(self.size), OLD)
        self.out: set[str] = set()
        self.now = NOW
        self.failures = self.random.randint(0, 3)
        options = Options(
            self.random.choice(("1", "2", "50%")),
            self.random.random() < 0.5,
            self.random.choice((0.0, 30.0)),
            self.random.random() < 0.4,
        )
        self.rollout = begin_rollout(
            "r",
            NEW,
            Findings(tuple(Found(name, OLD) for name in names(self.size)), tuple(members), self.away),
            options,
            by="a",
            now=NOW,
            total=self.size,
            whole=True,
        )

    def tell(self, event: Event) -> None:
        self.rollout = advance(self.rollout, event, self.now)

    def run(self) -> None:
        running: set[str] = set()
        facts: Facts | None = None
        for _ in range(2000):
            self.now += timedelta(seconds=self.random.random())
            if self.random.random() < 0.02:
                # The operator dies; another one reads what stands in etcd.
                running.clear()
                self.rollout = parse_rollout(self.rollout.text())
                self.tell(Resumed("b"))
            action = next_step(self.rollout, self.now, running, facts)
            facts = None
            if isinstance(action, Survey):
                facts = Facts(dict.fromkeys(self.out, "it is out"))
            elif isinstance(action, Begin):
                self.tell(Began(action.work))
                running |= {name for name, _ in action.work}
            elif isinstance(action, Wait):
                self.finish(running)
            elif isinstance(action, Soak):
                self.now = action.until
            elif isinstance(action, TurnBack):
                self.tell(TurnedBack("a"))
            elif isinstance(action, Stop):
                self.tell(Stopped(action.reason))
                self.tell(Resumed("a"))
            else:
                self.tell(Finished())
                return
            self.check(running, action)
        pytest.fail("it never ends")

    def finish(self, running: set[str]) -> None:
        name = self.random.choice(sorted(running))
        running.discard(name)
        step = self.rollout.machines[name].step
        if self.failures and self.random.random() < 0.2:
            self.failures -= 1
            self.tell(Failed(name, "chance"))
            return
        if step is RolloutStep.DRAINING:
            self.out.add(name)
        elif step is RolloutStep.INSTALLING:
            self.release[name] = self.rollout.target(name)
        elif step is RolloutStep.UNDRAINING:
            self.out.discard(name)
        self.tell(Ended(name))

    def check(self, running: Collection[str], action: Action) -> None:
        out = self.out | set(self.rollout.at(*UNDER_WAY))
        batches = [set(batch) for batch in self.rollout.order]
        assert any(out <= batch for batch in batches), (out, batches)
        assert len(out & set(self.members)) <= self.away
        assert self.size == 1 or len(out) < self.size


@pytest.mark.parametrize("block", range(10))
def test_whatever_fails_and_whoever_dies_the_end_is_the_same(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        world = World(seed)
        world.run()
        wanted = OLD if world.rollout.back else NEW
        assert world.rollout.state is (State.ROLLED_BACK if world.rollout.back else State.DONE), seed
        assert set(world.release.values()) == {wanted}, seed
        assert world.out == set(), seed
