"""An operator who upgrades machines that are only keys in etcd, and is killed after so many writes of the journal.

python killed_operator.py FOLDER CLIENT_PORT WRITES
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from etcd_cluster import EtcdCluster

from argosy import etcd
from argosy.etcd import Etcd, Put, unchanged
from argosy.model import MachineState
from argosy.operations.clock import SystemClock
from argosy.operations.cluster_lock import ClusterLock, Who, held
from argosy.operations.draining import set_state, states, take_out
from argosy.operations.journal import Journal
from argosy.operations.rollout.seams import Operator, Preflight
from argosy.operations.rollout.upgrading import Wish, upgrade
from argosy.rollout_plan import Found
from argosy.rollout_record import Options, Release, Rollout
from argosy.schema import MACHINES, machine_key

OLD, NEW = Release("0.1.2", "old"), Release("0.1.3", "new")
NAMES = ("air-01", "air-02")
NEVER = 1000


class Keys:
    """The seam `Machines`: a machine is its key, and an install is a write of it."""

    def __init__(self, store: Etcd, lock: ClusterLock) -> None:
        self._store = store
        self._lock = lock

    def names(self) -> Sequence[str]:
        return NAMES

    def preflight(self, names: Sequence[str], release: Release | None) -> Preflight:
        del release
        found = states(self._store)
        troubles = {name: "" if found[name] == MachineState.ACTIVE else found[name] for name in names}
        return Preflight(tuple(Found(name, OLD, troubles[name]) for name in names))

    def troubles(self) -> Mapping[str, str]:
        return {name: state for name, state in states(self._store).items() if state != MachineState.ACTIVE}

    def prepare(self, name: str, release: Release) -> None:
        pass

    def drain(self, name: str) -> None:
        take_out(self._store, self._lock, name, lambda _revision: None)

    def install(self, name: str, release: Release) -> None:
        entry = self._store.get(machine_key(name))
        assert entry is not None
        record = {**json.loads(entry.value), "release": release.version}
        assert record["state"] == MachineState.DRAINING
        assert self._lock.transact([unchanged(entry)], [Put(entry.key, json.dumps(record))]).succeeded

    def check(self, name: str, release: Release) -> None:
        assert releases(self._store)[name] == release.version

    def undrain(self, name: str) -> None:
        set_state(self._store, self._lock, name, MachineState.ACTIVE)

    def clean_up(self, name: str, keep: Sequence[Release]) -> None:
        pass

    def cancel(self) -> None:
        pass


def releases(store: Etcd) -> dict[str, str]:
    return {it.key.removeprefix(MACHINES): json.loads(it.value)["release"] for it in store.get_prefix(MACHINES).entries}


def operate(store: Etcd, name: str) -> Rollout:
    """Upgrade all machines, or go on with it."""
    with held(store, "a test", who=Who(name, "here")) as lock:
        machines = Keys(store, lock)
        operator = Operator(store, lock, machines, lambda _: None, SystemClock(), lambda: NEW, lambda _: "")
        return upgrade(Wish(options=Options(canary=True)), operator)


def killed_after(writes: int) -> None:
    """Let the process be killed right after the journal's write number `writes`."""
    left = [writes]

    def counted(write: Callable[[Journal, Rollout], None]) -> Callable[[Journal, Rollout], None]:
        def wrapped(journal: Journal, rollout: Rollout) -> None:
            write(journal, rollout)
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        return wrapped

    for name in ("write", "close"):
        setattr(Journal, name, counted(getattr(Journal, name)))


def main(folder: str, port: str, writes: str) -> None:
    made = EtcdCluster(Path(folder), Path("/nowhere"), size=1)
    made.client_port = int(port)
    killed_after(int(writes))
    with etcd.connect(made.settings(), made.machines) as store:
        operate(store, "killed")


if __name__ == "__main__":
    main(*sys.argv[1:])
