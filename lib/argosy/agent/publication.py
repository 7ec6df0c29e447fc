"""What this machine's router says of itself in etcd: the revision that it has applied, and what only it can see."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Protocol

from argosy.agent.log import Trouble, log
from argosy.errors import EtcdError
from argosy.schema import Problem, router_key, router_problems_key

_log = log("publication")

RETRY_SECONDS = 1.0


class PublicationStore(Protocol):
    """What of `argosy.etcd.Etcd` this needs."""

    def put(self, key: str, value: str, lease: int = 0) -> int: ...
    def delete(self, key: str, *, prefix: bool = False) -> int: ...


class Lease(Protocol):
    """What of `argosy.agent.lease.Lease` this needs."""

    def id(self) -> int: ...
    def subscribe(self, callback: Callable[[int], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Said:
    revision: int
    problems: str


class Publication:
    """Puts /routers/NAME and /routers/NAME/problems, in a thread of its own: etcd may be slow, the router must not be.

    Both stand on the agent's lease. They are put when `say` brings something new, and again with each new lease; as
    long as etcd refuses, they are tried again and the newest is what counts.
    """

    def __init__(self, store: PublicationStore, lease: Lease, machine: str) -> None:
        self._store = store
        self._lease = lease
        self._key, self._problems_key = router_key(machine), router_problems_key(machine)
        self._wake = threading.Event()
        self._pause = threading.Event()
        self._turn = threading.Lock()
        self._wanted: _Said | None = None
        self._done: tuple[int, _Said] | None = None
        self._thread = threading.Thread(target=self._run, name="publication", daemon=True)
        self.trouble = Trouble(_log, "what the router has applied is reported again")

    def start(self) -> None:
        self._lease.subscribe(lambda _: self._wake.set())
        self._thread.start()

    def say(self, revision: int, problems: Iterable[Problem]) -> None:
        """Let everybody know, soon, that all up to `revision` is applied but for `problems`."""
        with self._turn:
            self._wanted = _Said(revision, _problems_text(problems))
        self._wake.set()

    @property
    def said(self) -> int:
        """The revision that stands in etcd as far as we know."""
        return self._done[1].revision if self._done else 0

    def _run(self) -> None:
        while self._wake.wait():
            self._wake.clear()
            try:
                self.publish()
            except EtcdError as error:
                self.trouble.set(f"what the router has applied can't be reported: {error}")
                self._pause.wait(RETRY_SECONDS)
                self._wake.set()
            else:
                self.trouble.clear()

    def publish(self) -> None:
        """Put what is not there yet. Raises EtcdError. Problems first: who sees the revision sees its problems."""
        with self._turn:
            wanted = self._wanted
        if wanted is None:
            return
        lease = self._lease.id()
        told = self._done if self._done and self._done[0] == lease else None
        if told is None or told[1].problems != wanted.problems:
            self._put_problems(wanted.problems, lease)
        if told is None or told[1].revision != wanted.revision:
            self._store.put(self._key, str(wanted.revision), lease)
        self._done = (lease, wanted)

    def _put_problems(self, problems: str, lease: int) -> None:
        if problems:
            self._store.put(self._problems_key, problems, lease)
        else:
            self._store.delete(self._problems_key)


def _problems_text(problems: Iterable[Problem]) -> str:
    """Return them as JSON, [{"service", "key", "reason"}], in an order of their own; empty for none."""
    listed = sorted(set(problems), key=lambda problem: (problem.service, problem.key, problem.reason))
    return json.dumps([asdict(problem) for problem in listed]) if listed else ""
