"""The part of `local.start` that makes the Swarm, in which scheduled services run."""

from __future__ import annotations

import tenacity

from argosy.errors import EngineError, EtcdError, HostUnreachable, LockHeld, Refused
from argosy.model import Step
from argosy.operations.local.machine_phases import GATE_SECONDS
from argosy.operations.local.procedure import Phase
from argosy.operations.local.work import Work
from argosy.operations.swarm import commands

POLL_SECONDS = 1.0


class Swarm(Phase[Work]):
    """All machines are installed by now; but of those that have just booted, etcd and the engine may not be up yet."""

    title = "swarm"

    def plan(self, work: Work) -> list[Step]:
        return [Step("swarm", "see that all machines are in one Swarm")] if work.settings.swarm.enabled else []

    def run(self, work: Work) -> bool:
        seconds = work.settings.local.boot_deadline_seconds if work.down else GATE_SECONDS
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_pass),
            wait=tenacity.wait_fixed(POLL_SECONDS),
            stop=tenacity.stop_after_delay(seconds),
            reraise=True,
        ):
            with attempt:
                return bool(commands.ensure(work.settings, work.report).steps)
        raise AssertionError("not reached")


def _may_pass(error: BaseException) -> bool:
    waits = isinstance(error, EtcdError | EngineError | HostUnreachable | Refused)
    return waits and not isinstance(error, LockHeld)
