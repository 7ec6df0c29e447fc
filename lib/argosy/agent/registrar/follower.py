"""What happens to the containers with a label: Docker's events, and what Docker shows of them afterwards."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

from argosy.agent.containers import Docker, EventStream
from argosy.agent.inspection import parse_container
from argosy.agent.news import EngineLost, Happened, Inspected, Listed, Told
from argosy.errors import EngineError

RETRY_SECONDS = 0.5
SECOND_LISTING_SECONDS = 1.0
"""After a connection: what happened while Docker began to listen for us is seen by then."""
RELIST_SECONDS = 60.0
"""What no event of a container tells (another network), or what Docker dropped, is seen by then."""


class Follower:
    """Tells what happens, from two threads: one reads the events, so that none waits, one asks Docker for the rest.

    Each event is told at once, and followed by an `Inspected`. Each new connection to Docker is followed by a listing.
    """

    def __init__(self, docker: Docker, label: str, tell: Callable[[Told], None]) -> None:
        """`tell` must be quick."""
        self._docker = docker
        self._label = label
        self._tell = tell
        self._numbers = itertools.count(1)
        self._turn = threading.Condition()
        self._stopping = threading.Event()
        self._asked: dict[str, None] = {}
        self._list_at = time.monotonic() + RELIST_SECONDS
        self._fresh = True
        self._stream: EventStream | None = None
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
            if self._stream is not None:
                self._stream.interrupt()
        for thread in self._threads:
            thread.join()

    # The events

    def _read_events(self) -> None:
        while not self._stopping.is_set():
            try:
                stream = self._docker.events(self._label)
                self._hold(stream)
                try:
                    for event in stream:
                        self._tell(Happened(next(self._numbers), event))
                        self._ask_for(event.container)
                finally:
                    self._hold(None)
                    stream.close()
            except EngineError as error:
                if not self._stopping.is_set():
                    self._tell(EngineLost(str(error)))
                self._stopping.wait(RETRY_SECONDS)

    def _hold(self, stream: EventStream | None) -> None:
        """Let `stop` end the stream; a new one means that something may have been missed."""
        with self._turn:
            self._stream = stream
            if stream is not None and self._stopping.is_set():
                stream.interrupt()
            if stream is not None:
                self._list_at, self._fresh = 0.0, True
                self._turn.notify()

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
        ids = self._docker.containers(self._label)
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
        shown = self._docker.inspect(container)
        if shown is None:
            self._tell(Inspected(number, container, None))
            return
        try:
            self._tell(Inspected(number, container, parse_container(shown)))
        except ValueError as error:
            self._tell(Inspected(number, container, None, str(error)))
