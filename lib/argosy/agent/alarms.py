"""Ask etcd now and then whether an alarm makes it refuse writes: what only reads and watches would never notice."""

from __future__ import annotations

import threading
from typing import Protocol

from argosy.agent.log import Trouble, log
from argosy.errors import EtcdError
from argosy.etcd.alarms import Alarm, reason_of

_log = log("alarms")

ASK_SECONDS = 60.0
"""Each question is an entry in etcd's log."""


class AlarmStore(Protocol):
    def alarms(self) -> list[Alarm]: ...


class AlarmFollower:
    """Keeps `trouble`, in a thread of its own. While etcd does not answer it stays as it was, and the mirror tells."""

    def __init__(self, store: AlarmStore, ask_seconds: float = ASK_SECONDS) -> None:
        self._store = store
        self._ask_seconds = ask_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alarms", daemon=True)
        self.trouble = Trouble(_log, "etcd's alarms are over")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def look(self) -> None:
        """Ask once. The thread does this; tests may, too."""
        try:
            self.trouble.set(reason_of(self._store.alarms()))
        except EtcdError as error:
            _log.debug("etcd was not asked for its alarms: %s", error)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(self._ask_seconds)
