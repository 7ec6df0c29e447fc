"""A story: operators who change a cluster, and all that befalls them and it; then the calm after it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
from fake_etcd import Client
from scheduler import Process, Scheduler, Task
from world import Result, World

LAST_TRIES = 6
BLOCKS = 10
"""Of stories, which pytest may run side by side."""


class Story(ABC):
    """`told`: what happens, for whoever reads why it failed. `ANSWERS_LOST`: how often in 1,000 etcd's answer may be;
    `SLEEPS`, `STEPS`: how long at most it takes until the next thing happens; `AWAY`: seconds that a machine may be."""

    world: World[Any]
    ANSWERS_LOST: ClassVar[int]
    SLEEPS: ClassVar[tuple[float, ...]]
    STEPS: ClassVar[int]
    AWAY: ClassVar[tuple[float, ...]]

    def __init__(self, seed: int) -> None:
        self.scheduler = Scheduler(seed)
        self.random = self.scheduler.random
        self.told: list[str] = []
        self.operators: dict[str, tuple[Process, Result, Client]] = {}

    def say(self, text: str) -> None:
        self.told.append(f"{self.scheduler.now:8.2f} s, step {self.scheduler.steps:5}: {text}")

    # What differs

    @abstractmethod
    def commands(self) -> Sequence[Callable[[Any], object]]:
        """Return what operators do: the first one the first of it, others any."""

    @abstractmethod
    def happenings(self) -> Sequence[Callable[[], None]]:
        """Return what may happen, the more likely it is the more often."""

    @abstractmethod
    def calm_down(self) -> None:
        """Let operators whom nothing befalls finish it, and see that all is as promised."""

    def afterwards(self) -> object:
        """Is called after each thing that happens."""
        return None

    # What happens

    def run(self) -> None:
        chaos = Process("chaos")
        self.start(self.commands()[0])
        self.scheduler.spawn(chaos, "chaos", self.befall)
        self.scheduler.run()
        self.calm_down()

    def start(self, command: Callable[[Any], object]) -> Result:
        name = f"operator-{len(self.operators) + 1}"
        client = Client(self.world.etcd, self.scheduler, name)
        client.answers_lost = self.random.choice((0, 0, self.ANSWERS_LOST))
        skew = self.random.choice((0.0, 0.0, -40.0, 40.0))
        process, result = self.world.operate(name, command, client, skew)
        self.operators[name] = (process, result, client)
        self.say(f"{name} begins to {getattr(command, '__name__', command)}")
        return result

    def befall(self) -> None:
        """Let things happen, one after the other, at moments of chance."""
        happenings = self.happenings()
        for _ in range(self.random.randint(0, 6)):
            self.scheduler.sleep(self.random.choice(self.SLEEPS) * self.random.random())
            for _ in range(self.random.randrange(self.STEPS)):
                self.scheduler.step()
            self.random.choice(happenings)()
            self.afterwards()

    def somebody(self) -> tuple[str, Process, Client] | None:
        busy = [name for name, (process, result, _) in self.operators.items() if not (process.dead or result.ended)]
        if not busy:
            return None
        name = self.random.choice(busy)
        return name, self.operators[name][0], self.operators[name][2]

    def kill(self) -> None:
        if chosen := self.somebody():
            self.say(f"{chosen[0]} is killed")
            self.scheduler.kill(chosen[1])
        self.start(self.random.choice(self.commands()))

    def stall(self) -> None:
        if chosen := self.somebody():
            seconds = self.random.choice((5, 25, 60))
            self.say(f"{chosen[0]} is stalled for {seconds} s")
            chosen[1].stalled_until = self.scheduler.now + seconds

    def cut_off(self) -> None:
        if chosen := self.somebody():
            seconds = self.random.choice((3, 15, 60))
            self.say(f"{chosen[0]} is cut off from etcd for {seconds} s")
            chosen[2].cut_off = (self.scheduler.now, self.scheduler.now + seconds)

    def interrupt(self) -> None:
        if chosen := self.somebody():
            for task in self.scheduler.tasks_of(chosen[1]):
                if task.name == "main":
                    self.say(f"{chosen[0]} presses Ctrl-C")
                    self.interrupted(task)

    def interrupted(self, task: Task) -> None:
        task.interrupt = KeyboardInterrupt()
        task.until = 0.0

    def second_operator(self) -> None:
        self.start(self.random.choice(self.commands()))

    def machine_dies(self) -> None:
        name = self.random.choice(sorted(self.world.machines))
        self.say(f"{name} loses its power")
        self.world.power(name, up=False)
        self.scheduler.sleep(self.random.choice(self.AWAY))
        self.say(f"{name} is back")
        self.world.power(name, up=True)

    def outage(self) -> None:
        seconds = self.random.choice((2, 10, 40))
        self.say(f"etcd has no quorum for {seconds} s")
        self.world.etcd.down_until = self.scheduler.now + seconds

    def break_the_lock(self) -> None:
        self.say("somebody breaks the lock")
        self.world.break_lock(Client(self.world.etcd, self.scheduler, "breaker"))

    def last(self, command: Callable[[Any], object]) -> Result:
        """Let an operator whom nothing befalls do this to the end."""
        result = self.start(command)
        self.operators[f"operator-{len(self.operators)}"][2].answers_lost = 0
        self.scheduler.run()
        self.say(f"that ended with {result.error or 'success'}")
        return result


def tell(kind: type[Story], seed: int) -> str:
    """Return an empty string when the story ends well, else what happened in it."""
    story = kind(seed)
    try:
        story.run()
    except BaseException as error:  # noqa: BLE001 (whatever it is, the seed must be told)
        happened = "\n".join(story.told)
        what = kind.__module__.removesuffix("_story")
        again = f"pytest tests/simulation/test_{what}_simulation.py --story {seed}"
        return f"story {seed}: {type(error).__name__}: {error}\n{happened}\nagain: {again}"
    return ""


def broken(kind: type[Story], block: int, stories: int, config: pytest.Config) -> list[str]:
    """Return the stories of a block that do not end well, or the one that --story chooses."""
    chosen = config.getoption("--story")
    if chosen is not None:
        seeds = range(int(chosen), int(chosen) + 1) if block == 0 else range(0)
    else:
        number = int(config.getoption("--stories") or stories) // BLOCKS
        seeds = range(block * number, (block + 1) * number)
    return [told for seed in seeds if (told := tell(kind, seed))]
