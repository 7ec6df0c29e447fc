"""Drive an update to its end: one step after the other, in this thread (see argosy.cluster.driver)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NoReturn

from argosy.cluster.change import Finish, Finished
from argosy.cluster.driver import Driver
from argosy.cluster.events import Event as Told
from argosy.cluster.events import Soaking, StepDone, StepFailed
from argosy.errors import EtcdError, Interrupted
from argosy.etcd import Delete, Put
from argosy.schema import service_key
from argosy.schema.declared import ATTRIBUTES
from argosy.schema.keys import GENERATION
from argosy.services.record import ScheduledRecord
from argosy.services.updates import events as told
from argosy.services.updates.interfaces import Operator
from argosy.services.updates.journal import of_updates
from argosy.services.updates.record import Update, UpdateStep
from argosy.services.updates.steps import Steps
from argosy.services.updates.transitions import (
    Do,
    Ended,
    Event,
    Failed,
    Soak,
    TurnedBack,
    advance,
    is_routed,
    may_turn,
    next_step,
)


class UpdateDriver(Driver[Update, Event]):
    """One run of one update. On Ctrl-C it goes back, as far as there is a way."""

    def __init__(self, operator: Operator, update: Update) -> None:
        super().__init__(operator, of_updates(operator.name), update, advance, operator.name)
        self._store = operator.work.store
        self._steps = Steps(operator)

    def step(self) -> None:
        name = self.record.name
        match next_step(self.record, self.now()):
            case Do(step):
                if step is not UpdateStep.SOAKING:
                    self.tell(told.StepBegan(at=self.now(), service=name, step=step))
                self._attempt(step, partial(self._steps.do, self.record, step))
            case Soak(until):
                self.tell(Soaking(at=self.now(), service=name, until=until))
                self._attempt(UpdateStep.SOAKING, partial(self._steps.soak, self.record, until))
            case Finish():
                self.finish(Finished(), [*self.writes(), *self._surplus_keys()])

    def _attempt(self, step: UpdateStep, work: Callable[[], None]) -> None:
        """Do a step's work, and record what became of it."""
        name = self.record.name
        try:
            work()
        except EtcdError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is, the old instances must continue to serve)
            reason = self.reason(error)
            turns = may_turn(self.record)
            self.save(Failed(reason))
            self.tell(StepFailed(at=self.now(), service=name, step=step, reason=reason))
            if turns:
                self.tell(told.GoingBack(at=self.now(), service=name, reason=self.record.reason))
            return
        self.save(Ended())
        seconds = self.record.seconds.get(step, 0.0)
        self.tell(StepDone(at=self.now(), service=name, step=step, seconds=seconds))

    # Ends

    def interrupted(self) -> NoReturn:
        name, reason = self.record.name, f"interrupted by {self.by}"
        if may_turn(self.record):
            with suppress(KeyboardInterrupt):
                self.save(TurnedBack(self.by, reason))
                self.tell(told.GoingBack(at=self.now(), service=name, reason=self.record.reason))
                self.drive()
                raise Interrupted(
                    f"the update of {name} was interrupted: generation {self.record.old.number} serves as before"
                ) from None
        self.halt(reason)
        where = "on its way back" if self.record.back else f"while {self.record.step}"
        raise Interrupted(f"the update of {name} is interrupted {where}; the same command resumes") from None

    def stopped(self) -> str:
        record = self.record
        generations = f"generation {record.old.number} to {record.new.number}"
        since = f" (going back, since {record.reason})" if record.back else ""
        return (
            f"the update of {record.name} ({generations}) is stopped{since}: {record.trouble}; "
            f"inv service.update {record.name} resumes"
        )

    def ended(self, seconds: float) -> Told:
        record = self.record
        generation = record.wanted.number
        return told.Ended(
            at=self.now(),
            service=record.name,
            state=record.state,
            generation=generation,
            seconds=seconds,
            reason=record.why,
        )

    # The record

    def writes(self) -> list[Put | Delete]:
        """Return what makes the new generation the wanted one: in the moment from which there is no way back."""
        update = self.record
        if update.back or may_turn(update):
            return []
        record = ScheduledRecord(
            update.name,
            update.new,
            update.replicas,
            since=self.now(),
            by=self.by,
            stopped=update.stopped,
            previous=update.old,
        )
        return [Put(record.key, record.text())]

    def _surplus_keys(self) -> Sequence[Delete]:
        """Return what deletes the weights of the generations, and the service's own keys when nobody is in charge."""
        name = self.record.name
        listing = self._store.get_prefix(service_key(name, GENERATION))
        keys = [entry.key for entry in listing.entries]
        if is_routed(self.record.old) and not is_routed(self.record.new) and not self.record.back:
            keys += [service_key(name, attribute) for attribute in ATTRIBUTES]
        return [Delete(key) for key in keys]
