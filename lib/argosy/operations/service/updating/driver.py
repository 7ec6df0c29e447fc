"""Drive an update to its end, step by step, with the journal before and after each.

It may die at any moment: whoever reads the journal then goes on. All decisions are in argosy.service_update.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from argosy import update_events as told
from argosy.agent.labels import ATTRIBUTES
from argosy.errors import ArgosyError, EtcdError, Interrupted, LockLost, Unhealthy
from argosy.etcd import Delete, Put
from argosy.events import Said, StepFailed
from argosy.operations.journal import Records, of_updates
from argosy.operations.service.updating.seams import Operator
from argosy.operations.service.updating.steps import Steps
from argosy.scheduled_record import ScheduledRecord
from argosy.schema import service_key
from argosy.schema.keys import GENERATION
from argosy.service_update import (
    Do,
    Ended,
    Event,
    Failed,
    Finish,
    Finished,
    Soak,
    Stopped,
    TurnedBack,
    advance,
    is_routed,
    may_turn,
    next_step,
)
from argosy.update_record import State, Step, Update


class Driver:
    """One run of one update."""

    def __init__(self, operator: Operator, update: Update) -> None:
        self.update = update
        self._operator = operator
        self._lock = operator.lock
        self._clock = operator.clock
        self._tell = operator.events
        self._records = Records(operator.store, operator.lock, of_updates(operator.name))
        self._steps = Steps(operator)
        self._began = operator.clock.elapsed()
        self._fault: Exception | None = None

    def run(self) -> Update:
        """Go on until one generation is in charge, and return the record: DONE, or ROLLED_BACK.

        Raises Unhealthy when it is stopped in the middle, Interrupted on Ctrl-C (after the way back, unless there is
        none or it is interrupted, too), LockLost and EtcdError; after all of these the same again goes on.
        """
        try:
            self._records.write(self.update, self._settled())
            self._drive()
        except KeyboardInterrupt:
            self._interrupted()
        return self.update

    def _drive(self) -> None:
        while not self.update.state.ended:
            self._lock.check()
            match next_step(self.update, self._now()):
                case Do(step):
                    self._attempt(step, lambda step=step: self._steps.do(self.update, step))  # type: ignore[misc]
                case Soak(until):
                    self._tell(told.Soaking(at=self._now(), service=self.update.name, until=until))
                    self._attempt(Step.SOAKING, lambda until=until: self._steps.soak(self.update, until))  # type: ignore[misc]
                case Finish():
                    self._finish()
            if self.update.state is State.STOPPED:
                self._stop()
        if self._fault is not None:
            raise self._fault

    def _attempt(self, step: Step, work: Callable[[], None]) -> None:
        """Do a step's work, and record what became of it."""
        name = self.update.name
        if step is not Step.SOAKING:
            self._tell(told.StepBegan(at=self._now(), service=name, step=step))
        try:
            work()
        except (LockLost, EtcdError):
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is, the old instances must serve on)
            reason = self._reason(error)
            turns = may_turn(self.update)
            self._record(Failed(reason))
            self._tell(StepFailed(at=self._now(), service=name, step=step, reason=reason))
            if turns:
                self._tell(told.GoingBack(at=self._now(), service=name, reason=self.update.reason))
            return
        self._record(Ended())
        seconds = self.update.seconds.get(step, 0.0)
        self._tell(told.StepDone(at=self._now(), service=name, step=step, seconds=seconds))

    def _reason(self, error: Exception) -> str:
        if isinstance(error, ArgosyError):
            return str(error)
        self._fault = error
        return f"{type(error).__name__}: {error}"

    # Ends

    def _interrupted(self) -> None:
        """Go back, as far as there is a way."""
        by, name = self._operator.by, self.update.name
        if self.update.state.ended:
            return
        if not may_turn(self.update):
            self._halt(f"interrupted by {by}")
            where = "on its way back" if self.update.back else f"while {self.update.step}"
            raise Interrupted(
                f"the update of {name} is interrupted {where}; the same command goes on with that"
            ) from None
        try:
            self._record(TurnedBack(by, f"interrupted by {by}"))
            self._tell(told.GoingBack(at=self._now(), service=name, reason=self.update.reason))
            self._drive()
        except KeyboardInterrupt:
            self._halt(f"interrupted by {by}")
            raise Interrupted(
                f"the update of {name} is interrupted on its way back; the same command goes on"
            ) from None
        raise Interrupted(f"the update of {name} was interrupted: generation {self.update.old.number} serves as before")

    def _halt(self, reason: str) -> None:
        """Leave the journal as clear as can be."""
        try:
            if self._records.read() is not None:
                self._record(Stopped(reason))
                self._conclude()
        except (LockLost, EtcdError) as error:
            message = f"that it was interrupted could not be recorded: {error}"
            self._tell(Said(at=self._now(), service=self.update.name, message=message))

    def _stop(self) -> None:
        self._conclude()
        if self._fault is not None:
            raise self._fault
        it = self.update
        since = f" (going back, since {it.reason})" if it.back else ""
        raise Unhealthy(
            f"the update of {it.name} (generation {it.old.number} to {it.new.number}) is stopped{since}: {it.trouble}; "
            f"inv service.update {it.name} goes on"
        )

    def _finish(self) -> None:
        """Let the service's own record be what is true now, and put this one aside, in one transaction."""
        ended = advance(self.update, Finished(), self._now())
        self._records.close(ended, [*self._settled(), *self._surplus_keys()])
        self.update = ended
        self._conclude()

    def _conclude(self) -> None:
        it = self.update
        reason = it.trouble or it.reason
        kind = "rollback" if it.options.rollback else "update"
        what = f"{kind} of {it.name}: generation {it.old.number} -> {it.new.number}"
        self._records.note(self._now(), what, f"{it.state}: {reason}" if reason else str(it.state))
        seconds = self._clock.elapsed() - self._began
        generation = it.wanted.number
        self._tell(
            told.Ended(
                at=self._now(), service=it.name, state=it.state, generation=generation, seconds=seconds, reason=reason
            )
        )

    # The record

    def _record(self, event: Event) -> None:
        """Let the record be what it is after `event`, and write it. Raises LockLost, EtcdError."""
        self.update = advance(self.update, event, self._now())
        self._records.write(self.update, self._settled())

    def _settled(self) -> list[Put | Delete]:
        """Return what makes the new generation the wanted one: in the moment from which there is no way back."""
        it = self.update
        if it.back or may_turn(it):
            return []
        record = ScheduledRecord(
            it.name,
            it.new,
            it.replicas,
            since=self._now(),
            by=self._operator.by,
            stopped=it.stopped,
            previous=it.old,
        )
        return [Put(record.key, record.text())]

    def _surplus_keys(self) -> Sequence[Delete]:
        """Return what deletes the weights of the generations, and the service's own keys when nobody is in charge."""
        name = self.update.name
        listing = self._operator.store.get_prefix(service_key(name, GENERATION))
        keys = [entry.key for entry in listing.entries]
        if is_routed(self.update.old) and not is_routed(self.update.new) and not self.update.back:
            keys += [service_key(name, attribute) for attribute in ATTRIBUTES]
        return [Delete(key) for key in keys]

    def _now(self) -> datetime:
        return self._clock.now()
