"""What happens to the containers with a label: Docker's events, and what Docker shows of them afterwards."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException

from argosy.agent.registrar.messages import EngineLost, Happened, Inspected, Listed, Told
from argosy.engine.api import Answer, filters
from argosy.engine.running import MachineContainers
from argosy.errors import EngineError
from argosy.schema.inspection import ACTIONS, parse_container, parse_event

RETRY_SECONDS = 0.5
SECOND_LISTING_SECONDS = 1.0
"""After a connection: what happened while Docker began to listen for us is seen by then."""
RELIST_SECONDS = 60.0
"""What no event of a container tells (another network), or what Docker dropped, is seen by then."""


class Follower:
    """Tells what happens, from two threads: one reads the events, so that none waits, one asks Docker for the rest.

    Each event is told at once, and followed by an `Inspected`. Each new connection to Docker is followed by a listing.
    """

    def __init__(self, containers: MachineContainers, label: str, tell: Callable[[Told], None]) -> None:
        """`tell` must be quick."""
        self._containers = containers
        self._label = label
        self._tell = tell
        self._numbers = itertools.count(1)
        self._turn = threading.Condition()
        self._stopping = threading.Event()
        self._asked: dict[str, None] = {}
        self._list_at = time.monotonic() + RELIST_SECONDS
        self._fresh = True
        self._events: Answer | None = None
        self._threads = [
            threading.Thread(target=self._read_events, name="docker-events", daemon=True),
            threading.Thread(target=self._ask, name="docker-inspect", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Tell nothing more, and wait for a call that is under way."""
        with self._turn:
            self._stopping.set()
            self._turn.notify_all()
            self._interrupt()
        for thread in self._threads:
            thread.join()

    # The events

    def _read_events(self) -> None:
        engine = self._containers.engine
        query = filters(type=["container"], label=[self._label], event=sorted(ACTIONS))
        while not self._stopping.is_set():
            try:
                with engine.reading("/events", query, follow=True) as answer:  # nothing may happen for days
                    reason = self._follow(answer)
                raise EngineError(f"{engine.where}: Docker's events {reason}")
            except EngineError as error:
                if not self._stopping.is_set():
                    self._tell(EngineLost(str(error)))
                self._stopping.wait(RETRY_SECONDS)

    def _follow(self, answer: Answer) -> str:
        """Tell what happens until Docker ends it; return how."""
        self._hold(answer)
        try:
            for line in answer:
                event = parse_event(json.loads(line))
                if event is not None:
                    self._tell(Happened(next(self._numbers), event))
                    self._ask_for(event.container)
        except (OSError, HTTPException, ValueError) as error:
            return f"broke off: {error or type(error).__name__}"
        finally:
            self._hold(None)
        return "ended"

    def _hold(self, answer: Answer | None) -> None:
        """Let `stop` end the events; a new connection means that some may have been missed.

        Docker answers a moment before it begins to listen for itself: there is a listing now, and one a little later.
        """
        with self._turn:
            self._events = answer
            if answer is not None:
                self._list_at, self._fresh = 0.0, True
                self._turn.notify()
            if self._stopping.is_set():
                self._interrupt()

    def _interrupt(self) -> None:
        if self._events is not None:
            with suppress(OSError):  # they have ended already
                self._events.stream.shutdown(socket.SHUT_RDWR)

    # What Docker shows

    def _ask_for(self, container: str) -> None:
        with self._turn:
            self._asked[container] = None
            self._turn.notify()

    def _ask(self) -> None:
        while (container := self._next()) is not None:
            try:
                if container:
                    self._inspect(container)
                else:
                    self._list()
            except EngineError as error:
                self._tell(EngineLost(str(error)))
                self._list_in(RETRY_SECONDS)

    def _next(self) -> str | None:
        """Wait for something to ask: a container's id, empty for the listing. None at the end."""
        with self._turn:
            while not self._stopping.is_set():
                left = self._list_at - time.monotonic()
                if left <= 0:
                    # Again soon after a connection, and should this one fail.
                    self._list_at = time.monotonic() + (SECOND_LISTING_SECONDS if self._fresh else RELIST_SECONDS)
                    self._fresh = False
                    return ""
                if self._asked:
                    return self._first_asked()
                self._turn.wait(left)
        return None

    def _first_asked(self) -> str:
        container = next(iter(self._asked))
        del self._asked[container]
        return container

    def _list_in(self, seconds: float) -> None:
        with self._turn:
            self._list_at = min(self._list_at, time.monotonic() + seconds)

    def _list(self) -> None:
        number = next(self._numbers)
        ids = self._containers.ids(self._label, "running", "paused", "restarting")
        for container in ids:
            self._inspect_asked()
            if self._stopping.is_set():
                return
            self._inspect(container)
        self._tell(Listed(number, frozenset(ids)))

    def _inspect_asked(self) -> None:
        """Those with news don't wait until hundreds of others are listed."""
        while not self._stopping.is_set():
            with self._turn:
                if not self._asked:
                    return
                container = self._first_asked()
            self._inspect(container)

    def _inspect(self, container: str) -> None:
        number = next(self._numbers)
        shown = self._containers.inspect(container)
        if shown is None:
            self._tell(Inspected(number, container, None))
            return
        try:
            self._tell(Inspected(number, container, parse_container(shown)))
        except ValueError as error:
            self._tell(Inspected(number, container, None, str(error)))
