"""Threads of simulated processes, one of which runs at a time: a seed decides which, so that every run can be replayed.

A thread gives the others a chance wherever it calls `step` or waits. Time goes on by `step`s, and leaps to the next
deadline when everybody waits.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable

FOREVER = float("inf")
PROCESSORS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
MAX_STEPS = 60_000


class Killed(BaseException):
    """The process is gone: nothing that it does on its way out has an effect."""


class Hangs(BaseException):
    """Everybody waits for ever, or nobody comes to an end."""


class Process:
    """Threads that live and die together. `stalled_until`: it does not run before that time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.stalled_until = 0.0


class Task:
    """One thread. `until`: it waits till that time, or till somebody wakes it; `interrupt`: raised at its next step."""

    def __init__(self, process: Process, name: str) -> None:
        self.process = process
        self.name = name
        self.baton = threading.Lock()
        self.baton.acquire()
        self.until = 0.0
        self.interrupt: BaseException | None = None


class Event:
    """A `threading.Event` of the simulation."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._set = False
        self._waiting: list[Task] = []

    def set(self) -> None:
        self._set = True
        for task in self._waiting:
            task.until = 0.0
        self._waiting.clear()

    def clear(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        deadline = FOREVER if timeout is None else self._scheduler.now + timeout
        while not self._set and self._scheduler.now < deadline:
            task = self._scheduler.current
            self._waiting.append(task)
            self._scheduler.sleep_until(deadline)
            if task in self._waiting:
                self._waiting.remove(task)
        return self._set


class Scheduler:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.steps = 0
        self._tasks: list[Task] = []
        self._current: Task | None = None
        self._main = threading.Lock()
        self._main.acquire()
        self._failure: BaseException | None = None

    @property
    def current(self) -> Task:
        assert self._current is not None
        return self._current

    def event(self) -> Event:
        return Event(self)

    def spawn(self, process: Process, name: str, work: Callable[[], None]) -> Task:
        """Begin `work` in a thread of the process; it runs when its turn comes."""
        task = Task(process, name)

        def run() -> None:
            _stay_on_one_processor()
            task.baton.acquire()
            try:
                if not process.dead:
                    work()
            except Killed:
                pass
            except BaseException as error:  # noqa: BLE001 (told by `run`)
                self._failure = self._failure or error
                self.kill_all()
            self._tasks.remove(task)
            self._pass_on()

        self._tasks.append(task)
        threading.Thread(target=run, daemon=True).start()
        return task

    def run(self) -> None:
        """Let all threads run to their end. Raises what one of them raised, and Hangs."""
        if self._tasks:
            self._pass_on()
            self._main.acquire()
        if self._failure is not None:
            raise self._failure

    def step(self, seconds: float = 0.0) -> None:
        """Let `seconds` pass, and perhaps somebody else run. Raises Killed, or what was put to interrupt us."""
        task = self.current
        self.now += seconds
        self.steps += 1
        if self.steps > MAX_STEPS:
            self._failure = self._failure or Hangs(f"no end after {MAX_STEPS} steps")
            self.kill_all()
        if len(self._tasks) > 1 and self.random.random() < 0.3:
            self._switch(task)
        self._resumed(task)

    def sleep(self, seconds: float) -> None:
        self.sleep_until(self.now + seconds)

    def sleep_until(self, deadline: float) -> None:
        """Let others run until then, or until an event wakes us."""
        task = self.current
        task.until = deadline
        self._switch(task)
        self._resumed(task)

    def tasks_of(self, process: Process) -> list[Task]:
        return [task for task in self._tasks if task.process is process]

    def kill(self, process: Process) -> None:
        process.dead = True
        process.stalled_until = 0.0
        for task in self._tasks:
            if task.process is process:
                task.until = 0.0

    def kill_all(self) -> None:
        for task in self._tasks:
            self.kill(task.process)

    def _resumed(self, task: Task) -> None:
        if task.process.dead:
            raise Killed
        if task.interrupt is not None:
            interrupt, task.interrupt = task.interrupt, None
            raise interrupt

    def _switch(self, task: Task) -> None:
        chosen = self._choose()
        if chosen is task:
            return
        self._current = chosen
        chosen.baton.release()
        task.baton.acquire()

    def _pass_on(self) -> None:
        if not self._tasks:
            self._main.release()
            return
        self._current = self._choose()
        self._current.baton.release()

    def _choose(self) -> Task:
        ready = [task for task in self._tasks if self._wakes(task) <= self.now]
        if not ready:
            first = min(self._wakes(task) for task in self._tasks)
            if first == FOREVER:
                names = ", ".join(f"{task.process.name}/{task.name}" for task in self._tasks)
                self._failure = self._failure or Hangs(f"all wait for ever: {names}")
                self.kill_all()
                first = self.now
            self.now = first
            ready = [task for task in self._tasks if self._wakes(task) <= self.now]
        return ready[0] if len(ready) == 1 else self.random.choice(ready)

    def _wakes(self, task: Task) -> float:
        return max(task.until, task.process.stalled_until)


def _stay_on_one_processor() -> None:
    """Keep this thread on the processor of all others: to hand over to another one would cost most of the time."""
    if PROCESSORS:
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        os.sched_setaffinity(0, {PROCESSORS[worker % len(PROCESSORS)]})
