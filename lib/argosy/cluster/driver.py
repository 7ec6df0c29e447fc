"""Drive a recorded change to its end, step by step, with the journal before and after each.

It may be killed at any moment: whoever reads the journal then resumes. What to do next is decided by the change's own
pure transitions (argosy.rollouts.transitions, argosy.services.updates.transitions); a subclass of `Driver` does it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NoReturn, TypeVar

from argosy.cluster.change import Finished, State, Stopped
from argosy.cluster.events import Event, Events, reporting
from argosy.cluster.journal import Place, R, Records
from argosy.cluster.opening import OpenCluster
from argosy.errors import ArgosyError, EtcdError, LockLost, Unhealthy
from argosy.etcd import Delete, Put

Happened = TypeVar("Happened")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockHolder:
    """Somebody who holds the lock of a cluster that is open, and changes it."""

    work: OpenCluster
    events: Events

    @property
    def by(self) -> str:
        holder = self.work.holding.holder
        return f"{holder.holder}@{holder.host}"

    def report(self, subject: str, message: str) -> None:
        """Tell a line of progress among the events."""
        reporting(self.events, self.work.clock)(subject, message)


class Driver(ABC, Generic[R, Happened]):
    """One run of one change. The journal is written by the thread that calls `run`, and by no other.

    `advance`: returns the record after something has happened; `subject`: what its lines are about.
    """

    def __init__(
        self,
        operator: LockHolder,
        place: Place[R],
        record: R,
        advance: Callable[[R, Happened | Stopped | Finished, datetime], R],
        subject: str = "",
    ) -> None:
        self.record = record
        self.by = operator.by
        self.lock = operator.work.holding
        self.clock = operator.work.clock
        self.tell = operator.events
        self.now = self.clock.now
        self._journal = Records(operator.work.store, self.lock, place)
        self._advance = advance
        self._report = operator.report
        self._subject = subject
        self._began = self.clock.elapsed()
        self._fault: Exception | None = None

    def run(self) -> R:
        """Write the record, continue until the change has ended, and return its record.

        Raises Unhealthy when it was stopped, what `interrupted` does, LockLost and EtcdError; after all of these the
        same command resumes. An error that is none of ours is recorded, and raised at the end.
        """
        try:
            self.save()
            self.drive()
        except KeyboardInterrupt:
            if not self.record.state.ended:
                self.interrupted()
        except (LockLost, EtcdError):
            self.cancel()
            raise
        return self.record

    def drive(self) -> None:
        while not self.record.state.ended:
            self.lock.check()
            self.step()
            if self.record.state is State.STOPPED:
                self._conclude()
                raise self._fault or Unhealthy(self.stopped())
        if self._fault is not None:
            raise self._fault

    # What differs

    @abstractmethod
    def step(self) -> None:
        """Do what comes next, and record what has happened."""

    @abstractmethod
    def interrupted(self) -> NoReturn:
        """Raise Interrupted, with the journal as clear as can be; see `halt`."""

    @abstractmethod
    def stopped(self) -> str:
        """Return why the change is stopped, and what can be done."""

    @abstractmethod
    def ended(self, seconds: float) -> Event:
        """Return what is told of a change that has ended or is stopped, after so long."""

    def writes(self) -> Sequence[Put | Delete]:
        """Return what is written together with the record whenever that is written."""
        return ()

    def cancel(self) -> None:
        """End the work that is under way, soon."""

    # The record

    def save(self, *happened: Happened | Stopped) -> None:
        """Make the record what it is after all that has `happened`, and write it. Raises LockLost, EtcdError."""
        self.take(*happened)
        self._journal.write(self.record, self.writes())

    def take(self, *happened: Happened | Stopped) -> None:
        """Make the record what it is after all that has `happened`; it is not written yet."""
        now = self.now()
        for event in happened:
            self.record = self._advance(self.record, event, now)

    def reason(self, error: Exception) -> str:
        """Return why some work failed. A lost lock is no failure of the work: that is raised."""
        if isinstance(error, LockLost):
            raise error
        if isinstance(error, ArgosyError):
            return str(error)
        self._fault = error
        return f"{type(error).__name__}: {error}"

    # Ends

    def finish(self, happened: Happened | Finished, writes: Sequence[Put | Delete] = ()) -> None:
        """Move the record to those that ended, in one transaction with `writes`."""
        ended = self._advance(self.record, happened, self.now())
        self._journal.close(ended, writes)
        self.record = ended
        self._conclude()

    def halt(self, reason: str) -> None:
        """Cancel what is under way, and leave the journal as clear as can be."""
        self.cancel()
        try:
            if self._journal.read() is not None:
                self.save(Stopped(reason))
                self._conclude()
        except (LockLost, EtcdError) as error:
            self._report(self._subject, f"that it was interrupted could not be recorded: {error}")

    def _conclude(self) -> None:
        """Note how it ended in the audit trail, and tell it."""
        record = self.record
        self._journal.note(
            self.now(), record.title, f"{record.state}: {record.why}" if record.why else str(record.state)
        )
        self.tell(self.ended(self.clock.elapsed() - self._began))
