"""Take a machine out of service and put it back: the one way of upgrades and removals, under the cluster's lock.

    draining = Draining(cluster)
    draining.take_out(host)     # for a while: nothing new comes there, and what was open is done
    draining.put_back(host)     # its agent registers its instances again
    draining.give_back(host)    # once they serve: what served elsewhere for them ends
    draining.send_off(host)     # as take_out, for good

The instances of scheduled services serve elsewhere first. Then /machines/NAME says `draining`; the machine's agent
follows and deregisters its instances; every live router, and a balancer, takes both in; then what is open there ends.
To drain one by hand, without a lock: argosy.discovery.draining.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from argosy.beside import Beside
from argosy.cluster.lock import ClusterLock
from argosy.cluster.opening import OpenCluster
from argosy.discovery.draining import default_deadline_seconds, wait_until_drained
from argosy.draining import balancers
from argosy.draining.scripts import ANSWER_SECONDS, connections, parse_connections
from argosy.errors import ArgosyError, DeadlineExceeded, EtcdError, LockLost, Refused
from argosy.etcd import Put, unchanged
from argosy.etcd.values import Reader
from argosy.model import MachineState
from argosy.paths import Names
from argosy.schema import MACHINES, machine_key
from argosy.services.evacuation.evacuate import Evacuation
from argosy.ssh.host import Host
from argosy.text import json_object

ATTEMPTS = 10
"""Of a write that others are faster than, or whose answer is lost."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A router that has applied `revision` knows. `already`: it was so before."""

    revision: int
    already: bool


class Draining:
    """Changes who is in service, under the cluster's lock. Reports what is waited for and what could not be."""

    def __init__(self, cluster: OpenCluster) -> None:
        self._settings = cluster.settings
        self._evacuation = Evacuation(cluster)
        self._store = cluster.store
        self._lock = cluster.holding
        self._report = cluster.report
        self._clock = cluster.clock

    def take_out(self, host: Host, last: Callable[[], object]) -> bool:
        """Let the machine serve nobody any more, unless nobody else does, and return whether it is out. Idempotent.

        What has its volumes there stays, and serves on. `last`: done when nothing else is sent there any more, while
        connections end; those that last longer than rollout.drain_seconds are told, and not waited for. When it fails,
        a machine that was in service is so again. Raises DeadlineExceeded, Refused for a machine without a record,
        LockLost, EtcdError, what ssh and `last` do.
        """

        def wait_until_quiet(revision: int) -> None:
            self._wait_until_quiet(host, revision, last)
            self._evacuation.finish(host)

        if not others_in_service(self._store, host.name):
            return False
        with self._undone(host):
            staying = [*self._evacuation.evacuate(host), *self._pinned(host.name)]
            return take_out(self._store, self._lock, host.name, wait_until_quiet, staying=staying)

    def send_off(self, host: Host, *, force: bool = False) -> None:
        """Let a machine that will leave serve nobody any more, be it the last one.

        With `force` it is out, too, when somebody does not follow in time, which is told. Raises as `take_out` does.
        """

        def by_force(act: Callable[[], object], *tolerated: type[ArgosyError]) -> None:
            try:
                act()
            except LockLost:
                raise
            except tolerated as error:
                if not force:
                    raise
                self._report(host.name, f"not waited for any longer, by force: {error}")

        def wait_until_quiet(revision: int) -> None:
            by_force(lambda: self._wait_until_quiet(host, revision), DeadlineExceeded)
            by_force(lambda: self._evacuation.finish(host, for_good=True), ArgosyError)

        with self._undone(host):
            by_force(lambda: self._evacuation.evacuate(host, for_good=True), ArgosyError)
            take_out(self._store, self._lock, host.name, wait_until_quiet, even_the_last=True)

    def put_back(self, host: Host) -> int:
        """Let the machine serve again, and return the revision since when it does. Idempotent, and waits for nobody."""
        self._evacuation.readmit(host)
        return set_state(self._store, self._lock, host.name, MachineState.ACTIVE).revision

    def _pinned(self, name: str) -> list[str]:
        """Return the system services that run on some machines only, this one among them: nobody else serves."""
        return [service for service, entry in self._settings.services.items() if name in entry.machines]

    def give_back(self, host: Host) -> None:
        """End what serves elsewhere for a machine that serves again. Idempotent."""
        self._evacuation.give_back(host)

    @contextmanager
    def _undone(self, host: Host) -> Iterator[None]:
        """Let Swarm have a machine back whose draining failed, unless it drains still."""
        try:
            yield
        except LockLost:
            raise
        except ArgosyError:
            try:
                if states(self._store).get(host.name) != MachineState.DRAINING:
                    self._evacuation.readmit(host)
            except ArgosyError as error:
                self._report(host.name, f"it takes no scheduled instances yet: {error}; inv cluster.swarm --ensure")
            raise

    def _wait_until_quiet(self, host: Host, revision: int, last: Callable[[], object] = lambda: None) -> None:
        """Wait until no router and no balancer sends anything, and what was open is done or its time is over.

        `last` is done while connections end.
        """
        if not self._settings.discovery.enabled:
            last()
            return
        began = self._clock.elapsed()
        applied = wait_until_drained(self._store, host.name, revision, default_deadline_seconds(self._settings))
        for line in applied.lines():
            self._report(host.name, line)
        balancers.wait_until_out(
            self._settings,
            host.name,
            applied.routers,
            states(self._store),
            lambda seconds: self._lock.pause(max(0.0, began + seconds - self._clock.elapsed())),
        )
        self._lock.check()
        ending = Beside(self._clock, f"drained-{host.name}", last)
        self._wait_for_connections(host)
        ending.result()
        self._lock.check()

    def _wait_for_connections(self, host: Host) -> None:
        seconds = self._settings.rollout.drain_seconds
        argv = connections(Names(self._settings.system), seconds)
        limit = seconds + 2 * ANSWER_SECONDS
        done = host.run(argv, sudo=True, check=False, timeout_seconds=limit)
        left = parse_connections(done.stdout)
        if left is None:
            words = (done.stderr or done.stdout).strip().rpartition("\n")[2] or f"it ended with {done.code}"
            self._report(host.name, f"its router does not tell its connections ({words}): not waited for")
        elif left:
            self._report(host.name, f"{left} connections are still open after {seconds:g} s: they will be cut")


def states(store: Reader) -> dict[str, str]:
    """Return the state of every machine that etcd knows, by name; `unknown` for a record that can't be read."""
    found = {}
    for entry in store.get_prefix(MACHINES).entries:
        record = json_object(entry.value)
        found[entry.key.removeprefix(MACHINES)] = str(record.get("state", MachineState.ACTIVE)) if record else "unknown"
    return found


def others_in_service(store: Reader, name: str) -> list[str]:
    """Return the machines in service beside this one."""
    return [other for other, state in states(store).items() if state == MachineState.ACTIVE and other != name]


def take_out(
    store: Reader,
    lock: ClusterLock,
    name: str,
    wait_until_quiet: Callable[[int], None],
    *,
    even_the_last: bool = False,
    staying: Sequence[str] = (),
) -> bool:
    """Take the machine out of service, unless nobody would be left, and return whether it is out.

    `staying`: services whose instances there serve on. `wait_until_quiet`: called with the revision that routers must
    have applied; when it fails, a machine that was in service before is put back.
    """
    if not even_the_last and not others_in_service(store, name):
        return False
    changed = set_state(store, lock, name, MachineState.DRAINING, staying)
    try:
        wait_until_quiet(changed.revision)
    except ArgosyError:
        if not changed.already:
            set_state(store, lock, name, MachineState.ACTIVE)
        raise
    return True


def set_state(store: Reader, lock: ClusterLock, name: str, state: MachineState, staying: Sequence[str] = ()) -> Changed:
    """Set the state in /machines/NAME and leave the rest of it. Idempotent. Raises Refused for a machine without one.

    The machine's own agent follows: while it drains its instances are not registered, but those of `staying`.
    """
    key = machine_key(name)
    for attempt in range(1, ATTEMPTS + 1):
        entry = store.get(key)
        record = json_object(entry.value) if entry else None
        if entry is None or record is None:
            raise Refused(f"{name}: no JSON object stands under {key} in etcd: is it installed?")
        wanted = {other: value for other, value in record.items() if other != "staying"} | {"state": str(state)}
        wanted |= {"staying": list(staying)} if staying else {}
        if wanted == record:
            return Changed(entry.mod_revision, already=True)
        already = record.get("state") == state
        try:
            done = lock.transact([unchanged(entry)], [Put(key, json.dumps(wanted))])
        except EtcdError:
            if attempt == ATTEMPTS:
                raise
            lock.pause()
            continue
        if done.succeeded:
            return Changed(done.revision, already)
    raise EtcdError(f"{key} in etcd is written all the time by somebody else")
