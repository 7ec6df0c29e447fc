"""A story of operators who update a scheduled service."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from story import LAST_TRIES, Story
from update_world import NAME, UpdateWorld
from world import Violation

from argosy.errors import Refused, TakenBack
from argosy.services.record import PREFIX, ScheduledRecord
from argosy.services.updates.begin import UpdateRequest, update
from argosy.services.updates.interfaces import Operator
from argosy.services.updates.record import UPDATES

FIRST, SECOND, THIRD = 1, 2, 3


class UpdateStory(Story):
    ANSWERS_LOST = 10
    SLEEPS = (0.01, 0.1, 1, 5, 20)
    STEPS = 60
    AWAY = (1, 15, 60)
    world: UpdateWorld

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        random = self.random
        size = random.choice((1, 2, 3, 3, 4))
        self.replicas = random.choice((1, 2, 3, 4, None))
        bad = random.choice(({}, {}, {"web:2": "sick"}, {"web:2": "crash"}, {"web:2": "flaky"}))
        bad = random.choice((bad, bad, bad, bad, {"web:2": "mortal"}, {"web:1": "mortal"}))
        self.world = UpdateWorld(self.scheduler, size, self.replicas, bad, stop_first=random.random() < 0.2)
        self.canary = random.choice(("", "", "10%", "50%")) if not self.world.stop_first else ""
        self.soak = random.choice((0.0, 15.0)) if self.canary else 0.0
        self.world.fails = random.choice((0, 0, 3))
        self.world.stalls = random.choice((0, 0, 20))
        many = self.replicas is None or self.replicas > 1
        self.roomy = size > 2 and many and not {"flaky", "mortal"} & {*bad.values()} and not self.world.stop_first
        order = "stop-first" if self.world.stop_first else f"canary {self.canary or 'none'} for {self.soak:g} s"
        self.say(f"{size} machines, {self.replicas} instances, {bad}, {order}")

    # What happens

    def commands(self) -> Sequence[Callable[[Operator], None]]:
        return (self.update, self.go_on)

    def update(self, operator: Operator, version: int = SECOND) -> None:
        target = self.world.target(version, self.replicas)
        canary, soak = (self.canary, self.soak) if self.canary else (None, None)
        update(UpdateRequest(NAME, lambda _: target, named=True, canary=canary, soak_seconds=soak), operator)

    def update_to_another(self, operator: Operator) -> None:
        self.update(operator, THIRD)

    def go_on(self, operator: Operator) -> None:
        target = self.world.target(SECOND, self.replicas)
        update(UpdateRequest(NAME, lambda _: target), operator)

    def roll_back(self, operator: Operator) -> None:
        update(UpdateRequest(NAME, rollback=True), operator)

    def happenings(self) -> Sequence[Callable[[], None]]:
        found = [
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
        return found + [self.fall_ill] * 4 if self.world.mortal else found

    def afterwards(self) -> None:
        """Once, where there is room for the instances, let a machine be away."""
        if self.roomy and self.random.random() < 0.15:
            self.roomy = False
            self.random.choice((self.machine_dies, self.machine_is_drained))()

    def successor(self) -> None:
        """Somebody comes when the lock of who was there may have run out."""
        self.scheduler.sleep(35 + 20 * self.random.random())
        self.start(self.random.choice((self.update, self.roll_back)))

    def other_operator(self) -> None:
        self.start(self.update_to_another)

    def go_back(self) -> None:
        self.start(self.roll_back)

    def machine_is_drained(self) -> None:
        name = self.random.choice(sorted(self.world.machines))
        self.say(f"{name} is drained")
        self.world.drain(name, drained=True)
        self.scheduler.sleep(self.random.choice(self.AWAY))
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

    # What comes of it

    def calm_down(self) -> None:
        """Let operators whom nothing befalls finish it, and see that all is as promised."""
        self.world.fails = self.world.stalls = 0
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
        return ScheduledRecord.parse(entry.value)

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
