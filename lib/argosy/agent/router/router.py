"""The router's loop: what etcd says becomes what this machine's HAProxy does. One thread, one thing at a time.

Each round looks at everything that came since the last one: so a burst costs a few rounds, and a change that comes
alone waits for nothing. What to want, how to get there without a reload and when to reload is decided elsewhere
(`argosy.agent.router.plans`, `argosy.routing.changes`, `argosy.agent.router.backoff`).

Whatever fails leaves HAProxy with the last good configuration, is told, and is tried again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from argosy.agent.log import Trouble, log
from argosy.agent.registrar.forwards import Forwards
from argosy.agent.router.backoff import Pace
from argosy.agent.router.certificates import CertificateFolder, sync_certificates
from argosy.agent.router.haproxy import Haproxy, Worker
from argosy.agent.router.loading import Loader
from argosy.agent.router.plans import Plans
from argosy.agent.router.servers import Servers
from argosy.model import Endpoint
from argosy.routing.values import Routing
from argosy.schema import Problem

_log = log("router")

LOOK_SECONDS = 1.0
"""Between two looks whether HAProxy is the same process, and the certificates the same files."""
ABSENT_SECONDS = 0.2
"""The same, while HAProxy does not answer."""
SAVE_SECONDS = 2.0
"""After the first change through the runtime API, before all are on disk, too."""
HARMLESS_ABSENCE = 3.0
"""A HAProxy that is away for longer may want a port that it can't have."""


class Router:
    """`trouble`: HAProxy can't be used; `refused`: it did not take the newest plan; `revision`: all up to it is
    applied; `beat`: when the last round began, by the monotonic clock."""

    def __init__(
        self,
        plans: Plans,
        haproxy: Haproxy,
        loader: Loader,
        certificates: CertificateFolder,
        say: Callable[[int, Sequence[Problem]], None],
        forwards: Forwards | None = None,
        others: Callable[[], Iterable[Problem]] = tuple,
        tick_seconds: float = 5.0,
    ) -> None:
        """`say(revision, problems)`: called when all up to `revision` is applied but for `problems`, which only this
        machine has; `others`: tells those that other parts of the agent know of; `tick_seconds`: between two looks
        whether everything is still as it must be."""
        self._plans = plans
        self._haproxy = haproxy
        self.loader = loader
        self._certificates = certificates
        self._say = say
        self._forwards = forwards
        self._others = others
        self._tick_seconds = tick_seconds
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="router", daemon=True)
        self._pace = Pace()
        self._worker: Worker | None = None
        self._taken: frozenset[int] = frozenset()
        self._renewed: frozenset[str] = frozenset()
        self._look_at = self._tick_at = self._save_at = 0.0
        self._letting_go = False
        self._absent_since = self._behind_since = 0.0
        self._loaded: tuple[Routing, dict[str, str]] | None = None
        self._effective: Routing | None = None
        self._said: tuple[int, tuple[Problem, ...]] | None = None
        self.servers = Servers(haproxy)
        self.beat = time.monotonic()
        self.revision = 0
        self.trouble = Trouble(_log, "HAProxy answers again", starting="HAProxy has not been asked yet")
        self.refused = Trouble(_log, "the newest configuration is in effect")

    def start(self) -> None:
        if self._forwards is not None:
            self._forwards.subscribe(self.wake)
        self._thread.start()

    def wake(self) -> None:
        """Let a round begin soon. For any thread."""
        self._wake.set()

    def let_go(self) -> None:
        """Soon close connections that are idle, and others after an answer: by a reload, whose old worker does so. Who
        keeps a connection would stay with this machine for as long as they ask often enough. For any thread."""
        self._letting_go = True
        self._wake.set()

    @property
    def behind_seconds(self) -> float:
        """Return for how long something that etcd said has not been applied; 0 when everything is."""
        since = self._behind_since
        return max(self._plans.waiting_seconds, time.monotonic() - since if since else 0.0)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What only this machine has."""
        own = tuple(Problem("", "", trouble.reason) for trouble in (self.trouble, self.refused) if trouble.reason)
        return (*own, *self._plans.local_problems, *self._certificates.problems, *self._others())

    def status(self) -> dict[str, Any]:
        """Return what /status tells of the router, as JSON values."""
        services, instances = self._plans.counts()
        return {
            "revision": self.revision,
            "structure": self._effective.structure if self._effective else "",
            "behind_seconds": round(self.behind_seconds, 3),
            "services": services,
            "instances": instances,
            "reloads": self.loader.reloads,
            "failed_reloads": self.loader.failures,
            "runtime_changes": self.servers.changes,
            "worker": self._worker.pid if self._worker else 0,
            "problems": [asdict(problem) for problem in self.problems],
            "data_problems": [asdict(problem) for problem in self._plans.problems],
        }

    # The rounds

    def _run(self) -> None:
        while True:
            at = min(self._look_at, self._save_at) if self._save_at else self._look_at
            self._wake.wait(max(0.0, at - time.monotonic()))
            self._wake.clear()
            self.round()

    def round(self) -> None:
        """Bring HAProxy to what is wanted now. The thread does this."""
        self.beat = time.monotonic()
        self._look_at = self.beat + LOOK_SECONDS
        try:
            self._round(self.beat)
        except (OSError, ValueError) as error:
            # Sockets come and go with HAProxy's processes, and a disk may be full.
            self._worker = None
            self._look_at = time.monotonic() + ABSENT_SECONDS
            self.trouble.set(f"HAProxy, or what it reads, can't be used: {error}")
        except Exception:  # noqa: BLE001 (reported, with its trace, and the router continues)
            _log.exception("a round failed; the next one begins anew")
            self._worker = None
            self.trouble.set("a round failed unexpectedly, see the journal")

    def _round(self, now: float) -> None:
        if self._plans.take_in():
            self._behind_since = self._behind_since or now
        worker = self._find_worker(now)
        if not self._plans.revision:
            # etcd has told nothing yet: HAProxy serves what it found on disk.
            return
        self._renewed |= self._certificates.refresh()
        everything = now >= self._tick_at or worker != self._worker
        if everything:
            self._tick_at = now + self._tick_seconds
            self._taken = self.loader.taken(self._taken)
        forwards = dict(self._forwards.mapping()) if self._forwards is not None else {}
        if worker is None:
            self._provide(forwards, now)
        elif self._apply(forwards, worker, everything, now):
            self._note_applied(forwards)
            if self._letting_go:
                self._tell()
                self._let_go(forwards, worker)
        if self._save_at and now >= self._save_at:
            self._save()
        self._tell()

    def _find_worker(self, now: float) -> Worker | None:
        """Return HAProxy's worker, None when there is none. Raises OSError for one that does not answer in time."""
        try:
            worker = self._haproxy.worker()
        except (FileNotFoundError, ConnectionRefusedError) as error:
            self._worker = None
            self._absent_since = self._absent_since or now
            self._look_at = now + ABSENT_SECONDS
            self.trouble.set(f"HAProxy does not run: {error.strerror}")
            return None
        self._absent_since = 0.0
        self.trouble.clear()
        return worker

    def _plan(self, forwards: Mapping[int, Endpoint]) -> Routing:
        return self._plans.plan(bool(self._certificates.names), self._taken, forwards)

    def _note_applied(self, forwards: Mapping[int, Endpoint]) -> None:
        self._behind_since = 0.0
        self.revision = self._plans.revision
        if self._forwards is not None:
            self._forwards.note_applied(
                {port: forward for port, forward in forwards.items() if port not in self._taken}
            )

    def _tell(self) -> None:
        saying = (self.revision, self.problems)
        if saying != self._said:
            self._said = saying
            self._say(*saying)

    # Applying

    def _apply(self, forwards: Mapping[int, Endpoint], worker: Worker, everything: bool, now: float) -> bool:
        """Do what is left to be done; return whether the plan is in effect, else it is tried again by itself."""
        wanted = self._plan(forwards)
        if worker.structure == wanted.structure:
            if self.servers.sync(wanted, everything=everything) and self._sync_certificates(everything):
                self._in_effect(wanted, worker)
                return True
            if self._loaded is not None and self._loaded[0] is wanted and self._loaded[1] == self._certificates.names:
                # It has just read all of it from its files: another reload would bring nothing else.
                self.refused.set("HAProxy has other servers or certificates than those that it was given")
                return False
        wait = self._pace.wait_seconds(wanted.structure, now)
        if wait:
            self.servers.sync_common(wanted)
            self._look_at = min(self._look_at, now + wait)
            return False
        return self._reload(forwards, worker)

    def _let_go(self, forwards: Mapping[int, Endpoint], worker: Worker) -> None:
        wait = self._pace.wait_seconds(worker.structure, time.monotonic())
        if wait:
            self._look_at = min(self._look_at, time.monotonic() + wait)
        else:
            self._letting_go = not self._reload(forwards, worker)

    def _reload(self, forwards: Mapping[int, Endpoint], worker: Worker) -> bool:
        wanted = self._without_taken(forwards, worker)
        reason = self.loader.load(wanted)
        ended = time.monotonic()
        if reason:
            self.refused.set(reason)
            self._pace.failed(wanted.structure, ended)
            self.servers.sync_common(wanted)
            # If a port was taken from under it, another plan comes at once; else the pace says when to try again.
            self._look_at = ended
            return False
        self._pace.succeeded(ended, self.loader.seconds)
        self._loaded = (wanted, dict(self._certificates.names))
        self.servers.loaded(wanted)
        self._in_effect(wanted, self._haproxy.worker())
        return True

    def _without_taken(self, forwards: Mapping[int, Endpoint], worker: Worker) -> Routing:
        """Return the plan that needs no port of another program but, at worst, one of the router's own."""
        taken = self._taken | self.loader.newly_taken(self._plan(forwards), worker)
        self._taken = taken
        return self._plan(forwards)

    def _sync_certificates(self, everything: bool) -> bool:
        if not everything and not self._renewed:
            return True
        return sync_certificates(self._haproxy, self._certificates, self._renewed)

    def _in_effect(self, wanted: Routing, worker: Worker) -> None:
        self._worker = worker
        self._effective = wanted
        self._renewed = frozenset()
        self.refused.clear()
        if not self.loader.saved(wanted):
            self._save_at = self._save_at or time.monotonic() + SAVE_SECONDS

    # What HAProxy finds when it is started

    def _provide(self, forwards: Mapping[int, Endpoint], now: float) -> None:
        """Have the plan on disk for a HAProxy that is not there."""
        if now - self._absent_since > HARMLESS_ABSENCE:
            self._taken |= self.loader.taken_meanwhile(self._plan(forwards))
        wanted = self._plan(forwards)
        if not self.loader.saved(wanted):
            self.refused.set(self.loader.save(wanted, check=True))

    def _save(self) -> None:
        """Write down the plan that is in effect: HAProxy itself has accepted each of its servers at runtime."""
        self._save_at = 0.0
        if self._effective is not None and not self.loader.saved(self._effective):
            self.loader.save(self._effective, check=False)
