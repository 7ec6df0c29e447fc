"""`POST /deregister/CONTAINER?seconds=5`: take an instance out before it is stopped, and wait until nobody uses it.

The answer is JSON: {"revision": 81, "waited_seconds": 0.04, "routers_behind": []}. `revision`: when its keys went, 0
when it was not registered; `routers_behind`: machines whose routers have not told in the time given that they have
applied it. The container stays out until it is started anew.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from argosy.agent.registrar import Registrar
from argosy.agent.telemetry import Answer, json_answer
from argosy.errors import EtcdError
from argosy.etcd.values import Listing
from argosy.schema import ROUTERS, KeyValue

PATH = "/deregister"
SECONDS, MAX_SECONDS = 5.0, 600.0
POLL_SECONDS = 0.05


class Store(Protocol):
    """What of `argosy.etcd.Etcd` this needs."""

    def get_prefix(self, prefix: str) -> Listing: ...


class Departures:
    def __init__(self, registrar: Registrar, store: Store) -> None:
        self._registrar = registrar
        self._store = store
        self._pause = threading.Event()

    def answer(self, path: str, query: Mapping[str, str], _body: bytes) -> Answer:
        """Handle the request; see the module. 400: not asked rightly; 404: no such container, or it is no instance;
        503: it isn't out of etcd yet, or nobody knows of the routers. It stays out, or goes out, all the same."""
        container = path.removeprefix(PATH).strip("/")
        seconds = parse_seconds(query.get("seconds", ""))
        if not container or seconds is None:
            return _refusal(400, f"POST {PATH}/CONTAINER?seconds=S with S from 0 to {MAX_SECONDS:g}, please")
        started = time.monotonic()
        leave = self._registrar.ask_to_leave(container)
        if not leave.done.wait(seconds):
            return _refusal(503, f"{container} is not deregistered after {seconds:g} s: {self._obstacle()}")
        if not leave.known:
            return _refusal(404, f"{container}: no running container with the label argosy.service has this name")
        try:
            late = self._wait_for_routers(leave.revision, started + seconds)
        except EtcdError as error:
            return _refusal(503, f"{container} is deregistered, but not known to be so by the routers: {error}")
        waited = round(time.monotonic() - started, 3)
        return json_answer({"revision": leave.revision, "waited_seconds": waited, "routers_behind": late})

    def _obstacle(self) -> str:
        registrar = self._registrar
        found = (registrar.failure, registrar.etcd_trouble.reason, registrar.engine_trouble.reason)
        return next(filter(None, found), "it takes longer")

    def _wait_for_routers(self, revision: int, deadline: float) -> list[str]:
        """Wait until every router has applied `revision`, and return those that have not by the deadline."""
        while late := behind(self._store.get_prefix(ROUTERS).entries, revision):
            if time.monotonic() > deadline:
                return late
            self._pause.wait(POLL_SECONDS)
        return []


def behind(entries: Iterable[KeyValue], revision: int) -> list[str]:
    """Return the names of the routers that have applied less than `revision`, of the keys /routers/NAME."""
    routers = {it.key.removeprefix(ROUTERS): it.value for it in entries}
    return sorted(
        name
        for name, applied in routers.items()
        if "/" not in name and not (applied.isdecimal() and int(applied) >= revision)
    )


def parse_seconds(text: str, longest: float = MAX_SECONDS) -> float | None:
    """Return how long to wait at most, None for what is no such number."""
    try:
        seconds = float(text) if text else SECONDS
    except ValueError:
        seconds = math.nan
    return seconds if 0 <= seconds <= longest else None


def _refusal(status: int, reason: str) -> Answer:
    return json_answer({"error": reason}, status)
