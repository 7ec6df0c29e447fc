"""Drive a rollout to its end: work on several machines at once (see argosy.cluster.driver)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

from argosy.cluster.change import Finish, Finished, Stopped
from argosy.cluster.driver import Driver
from argosy.cluster.events import Event as Told
from argosy.cluster.events import Soaking, StepDone, StepFailed
from argosy.cluster.release import RELEASE
from argosy.errors import Interrupted
from argosy.etcd import Put
from argosy.fanout import Outcome
from argosy.rollouts import events as told
from argosy.rollouts.interfaces import Operator
from argosy.rollouts.journal import OF_ROLLOUTS
from argosy.rollouts.record import Rollout, RolloutStep
from argosy.rollouts.transitions import (
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
from argosy.rollouts.workers import WorkerPool

SOAK_POLL_SECONDS = 5.0


class RolloutDriver(Driver[Rollout, Event]):
    """One run of one rollout."""

    def __init__(self, operator: Operator, rollout: Rollout) -> None:
        super().__init__(operator, OF_ROLLOUTS, rollout, advance)
        self._machines = operator.machines
        self._closed = operator.closed
        self._workers = WorkerPool(operator.work.clock, operator.max_parallel)
        self._facts: Facts | None = None
        self._untold: list[Told] = []
        self._soaking: Soak | None = None
        operator.work.holding.on_lost(self._workers.wake)

    def step(self) -> None:
        self._collect()
        action = next_step(self.record, self.now(), self._workers.busy, self._facts)
        self._facts = None
        if not isinstance(action, Begin):
            self._write_down()
        match action:
            case Begin(work):
                self._begin(work)
            case Wait():
                self._workers.wait()
            case Soak():
                self._soak(action)
            case Survey():
                self._facts = Facts(self._machines.troubles(), self._closed(self.now()))
            case TurnBack(reason):
                self.save(TurnedBack(self.by))
                self.tell(told.RollingBack(at=self.now(), reason=reason))
            case Stop(reason):
                self.save(Stopped(reason))
            case Finish():
                wanted = self.record.whole and not self.record.back
                self.finish(Finished(), [Put(RELEASE, self.record.release.text())] if wanted else [])

    # Steps

    def _begin(self, work: Sequence[tuple[str, RolloutStep]]) -> None:
        """Record and begin as much of `work` as may be done at once; when that is none, wait."""
        chosen = tuple(work[: self._workers.free])
        if not chosen:
            self._write_down()
            self._workers.wait()
            return
        self.save(Began(chosen))
        for name, step in chosen:
            release = self.record.target(name)
            self.tell(told.StepBegan(at=self.now(), machine=name, step=step, release=str(release)))
            self._workers.start(name, self._work(name, step))

    def _work(self, name: str, step: RolloutStep) -> Callable[[], None]:
        machines, release = self._machines, self.record.target(name)
        work: dict[RolloutStep, Callable[[], None]] = {
            RolloutStep.PREPARING: lambda: machines.prepare(name, release),
            RolloutStep.DRAINING: lambda: machines.drain(name),
            RolloutStep.INSTALLING: lambda: machines.install(name, release),
            RolloutStep.CHECKING: lambda: machines.check(name, release),
            RolloutStep.UNDRAINING: lambda: machines.undrain(name),
        }
        return work[step]

    def _collect(self) -> None:
        """Take in what has ended. It is written down with what begins next, in one transaction, or at once if nothing
        does."""
        before = self.record
        ended = self._workers.finished()
        self.take(*(self._event(name, outcome) for name, outcome in ended))
        self._untold += [self._ended(name, before) for name, _ in ended]

    def _event(self, name: str, outcome: Outcome[None]) -> Event:
        return Ended(name) if outcome.error is None else Failed(name, self._reason(name, outcome.error))

    def _reason(self, name: str, error: Exception) -> str:
        return self.reason(error).removeprefix(f"{name}: ")

    def _ended(self, name: str, before: Rollout) -> Told:
        step, now = before.machines[name].step, self.record.machines[name]
        if now.step is RolloutStep.FAILED:
            return StepFailed(at=now.since, machine=name, step=step, reason=now.reason)
        seconds = now.seconds.get(step, 0.0)
        return StepDone(at=now.since, machine=name, step=step, next=now.step, seconds=seconds)

    def _soak(self, soak: Soak) -> None:
        """Watch machines until their time is over or one of them looks ill, then check them all."""
        if soak != self._soaking:
            self._soaking = soak
            self.tell(Soaking(at=self.now(), machines=soak.machines, until=soak.until))
        while (left := (soak.until - self.now()).total_seconds()) > 0:
            self._workers.wait(min(left, SOAK_POLL_SECONDS))
            self.lock.check()
            if self._machines.troubles().keys() & set(soak.machines):
                break
        for ended in self._workers.each(soak.machines, lambda name: self._work(name, RolloutStep.CHECKING)):
            self.lock.check()
            for name, outcome in ended:
                if outcome.error is not None:
                    self._failed(name, self._reason(name, outcome.error))

    def _failed(self, name: str, reason: str) -> None:
        self.save(Failed(name, reason))
        self.tell(StepFailed(at=self.now(), machine=name, step=RolloutStep.DONE, reason=reason))

    # The record

    def save(self, *happened: Event) -> None:
        super().save(*happened)
        untold, self._untold = self._untold, []
        for event in untold:
            self.tell(event)

    def _write_down(self) -> None:
        """Write what was taken in and is not written yet."""
        if self._untold:
            self.save()

    # Ends

    def cancel(self) -> None:
        self._machines.cancel()

    def interrupted(self) -> NoReturn:
        self.halt(f"interrupted by {self.by}")
        raise Interrupted(
            f"rollout {self.record.id} is interrupted; the same command resumes, --rollback rolls back"
        ) from None

    def stopped(self) -> str:
        others = self.record.at(RolloutStep.PENDING, RolloutStep.PREPARED)
        untouched = f"; untouched: {', '.join(others)}" if others else ""
        return (
            f"{self.record.title} is stopped: {self.record.why}{untouched}. "
            "The same command resumes, --rollback puts all machines back, --abort gives it up"
        )

    def ended(self, seconds: float) -> Told:
        record = self.record
        return told.Ended(
            at=self.now(), state=record.state, release=str(record.release), seconds=seconds, reason=record.why
        )
