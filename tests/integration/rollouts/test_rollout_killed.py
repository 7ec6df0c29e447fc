"""An operator that is killed after each write of the journal in turn: whoever comes next ends in the same state."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import killed_operator
import pytest
from etcd_cluster import EtcdCluster

from argosy.cluster import lock
from argosy.cluster.change import State
from argosy.draining.machine import states
from argosy.errors import LockHeld
from argosy.etcd import Etcd
from argosy.rollouts.journal import OF_ROLLOUTS
from argosy.schema import machine_key

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration


def begin_anew(store: Etcd) -> None:
    store.delete("/", prefix=True)
    for name in killed_operator.NAMES:
        store.put(machine_key(name), json.dumps({"release": "0.1.2", "state": "active"}))


def run_killed(cluster: EtcdCluster, writes: int) -> int:
    program = Path(killed_operator.__file__)
    words = [sys.executable, str(program), str(cluster.folder), str(cluster.client_port), str(writes)]
    return subprocess.run(words, cwd=program.parent, check=False, capture_output=True).returncode


def test_killed_at_each_step_in_turn_it_ends_in_the_same_state(cluster: EtcdCluster, store: Etcd) -> None:
    writes = 0
    while True:
        writes += 1
        begin_anew(store)
        ended = run_killed(cluster, writes)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        with pytest.raises(LockHeld, match="killed on here"):
            killed_operator.operate(store, "next")
        # Instead of waiting until the lease has run out.
        lock.break_(store)
        assert killed_operator.operate(store, "next").state is State.DONE
        assert killed_operator.releases(store) == dict.fromkeys(killed_operator.NAMES, "0.1.3"), writes
        assert set(states(store).values()) == {"active"}, writes
        assert OF_ROLLOUTS.present(store) is None, writes
        assert store.get(lock.KEY) is None
    # Begin, two pulls, and of each machine: the begin and the end of four steps; the last write puts the record aside.
    assert writes > 12
