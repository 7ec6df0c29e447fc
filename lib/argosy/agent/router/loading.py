"""Loading a plan into HAProxy by a reload: what must hold before, and what is done when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from argosy.agent.log import log
from argosy.agent.router.configuration import CONFIG, Configuration
from argosy.agent.router.haproxy import Haproxy, Worker
from argosy.agent.router.ports import bound_ports
from argosy.routing.values import Routing

_log = log("router")

RELOAD_SECONDS = 20.0


class Loader:
    """Used by the router's thread alone. May raise OSError: HAProxy does not answer, or the disk can't be written."""

    def __init__(
        self, haproxy: Haproxy, configuration: Configuration, taken: Callable[[Collection[int]], frozenset[int]]
    ) -> None:
        """`taken`: returns those of some ports, none of which HAProxy has, that other programs hold."""
        self._haproxy = haproxy
        self._configuration = configuration
        self.taken = taken
        self._saved: Routing | None = None
        self._rendered: tuple[Routing, dict[str, str]] | None = None
        self.reloads = 0
        self.failures = 0
        self.seconds = 0.0
        """How long the last reload took, its check included."""

    def newly_taken(self, wanted: Routing, worker: Worker) -> frozenset[int]:
        """Return the ports that HAProxy would have to take from another program to load `wanted`.

        Of one that runs with another configuration than that on disk we can't tell which ports are its own: none then.
        """
        if worker.structure != self._configuration.structure:
            return frozenset()
        return self.taken(bound_ports(self._files(wanted)[CONFIG]) - self._configuration.ports)

    def taken_meanwhile(self, wanted: Routing) -> frozenset[int]:
        """Return which ports of `wanted` somebody holds, while HAProxy is away and so holds none itself."""
        return self.taken(bound_ports(self._files(wanted)[CONFIG]))

    def load(self, wanted: Routing) -> str:
        """Load `wanted`; return an empty string, or why HAProxy keeps what it has."""
        started = time.monotonic()
        reason = self._configuration.put(self._files(wanted))
        if reason:
            self.failures += 1
            return f"HAProxy would refuse the new configuration, so the last one stays: {reason}"
        reason = self._haproxy.reload(wanted.structure, RELOAD_SECONDS)
        if reason:
            self.failures += 1
            self._configuration.restore()
            return f"{reason}; the last configuration stays"
        self._configuration.tidy(wanted.structure)
        self._saved, self._rendered = wanted, None
        self.reloads += 1
        self.seconds = time.monotonic() - started
        _log.info("loaded structure %s in %.0f ms", wanted.structure, 1000 * self.seconds)
        return ""

    def saved(self, wanted: Routing) -> bool:
        """Return whether `wanted` is what stands on disk, as far as we know."""
        return self._saved is wanted

    def save(self, wanted: Routing, *, check: bool) -> str:
        """Put `wanted` on disk for a HAProxy that is started later; return why it would refuse it, if it would.

        `check`: ask HAProxy; to be spared when a running one has it all in effect.
        """
        reason = self._configuration.put(self._files(wanted), check=check)
        self._saved = wanted
        return f"HAProxy would refuse the new configuration, so the last one stays: {reason}" if reason else ""

    def _files(self, wanted: Routing) -> dict[str, str]:
        if self._rendered is None or self._rendered[0] is not wanted:
            self._rendered = (wanted, wanted.files())
        return self._rendered[1]
