"""Drive a rollout to its end, step by step, with the journal before and after each.

It may die at any moment: whoever reads the journal then goes on. All decisions are in argosy.rollout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from argosy import rollout_events as told
from argosy.errors import ArgosyError, EtcdError, Interrupted, LockLost, Unhealthy
from argosy.events import Event as Told
from argosy.events import Said, StepFailed
from argosy.fanout import Outcome
from argosy.operations.journal import Journal
from argosy.operations.rollout.crew import Crew
from argosy.operations.rollout.seams import Operator
from argosy.rollout import (
    Began,
    Begin,
    Ended,
    Event,
    Facts,
    Failed,
    Finish,
    Finished,
    Soak,
    Stop,
    Stopped,
    Survey,
    TurnBack,
    TurnedBack,
    Wait,
    advance,
    next_step,
)
from argosy.rollout_record import Rollout, Step

SOAK_POLL_SECONDS = 5.0


class Driver:
    """One run of one rollout. The journal is written by the thread that calls `run`, and by no other."""

    def __init__(self, operator: Operator, rollout: Rollout) -> None:
        self.rollout = rollout
        self._lock = operator.lock
        self._machines = operator.machines
        self._tell = operator.events
        self._clock = operator.clock
        self._closed = operator.closed
        self._name = operator.name
        self._max_parallel = operator.max_parallel
        self._journal = Journal(operator.store, operator.lock)
        self._crew = Crew(operator.clock)
        self._began = operator.clock.elapsed()
        self._fault: Exception | None = None
        self._unwritten: list[Told] = []
        self._soaking: Soak | None = None
        operator.lock.on_lost(self._crew.wake)

    def run(self) -> Rollout:
        """Go on until the rollout has ended, and return its record.

        Raises Unhealthy when it was stopped, Interrupted on Ctrl-C, LockLost and EtcdError; the same again goes on.
        """
        try:
            self._drive()
        except KeyboardInterrupt:
            self._halt(f"interrupted by {self._name}")
            raise Interrupted(
                f"rollout {self.rollout.id} is interrupted; the same command again goes on, --rollback goes back"
            ) from None
        except (LockLost, EtcdError):
            self._machines.cancel()
            raise
        return self.rollout

    def _drive(self) -> None:
        facts: Facts | None = None
        while True:
            self._lock.check()
            self._collect()
            action = next_step(self.rollout, self._now(), self._crew.busy, facts)
            facts = None
            if not isinstance(action, Begin):
                self._write_down()
            match action:
                case Begin(work):
                    self._begin(work)
                case Wait():
                    self._crew.wait()
                case Soak():
                    self._soak(action)
                case Survey():
                    facts = Facts(self._machines.troubles(), self._closed(self._now()))
                case TurnBack(reason):
                    self._record([TurnedBack(self._name)])
                    self._tell(told.RollingBack(at=self._now(), reason=reason))
                case Stop(reason):
                    self._stop(reason)
                case Finish():
                    self._finish()
                    return

    # Steps

    def _begin(self, work: Sequence[tuple[str, Step]]) -> None:
        """Record and begin as much of `work` as may go on at once; when that is none, wait."""
        chosen = tuple(work[: self._max_parallel - len(self._crew.busy)])
        if not chosen:
            self._write_down()
            self._crew.wait()
            return
        self._record([Began(chosen)])
        for name, step in chosen:
            release = self.rollout.target(name)
            self._tell(told.StepBegan(at=self._now(), machine=name, step=step, release=str(release)))
            self._crew.start(name, self._work(name, step))

    def _work(self, name: str, step: Step) -> Callable[[], None]:
        machines, release = self._machines, self.rollout.target(name)
        work: dict[Step, Callable[[], None]] = {
            Step.PREPARING: lambda: machines.prepare(name, release),
            Step.DRAINING: lambda: machines.drain(name),
            Step.INSTALLING: lambda: machines.install(name, release),
            Step.CHECKING: lambda: machines.check(name, release),
            Step.UNDRAINING: lambda: machines.undrain(name),
        }
        return work[step]

    def _collect(self) -> None:
        """Take in what has ended. It is written down with what begins next, in one transaction, or at once if nothing
        does."""
        before = self.rollout
        ended = self._crew.finished()
        self._take([self._event(name, outcome) for name, outcome in ended])
        self._unwritten += [self._ended(name, before) for name, _ in ended]

    def _event(self, name: str, outcome: Outcome[None]) -> Event:
        if outcome.error is None:
            return Ended(name)
        return Failed(name, self._reason(name, outcome.error))

    def _reason(self, name: str, error: Exception) -> str:
        """Return why a machine failed. A lost lock is nobody's failure but ours."""
        if isinstance(error, LockLost):
            raise error
        if isinstance(error, ArgosyError):
            return str(error).removeprefix(f"{name}: ")
        self._fault = error
        return f"{type(error).__name__}: {error}"

    def _ended(self, name: str, before: Rollout) -> Told:
        step, now = before.machines[name].step, self.rollout.machines[name]
        if now.step is Step.FAILED:
            return StepFailed(at=now.since, machine=name, step=step, reason=now.reason)
        seconds = now.seconds.get(step, 0.0)
        return told.StepDone(at=now.since, machine=name, step=step, next=now.step, seconds=seconds)

    def _soak(self, soak: Soak) -> None:
        """Watch machines until their time is over or one of them looks ill, then check them all."""
        if soak != self._soaking:
            self._soaking = soak
            self._tell(told.Soaking(at=self._now(), machines=soak.machines, until=soak.until))
        while (left := (soak.until - self._now()).total_seconds()) > 0:
            self._crew.wait(min(left, SOAK_POLL_SECONDS))
            self._lock.check()
            if self._machines.troubles().keys() & set(soak.machines):
                break
        for name, outcome in self._check_all(soak.machines):
            if outcome.error is not None:
                reason = self._reason(name, outcome.error)
                self._record([Failed(name, reason)])
                self._tell(StepFailed(at=self._now(), machine=name, step=Step.DONE, reason=reason))

    def _check_all(self, names: Iterable[str]) -> list[tuple[str, Outcome[None]]]:
        waiting, outcomes = list(names), []
        while waiting or self._crew.busy:
            while waiting and len(self._crew.busy) < self._max_parallel:
                name = waiting.pop(0)
                self._crew.start(name, self._work(name, Step.CHECKING))
            self._crew.wait()
            self._lock.check()
            outcomes += self._crew.finished()
        return outcomes

    # Ends

    def _stop(self, reason: str) -> None:
        self._record([Stopped(reason)])
        self._conclude("stopped", reason)
        if self._fault is not None:
            raise self._fault
        others = self.rollout.at(Step.PENDING, Step.PREPARED)
        untouched = f"; untouched: {', '.join(others)}" if others else ""
        raise Unhealthy(
            f"rollout {self.rollout.id} to release {self.rollout.release} is stopped: {reason}{untouched}. "
            "The same command again goes on, --rollback puts all machines back, --abort gives it up"
        )

    def _finish(self) -> None:
        self.rollout = advance(self.rollout, Finished(), self._now())
        self._journal.close(self.rollout)
        self._conclude(str(self.rollout.state), "")

    def _halt(self, reason: str) -> None:
        """Leave the journal as clear as can be; what goes on is ended."""
        self._machines.cancel()
        try:
            self._record([Stopped(reason)])
            self._conclude("stopped", reason)
        except (LockLost, EtcdError) as error:
            self._tell(Said(at=self._now(), message=f"that it was interrupted could not be recorded: {error}"))

    def _conclude(self, state: str, reason: str) -> None:
        what = f"rollout {self.rollout.id} to release {self.rollout.release}"
        self._journal.note(self._now(), what, f"{state}: {reason}" if reason else state)
        seconds = self._clock.elapsed() - self._began
        release = str(self.rollout.release)
        self._tell(told.Ended(at=self._now(), state=state, release=release, seconds=seconds, reason=reason))

    # The record

    def _record(self, events: Iterable[Event]) -> None:
        """Let the record be what it is after `events`, and write it. Raises LockLost, EtcdError."""
        self._take(events)
        self._journal.write(self.rollout)
        unwritten, self._unwritten = self._unwritten, []
        for event in unwritten:
            self._tell(event)

    def _write_down(self) -> None:
        """Write what was taken in and is not written yet."""
        if self._unwritten:
            self._record([])

    def _take(self, events: Iterable[Event]) -> None:
        now = self._now()
        for event in events:
            self.rollout = advance(self.rollout, event, now)

    def _now(self) -> datetime:
        return self._clock.now()
