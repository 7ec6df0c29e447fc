"""An operator who upgrades machines that are only keys in etcd, and is killed after so many writes of the journal.

python killed_operator.py FOLDER CLIENT_PORT WRITES
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from etcd_cluster import EtcdCluster
from killed_writer import killed_after

from argosy import etcd
from argosy.cluster.lock import ClusterLock, Who, held
from argosy.cluster.opening import OpenCluster
from argosy.cluster.release import Release
from argosy.config.loading import load
from argosy.draining.machine import set_state, states, take_out
from argosy.etcd import Etcd, Put, unchanged
from argosy.model import MachineState
from argosy.rollouts.interfaces import Operator
from argosy.rollouts.plan import Findings, Found
from argosy.rollouts.record import Options, Rollout
from argosy.rollouts.upgrade import UpgradeRequest, upgrade
from argosy.schema import MACHINES, machine_key

OLD, NEW = Release("0.1.2", "old"), Release("0.1.3", "new")
SETTINGS = load({"clusters": {"test": {}}})
NAMES = ("air-01", "air-02")


class Keys:
    """The interface `Machines`: a machine is its key, and an install is a write of it."""

    def __init__(self, store: Etcd, lock: ClusterLock) -> None:
        self._store = store
        self._lock = lock

    def names(self) -> Sequence[str]:
        return NAMES

    def inspect(self, names: Sequence[str], release: Release | None) -> Findings:
        del release
        found = states(self._store)
        troubles = {name: "" if found[name] == MachineState.ACTIVE else found[name] for name in names}
        return Findings(tuple(Found(name, OLD, troubles[name]) for name in names))

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
    return {
        entry.key.removeprefix(MACHINES): json.loads(entry.value)["release"]
        for entry in store.get_prefix(MACHINES).entries
    }


def operator_of(store: Etcd, lock: ClusterLock) -> Operator:
    return Operator(
        work=OpenCluster(SETTINGS, store=store, lock=lock),
        machines=Keys(store, lock),
        events=lambda _: None,
        newest=lambda: NEW,
        closed=lambda _: "",
    )


def operate(store: Etcd, name: str) -> Rollout:
    """Upgrade all machines, or resume that."""
    with held(store, "a test", who=Who(name, "here")) as lock:
        operator = operator_of(store, lock)
        return upgrade(UpgradeRequest(options=Options(canary=True)), operator)


def main(folder: str, port: str, writes: str) -> None:
    made = EtcdCluster(Path(folder), Path("/nowhere"), size=1)
    made.client_port = int(port)
    killed_after(int(writes))
    with etcd.connect(made.settings(), made.machines) as store:
        operate(store, "killed")


if __name__ == "__main__":
    main(*sys.argv[1:])
