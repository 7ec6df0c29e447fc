"""A procedure is a list of phases that reads as what is done; a second run of it changes nothing."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from argosy.errors import Interrupted
from argosy.model import Step
from argosy.report import Report

Work_contra = TypeVar("Work_contra", contravariant=True)


class Phase(ABC, Generic[Work_contra]):
    """One part of a procedure. `title`: a noun, as progress lines show it.

    There is no clean-up to be forgotten: whatever a phase leaves when it is cut off, its next run resumes from.
    """

    title: ClassVar[str]

    @abstractmethod
    def plan(self, work: Work_contra, /) -> list[Step]:
        """Return what `run` would do, as `--dry-run` prints it; nothing when there is nothing to do."""

    def should_run(self, work: Work_contra, /) -> bool:
        return bool(self.plan(work))

    @abstractmethod
    def run(self, work: Work_contra) -> bool:
        """Do it; return whether anything was changed. Idempotent, and safe to do again after it was killed."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a phase took, and whether it changed anything."""

    title: str
    seconds: float
    changed: bool


def rows_of(timings: Sequence[Timing]) -> list[tuple[str, str, str]]:
    """Return phase, seconds and what it did, for a table."""
    return [(timing.title, f"{timing.seconds:.1f}", "changed" if timing.changed else "unchanged") for timing in timings]


def run_phases(phases: Sequence[Phase[Work_contra]], work: Work_contra, report: Report, task: str) -> list[Timing]:
    """Run the phases that should run, in order; stop at the first that fails.

    Raises Interrupted on Ctrl-C, naming the phase.
    """
    timings = []
    for number, phase in enumerate(phases, 1):
        started = time.monotonic()
        place = f"{number}/{len(phases)}"
        if not phase.should_run(work):
            report(phase.title, f"{place} nothing to do")
            timings.append(Timing(phase.title, time.monotonic() - started, changed=False))
            continue
        report(phase.title, f"{place} ...")
        try:
            changed = phase.run(work)
        except KeyboardInterrupt:
            raise Interrupted(
                f"{phase.title}: interrupted; `inv {task}` resumes from here, `inv local.stop` clears"
            ) from None
        seconds = time.monotonic() - started
        report(phase.title, f"{place} {'done' if changed else 'unchanged'} ({seconds:.1f} s)")
        timings.append(Timing(phase.title, seconds, changed))
    return timings
