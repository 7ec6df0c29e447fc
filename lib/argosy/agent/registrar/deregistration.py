"""`POST /deregister/CONTAINER?seconds=5`: take an instance out before it is stopped, and wait until nobody uses it.

The answer is JSON: {"revision": 81, "waited_seconds": 0.04, "routers_behind": []}. `revision`: when its keys went, 0
when it was not registered; `routers_behind`: machines whose routers have not told in the time given that they have
applied it. The container stays out until it is started anew.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from operator import not_

from argosy.agent.registrar.registrar import Registrar
from argosy.agent.telemetry import Answer, json_answer
from argosy.clock import wait_until
from argosy.errors import EtcdError
from argosy.etcd.client import Etcd
from argosy.etcd.values import Entry
from argosy.schema import ROUTERS

PATH = "/deregister"
SECONDS, MAX_SECONDS = 5.0, 600.0
POLL_SECONDS = 0.05


class Departures:
    def __init__(self, registrar: Registrar, store: Etcd) -> None:
        self._registrar = registrar
        self._store = store

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
            # Every router has applied the revision, or is named.
            late = wait_until(
                lambda: behind(self._store.get_prefix(ROUTERS).entries, leave.revision),
                started + seconds - time.monotonic(),
                done=not_,
                every=POLL_SECONDS,
            )
        except EtcdError as error:
            return _refusal(503, f"{container} is deregistered, but not known to be so by the routers: {error}")
        waited = round(time.monotonic() - started, 3)
        return json_answer({"revision": leave.revision, "waited_seconds": waited, "routers_behind": late})

    def _obstacle(self) -> str:
        registrar = self._registrar
        found = (registrar.failure, registrar.etcd_trouble.reason, registrar.engine_trouble.reason)
        return next(filter(None, found), "it takes longer")


def behind(entries: Iterable[Entry], revision: int) -> list[str]:
    """Return the names of the routers that have applied less than `revision`, of the keys /routers/NAME."""
    routers = {entry.key.removeprefix(ROUTERS): entry.value for entry in entries}
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
