"""A story of a scheduled service: operators who update it, and all that befalls them and the cluster; then the calm."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from fake_etcd import Client
from scheduler import Process, Scheduler, Task
from update_world import NAME, UpdateWorld, operate
from world import Result, Violation

from argosy.errors import ArgosyError, Refused, TakenBack
from argosy.operations import cluster_lock
from argosy.operations.service.updating.deciding import Wish, update
from argosy.operations.service.updating.seams import Operator
from argosy.scheduled_record import PREFIX, ScheduledRecord, parse_record
from argosy.scheduled_state import UPDATES

LAST_TRIES = 6
FIRST, SECOND, THIRD = 1, 2, 3


@dataclass
class UpdateStory:
    """`told`: what happens, for whoever reads why it failed."""

    seed: int
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.seed)
        random = self.random = self.scheduler.random
        size = random.choice((1, 2, 3, 3, 4))
        self.replicas = random.choice((1, 2, 3, 4, None))
        bad = random.choice(({}, {}, {"web:2": "sick"}, {"web:2": "crash"}, {"web:2": "flaky"}))
        bad = random.choice((bad, bad, bad, bad, {"web:2": "mortal"}, {"web:1": "mortal"}))
        self.world = UpdateWorld(self.scheduler, size, self.replicas, bad, stop_first=random.random() < 0.2)
        self.canary = random.choice(("", "", "10%", "50%")) if not self.world.stop_first else ""
        self.soak = random.choice((0.0, 15.0)) if self.canary else 0.0
        self.fails = random.choice((0, 0, 3))
        self.world.stalls = random.choice((0, 0, 20))
        self.operators: dict[str, tuple[Process, Result, Client]] = {}
        many = self.replicas is None or self.replicas > 1
        self.roomy = size > 2 and many and not {"flaky", "mortal"} & {*bad.values()} and not self.world.stop_first
        order = "stop-first" if self.world.stop_first else f"canary {self.canary or 'none'} for {self.soak:g} s"
        self.say(f"{size} machines, {self.replicas} instances, {bad}, {order}")

    def say(self, text: str) -> None:
        self.told.append(f"{self.scheduler.now:8.2f} s, step {self.scheduler.steps:5}: {text}")

    # What happens

    def run(self) -> None:
        chaos = Process("chaos")
        self.start(self.update)
        self.scheduler.spawn(chaos, "chaos", self.befall)
        self.scheduler.run()
        self.calm_down()

    def update(self, operator: Operator, version: int = SECOND) -> None:
        target = self.world.target(version, self.replicas)
        canary, soak = (self.canary, self.soak) if self.canary else (None, None)
        update(Wish(NAME, lambda _: target, named=True, canary=canary, soak_seconds=soak), operator)

    def update_to_another(self, operator: Operator) -> None:
        self.update(operator, THIRD)

    def go_on(self, operator: Operator) -> None:
        target = self.world.target(SECOND, self.replicas)
        update(Wish(NAME, lambda _: target), operator)

    def roll_back(self, operator: Operator) -> None:
        update(Wish(NAME, rollback=True), operator)

    def start(self, command: Callable[[Operator], object]) -> Result:
        name = f"operator-{len(self.operators) + 1}"
        client = Client(self.world.etcd, self.scheduler, name)
        client.answers_lost = self.random.choice((0, 0, 10))
        skew = self.random.choice((0.0, 0.0, -40.0, 40.0))
        process, result = operate(self.world, name, command, client, skew, self.fails)
        self.operators[name] = (process, result, client)
        self.say(f"{name} begins to {getattr(command, '__name__', command)}")
        return result

    def befall(self) -> None:
        """Let things happen, one after the other, at moments of chance."""
        happenings: list[Callable[[], None]] = [
            self.kill,
            self.kill,
            self.kill,
            self.kill,
            self.stall,
            self.cut_off,
            self.interrupt,
            self.interrupt,
            self.second_operator,
            self.other_operator,
            self.go_back,
            self.successor,
            self.successor,
            self.outage,
            self.break_the_lock,
            self.slow_agent,
            self.slow_router,
        ]
        if self.world.mortal:
            happenings += [self.fall_ill] * 4
        trouble = self.random.choice((self.machine_dies, self.machine_is_drained))
        for _ in range(self.random.randint(0, 6)):
            self.scheduler.sleep(self.random.choice((0.01, 0.1, 1, 5, 20)) * self.random.random())
            for _ in range(self.random.randrange(60)):
                self.scheduler.step()
            self.random.choice(happenings)()
            if self.roomy and self.random.random() < 0.15:
                self.roomy = False
                trouble()

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
        self.start(self.random.choice((self.update, self.go_on)))

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
        self.start(self.random.choice((self.update, self.go_on)))

    def successor(self) -> None:
        """Somebody comes when the lock of who was there may have run out."""
        self.scheduler.sleep(35 + 20 * self.random.random())
        self.start(self.random.choice((self.update, self.roll_back)))

    def other_operator(self) -> None:
        self.start(self.update_to_another)

    def go_back(self) -> None:
        self.start(self.roll_back)

    def machine_dies(self) -> None:
        name = self.random.choice(sorted(self.world.machines))
        self.say(f"{name} loses its power")
        self.world.power(name, up=False)
        self.scheduler.sleep(self.random.choice((1, 15, 60)))
        self.say(f"{name} is back")
        self.world.power(name, up=True)

    def machine_is_drained(self) -> None:
        name = self.random.choice(sorted(self.world.machines))
        self.say(f"{name} is drained")
        self.world.drain(name, drained=True)
        self.scheduler.sleep(self.random.choice((1, 15, 60)))
        self.say(f"{name} is back in service")
        self.world.drain(name, drained=False)

    def slow_agent(self) -> None:
        name = self.random.choice(sorted(self.world.machines))
        self.world.machines[name].slow = self.random.choice((0.1, 2, 8))
        self.say(f"the agent of {name} takes up to {self.world.machines[name].slow} s")

    def slow_router(self) -> None:
        name = self.random.choice(sorted(self.world.machines))
        self.world.machines[name].lag = self.random.choice((0.01, 2, 8))
        self.say(f"the router of {name} takes up to {self.world.machines[name].lag} s")

    def fall_ill(self) -> None:
        for reference, how in self.world.bad.items():
            if how == "mortal":
                self.say(f"{reference} is ill")
                self.world.fall_ill(reference)

    def outage(self) -> None:
        seconds = self.random.choice((2, 10, 40))
        self.say(f"etcd has no quorum for {seconds} s")
        self.world.etcd.down_until = self.scheduler.now + seconds

    def break_the_lock(self) -> None:
        self.say("somebody breaks the lock")
        with suppress(ArgosyError):
            cluster_lock.break_(Client(self.world.etcd, self.scheduler, "breaker"))

    # What comes of it

    def calm_down(self) -> None:
        """Let operators whom nothing befalls finish it, and see that all is as promised."""
        self.fails = self.world.stalls = 0
        self.scheduler.now += 100
        self.world.settle()
        if self.world.bad:
            self.see_a_bad_version_out()
        self.repeat(self.update, lambda: self.is_wanted("web:2"))
        self.world.check_end("web:2")
        if (error := self.last(self.update).error) is not None:
            raise Violation(f"with nothing to do, it fails: {error}")
        self.repeat(self.roll_back, lambda: self.is_wanted(before) if (before := self.previous()) else True, once=True)
        self.world.check_end(self.record().image.reference)

    def see_a_bad_version_out(self) -> None:
        """Who goes on with it ends with what was before, unless it was flaky and got through."""
        how = self.world.bad.get("web:2", "")
        if self.world.mortal:
            self.world.recover()
            return
        if how != "flaky" and self.is_wanted("web:2"):
            raise Violation("a version that never gets well is in charge")
        before = self.record().image.reference
        result = self.last(self.update)
        if self.in_progress() and not isinstance(result.error, Refused):
            result = self.last(self.go_on)
        if how != "flaky":
            if not isinstance(result.error, (TakenBack, Refused)):
                raise Violation(f"a version that never gets well leads to {result.error}")
            while self.in_progress():
                self.last(self.go_on)
            self.world.check_end(before if not self.is_wanted("web:3") else "web:3")
        self.world.recover()

    def record(self) -> ScheduledRecord:
        entry = self.world.etcd.get(PREFIX + NAME)
        assert entry is not None
        return parse_record(entry.value)

    def previous(self) -> str:
        found = self.record().previous
        return found.image.reference if found else ""

    def in_progress(self) -> bool:
        return self.world.etcd.get(UPDATES + NAME) is not None

    def is_wanted(self, reference: str) -> bool:
        return not self.in_progress() and self.record().image.reference == reference

    def repeat(self, command: Callable[[Operator], object], is_done: Callable[[], bool], once: bool = False) -> None:
        result = self.last(command) if once else None
        for _ in range(LAST_TRIES):
            if is_done() or once:
                break
            result = self.last(self.go_on if isinstance(result and result.error, Refused) else command)
        if result is not None and (self.in_progress() or not (once or is_done())):
            raise Violation(f"the last operator never succeeds: {result.error}")

    def last(self, command: Callable[[Operator], object]) -> Result:
        result = self.start(command)
        self.operators[f"operator-{len(self.operators)}"][2].answers_lost = 0
        self.scheduler.run()
        self.say(f"that ended with {result.error or 'success'}")
        return result
