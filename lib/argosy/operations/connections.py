"""Wait until the connections of a machine that drains have ended."""

from __future__ import annotations

from argosy import rollout_scripts
from argosy.config import Settings
from argosy.host import Host, Result, Sink
from argosy.machine_files import Names
from argosy.operations.beside import Beside
from argosy.operations.clock import Clock
from argosy.operations.discovery.draining import default_deadline_seconds

ANSWER_SECONDS = 30.0
"""For the machine to tell of its connections, beyond the time that they have."""


class Connections:
    """Those of the router of `host`. To begin the command takes longer than its answer: so it is begun beforehand."""

    def __init__(self, settings: Settings, host: Host, clock: Clock) -> None:
        self._seconds = settings.rollout.drain_seconds
        self._argv = rollout_scripts.connections(Names(settings.system), self._seconds)
        self._longest = default_deadline_seconds(settings) + self._seconds + ANSWER_SECONDS
        self._host = host
        self._decided = clock.event()
        self._wanted = False
        self._answer = Beside(clock, f"connections-{host.name}", self._ask)

    def begin(self) -> None:
        """Let the machine wait until it has none: nothing new comes there any more."""
        self._wanted = True
        self._decided.set()

    def __enter__(self) -> Connections:
        return self

    def __exit__(self, *_: object) -> None:
        """Let the command end, unless it was begun."""
        self._decided.set()

    def told(self) -> str:
        """Return what to tell of them when they are done, or their time is over; empty for nothing."""
        done = self._answer.result()
        left = rollout_scripts.parse_number(done.stdout, "connections")
        if left is None:
            words = done.stderr.strip().rpartition("\n")[2] or f"it ended with {done.code}"
            return f"its router does not tell its connections ({words}): not waited for"
        return f"{left} connections are still open after {self._seconds:g} s: they will be cut" if left else ""

    def _ask(self) -> Result:
        return self._host.run(self._argv, sudo=True, check=False, timeout_seconds=self._longest, input=self._feed)

    def _feed(self, sink: Sink) -> None:
        self._decided.wait()
        if self._wanted:
            sink.write(rollout_scripts.BEGIN)
