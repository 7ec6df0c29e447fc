"""Keep the agent's clients of etcd to the members that there are: those of the day it was started may all be gone."""

from __future__ import annotations

import threading

from argosy.agent.log import log
from argosy.agent.mirror import Batch, Mirror
from argosy.errors import EtcdError
from argosy.etcd.client import Etcd
from argosy.schema import MACHINES

_log = log("members")

RETRY_SECONDS = 5.0


class MemberFollower:
    """Asks etcd who its members are at the start and whenever a machine's record comes, changes or goes, in a thread of
    its own: a machine registers when its member has its vote, and is forgotten when it has none any more."""

    def __init__(self, retry_seconds: float = RETRY_SECONDS) -> None:
        self._retry_seconds = retry_seconds
        self._stores: list[Etcd] = []
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="members", daemon=True)

    def keep(self, store: Etcd) -> Etcd:
        """Keep this client up to date, and return it. To be called before the start."""
        self._stores.append(store)
        return store

    def follow(self, mirror: Mirror) -> None:
        """Be told by `mirror` when machines come and go."""
        mirror.subscribe(self._note)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._news.set()

    def _note(self, batch: Batch) -> None:
        if batch.full or any(key.startswith(MACHINES) for key in batch.changed):
            self._news.set()

    def _run(self) -> None:
        while self._news.wait() and not self._stopping.is_set():
            self._news.clear()
            try:
                for store in self._stores:
                    if store.follow_members():
                        _log.info("etcd's members are now %s", ", ".join(store.names))
            except EtcdError as error:
                # The mirror says so, too, when it lasts; the members that we know are the best there are.
                _log.debug("etcd was not asked for its members: %s", error)
                self._stopping.wait(self._retry_seconds)
                self._news.set()
