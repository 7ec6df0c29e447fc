"""`GET /connections?seconds=60`: wait until this machine's router has no connections, at most so long.

The answer is JSON: {"connections": 0}, how many are left. Those of all workers count: after a reload an old one serves
on. Whoever asks has seen to it that nothing new comes; who keeps a connection all the same is let go of.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from argosy.agent.registrar.deregistration import parse_seconds
from argosy.agent.router.haproxy import Haproxy
from argosy.agent.telemetry import Answer, json_answer

PATH = "/connections"
MAX_SECONDS = 86_400.0
POLL_SECONDS = 0.05
PATIENCE_SECONDS = 0.2
"""For requests that are under way, before those who keep their connections are let go of."""


class Connections:
    def __init__(self, haproxy: Haproxy, let_go: Callable[[], object]) -> None:
        self._haproxy = haproxy
        self._let_go = let_go
        self._pause = threading.Event()

    def answer(self, _path: str, query: Mapping[str, str], _body: bytes) -> Answer:
        """Handle the request; see the module. 400: not asked rightly; 503: HAProxy does not answer."""
        seconds = parse_seconds(query.get("seconds", ""), MAX_SECONDS)
        if seconds is None:
            return json_answer({"error": f"GET {PATH}?seconds=S with S from 0 to {MAX_SECONDS:g}, please"}, 400)
        began, let_go = time.monotonic(), False
        while True:
            # While HAProxy reloads its master may not answer for a moment.
            found, waited = self._count(), time.monotonic() - began
            if found == 0 or waited >= seconds:
                break
            if not let_go and waited >= PATIENCE_SECONDS:
                self._let_go()
                let_go = True
            self._pause.wait(POLL_SECONDS)
        return json_answer({"error": found}, 503) if isinstance(found, str) else json_answer({"connections": found})

    def _count(self) -> int | str:
        """Return how many there are, or why nobody knows."""
        try:
            return self._haproxy.connections()
        except (OSError, ValueError) as error:
            return f"HAProxy does not answer: {error}"
