"""Pure. How instances are checked, and what several checks in a row mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from argosy.model import Endpoint

FIRST_SECONDS = 0.2
GROWTH = 1.15
"""Between the checks of one that is not passing: 0.2 s at first, 2 s after 14 s of failures."""
FAILURES = 3
"""So many in a row deregister."""
LASTING_FAILURES = 10
"""So many in a row (4 s) are no start that takes its time, but a problem to tell of."""


class Kind(StrEnum):
    TCP = "tcp"
    HTTP = "http"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Probe:
    """How to find out. `seconds`: between two checks that pass; `host`: the Host header; `status`: answers that count,
    empty for 200 to 399; `container`: where `command` is run."""

    kind: Kind
    endpoint: Endpoint
    seconds: float
    path: str = ""
    host: str = ""
    status: tuple[int, ...] = ()
    container: str = ""
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of an instance. `failures`: in a row; `reason`: of the last one; `sure`: by checks of
    ours; until then it is what somebody believes, and looked at soon."""

    passing: bool = False
    failures: int = 0
    reason: str = ""
    sure: bool = False

    def after(self, reason: str) -> Verdict:
        """Return the verdict after one more check, which passed if `reason` is empty."""
        if not reason:
            return Verdict(passing=True, sure=True)
        failures = self.failures + 1
        passing = self.passing and failures < FAILURES
        return replace(self, passing=passing, failures=failures, reason=reason)

    def pause_seconds(self, seconds: float) -> float:
        """Return how long to wait before the next check of one that is checked every `seconds` when it passes."""
        if self.passing and self.sure:
            return seconds
        failures = min(self.failures, 100)
        return min(seconds, FIRST_SECONDS * GROWTH**failures)
