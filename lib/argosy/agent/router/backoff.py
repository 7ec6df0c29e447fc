"""Pure. When to reload: at once as a rule, seldom when reloads come thick and fast or fail."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_REST = 2.0
FIRST_RETRY = 1.0
LONGEST_RETRY = 60.0


@dataclass(slots=True)
class Pace:
    """After a reload there is a rest as long as the reload took: so reloads take half of the time at most, what comes
    meanwhile goes into one, and a change that comes alone never waits. A plan that failed is tried again after 1 s,
    2 s, 4 s, up to a minute; another plan need not wait for that. Times are seconds by the monotonic clock.
    """

    _rest_until: float = 0.0
    _failed: str = ""
    _failures: int = 0
    _retry_at: float = 0.0

    def wait_seconds(self, structure: str, now: float) -> float:
        """Return how long to wait before the plan with `structure` may be loaded; 0 for not at all."""
        ready = max(self._rest_until, self._retry_at if structure == self._failed else 0.0)
        return max(0.0, ready - now)

    def succeeded(self, now: float, took: float) -> None:
        self._failed, self._failures = "", 0
        self._rest_until = now + min(took, LONGEST_REST)

    def failed(self, structure: str, now: float) -> None:
        self._failures = self._failures + 1 if structure == self._failed else 1
        self._failed = structure
        self._retry_at = now + min(FIRST_RETRY * 2.0 ** min(self._failures - 1, 16), LONGEST_RETRY)
