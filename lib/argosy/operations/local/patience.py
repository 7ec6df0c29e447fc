"""Wait for the cluster's lock of a run that was killed: nobody gives it back, so it has to run out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from argosy.config import Settings
from argosy.console import Report
from argosy.errors import LockHeld

R = TypeVar("R")

SPARE_SECONDS = 5.0
RETRY_SECONDS = 1.0


def once_free(settings: Settings, report: Report, act: Callable[[], R]) -> R:
    """Return what `act` does, once the lock is free; it may be held for as long as a killed run's lives on.

    Raises LockHeld, as `act` does, when it is held for longer: somebody is at work.
    """

    def tell(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            report("lock", f"{state.outcome.exception()}: waiting, it may be of the run that was killed")

    waiting = Retrying(
        retry=retry_if_exception_type(LockHeld),
        stop=stop_after_delay(settings.rollout.lock_ttl_seconds + SPARE_SECONDS),
        wait=wait_fixed(RETRY_SECONDS),
        before_sleep=tell,
        reraise=True,
    )
    return waiting(act)
