"""A story: operators who upgrade a cluster, and all that befalls them and it; then the calm after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fake_etcd import Client
from scheduler import Process, Scheduler, Task
from world import NEW, OLD, Result, Violation, World, break_lock, operate

from argosy.errors import Unhealthy
from argosy.model import MachineState
from argosy.operations import cluster_lock
from argosy.operations.journal import ROLLOUT
from argosy.operations.rollout.seams import Operator
from argosy.operations.rollout.upgrading import Wish, abort, upgrade
from argosy.rollout_record import Options, State, parse_rollout

LAST_TRIES = 6


@dataclass
class Story:
    """`told`: what happens, for whoever reads why it failed."""

    seed: int
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.seed)
        random = self.random = self.scheduler.random
        size = random.choice((1, 2, 3, 3, 4, 5, 6))
        names = [f"air-{number:02}" for number in range(1, size + 1)]
        bad = random.choice(((), (), (), names, [random.choice(names)]))
        self.world = World(self.scheduler, size, random.choice((min(size, 5), 3, 1)), frozenset(bad))
        self.options = Options(
            batch=random.choice(("1", "1", "2", "50%", "100%")),
            canary=random.random() < 0.4,
            soak_seconds=random.choice((0.0, 0.0, 20.0)),
            rollback=random.random() < 0.3,
        )
        self.operators: dict[str, tuple[Process, Result, Client]] = {}
        self.say(f"{size} machines, the release is bad on {list(bad)}, {self.options}")

    def say(self, text: str) -> None:
        self.told.append(f"{self.scheduler.now:8.2f} s, step {self.scheduler.steps:5}: {text}")

    # What happens

    def run(self) -> None:
        chaos = Process("chaos")
        self.start(self.upgrade)
        self.scheduler.spawn(chaos, "chaos", self.befall)
        self.scheduler.run()
        self.calm_down()

    def upgrade(self, operator: Operator) -> None:
        upgrade(Wish(options=self.options), operator)

    def roll_back(self, operator: Operator) -> None:
        upgrade(Wish(options=Options(rollback=True)), operator)

    def start(self, command: Callable[[Operator], object]) -> Result:
        name = f"operator-{len(self.operators) + 1}"
        client = Client(self.world.etcd, self.scheduler, name)
        client.answers_lost = self.random.choice((0, 0, 20))
        skew = self.random.choice((0.0, 0.0, -40.0, 40.0))
        process, result = operate(self.world, name, command, client, skew)
        self.operators[name] = (process, result, client)
        self.say(f"{name} begins to {getattr(command, '__name__', command)}")
        return result

    def befall(self) -> None:
        """Let things happen, one after the other, at moments of chance."""
        happenings: list[Callable[[], None]] = [
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
        for _ in range(self.random.randint(0, 6)):
            self.scheduler.sleep(self.random.choice((0.01, 0.1, 1, 5, 20, 40)) * self.random.random())
            for _ in range(self.random.randrange(40)):
                self.scheduler.step()
            self.random.choice(happenings)()

    def busy(self) -> list[str]:
        return [name for name, (process, result, _) in self.operators.items() if not (process.dead or result.ended)]

    def somebody(self) -> tuple[str, Process, Client] | None:
        busy = self.busy()
        if not busy:
            return None
        name = self.random.choice(busy)
        return name, self.operators[name][0], self.operators[name][2]

    def kill(self) -> None:
        if chosen := self.somebody():
            self.say(f"{chosen[0]} is killed")
            self.scheduler.kill(chosen[1])
        self.start(self.upgrade)

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
        self.start(self.upgrade)

    def go_back(self) -> None:
        self.start(self.roll_back)

    def give_up(self) -> None:
        self.start(abort)

    def machine_dies(self) -> None:
        name = self.random.choice(sorted(self.world.machines))
        self.say(f"{name} loses its power")
        self.world.power(name, up=False)
        self.scheduler.sleep(self.random.choice((1, 10, 60, 120)))
        self.say(f"{name} is back")
        self.world.power(name, up=True)

    def outage(self) -> None:
        seconds = self.random.choice((2, 10, 40))
        self.say(f"etcd has no quorum for {seconds} s")
        self.world.etcd.down_until = self.scheduler.now + seconds

    def break_the_lock(self) -> None:
        self.say("somebody breaks the lock")
        break_lock(self.world, Client(self.world.etcd, self.scheduler, "breaker"))

    # What comes of it

    def calm_down(self) -> None:
        """Let operators whom nothing befalls finish it, and see that all is as promised."""
        self.scheduler.now += 100
        if self.world.bad:
            self.until_it_is_stopped_or_back()
            self.check_the_others_are_untouched()
            self.repeat(self.roll_back, lambda: self.world.etcd.get(ROLLOUT) is None)
            if not any(it.state is State.ABORTED for it in self.world.finished):
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
        records = [it for it in self.world.finished if it.order]
        entry = self.world.etcd.get(ROLLOUT)
        first = records[0] if records else parse_rollout(entry.value) if entry else None
        if len(self.world.bad) == self.world.size and first and not self.world.touched <= set(first.order[0]):
            raise Violation(f"touched: {sorted(self.world.touched)}, the first batch is {first.order[0]}")

    def is_everywhere(self) -> bool:
        runs = all(it.runs == NEW for it in self.world.machines.values())
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

    def last(self, command: Callable[[Operator], object]) -> Result:
        result = self.start(command)
        self.operators[f"operator-{len(self.operators)}"][2].answers_lost = 0
        self.scheduler.run()
        self.say(f"that ended with {result.error or 'success'}")
        return result

    def check_all_on(self, release: object) -> None:
        world = self.world
        wrong = {name: it.runs for name, it in world.machines.items() if it.runs != release}
        if wrong:
            raise Violation(f"not on {release}: {wrong}")
        out = [name for name in world.machines if world.state(name) != MachineState.ACTIVE]
        if out:
            raise Violation(f"not back in service: {out}")
        if world.etcd.get(ROLLOUT) is not None:
            raise Violation("the rollout is in the journal still")
        if world.etcd.get(cluster_lock.KEY) is not None:
            raise Violation("the lock is held still")
