"""An operator of `service.update` that is killed after each write of its record in turn: whoever comes next ends in the
same state, and no request is lost on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import killed_updater
import pytest
from etcd_cluster import EtcdCluster
from haproxy_server import requires_haproxy
from swarm_lab import requires_swarm_lab
from update_lab import UpdateLab, update_lab, version

from argosy import etcd
from argosy.cluster import lock
from argosy.errors import LockHeld, TakenBack
from argosy.services.updates.begin import UpdateRequest
from argosy.services.updates.journal import of_updates

pytest_plugins = ["etcd_fixtures"]
pytestmark = [pytest.mark.integration, pytest.mark.slow(4), requires_swarm_lab, requires_haproxy]


@pytest.fixture(scope="module")
def shared(cluster: EtcdCluster) -> Iterator[UpdateLab]:
    with (
        pytest.MonkeyPatch.context() as patch,
        etcd.connect(cluster.settings(), cluster.machines) as store,
        update_lab(cluster, store, patch) as made,
    ):
        made.submit(web=version(1))
        made.until_served("1")
        yield made


def run_killed(lab: UpdateLab, cluster: EtcdCluster, writes: int, definition: dict[str, Any]) -> int:
    program = Path(killed_updater.__file__)
    docker = lab.swarms.nodes["air-01"].folder / "docker.sock"
    words = [sys.executable, program, cluster.folder, cluster.client_port, docker, writes, json.dumps(definition)]
    done = subprocess.run(list(map(str, words)), cwd=program.parent, check=False, capture_output=True, text=True)
    assert done.returncode in (-signal.SIGKILL, 0) or "TakenBack" in done.stderr, done.stderr
    return done.returncode


def check_whole(lab: UpdateLab, text: str, writes: int) -> None:
    lab.until_served(text)
    assert lab.generations() == {lab.record().generation: 3}, writes
    assert sorted(key.partition("/")[0] for key in lab.routes()) == ["check", *["hosts"] * 3, "scheme"], writes
    assert of_updates("web").present(lab.work.store) is None, writes
    assert lab.work.store.get(lock.KEY) is None, writes


def test_killed_at_each_step_in_turn_it_ends_in_the_same_state(shared: UpdateLab, cluster: EtcdCluster) -> None:
    lab, writes = shared, 0
    with lab.load(rate=30) as load:
        while True:
            writes += 1
            wanted = version(writes + 1)
            ended = run_killed(lab, cluster, writes, wanted)
            if ended == 0:
                break
            with pytest.raises(LockHeld):
                lab.update(web=wanted)
            # Instead of waiting until the lease has run out.
            lock.break_(lab.work.store)
            # The same command, or the same without saying what.
            lab.update(web=wanted, named=bool(writes % 2))
            check_whole(lab, str(writes + 1), writes)
    assert load.failures == []
    # Begin, the end of seven steps, and the record put aside.
    assert writes == 1 + 7 + 1 + 1


def test_so_does_one_that_goes_back(shared: UpdateLab, cluster: EtcdCluster) -> None:
    lab, writes = shared, 0
    before = lab.record()
    served = before.definition.env["VERSION"]
    broken = version("broken", command=["sh", "-c", "exit 1"], update={"deadline_seconds": 20})
    with lab.load(rate=30) as load:
        while True:
            writes += 1
            ended = run_killed(lab, cluster, writes, broken)
            if ended != -signal.SIGKILL:
                break
            lock.break_(lab.work.store)
            if of_updates("web").present(lab.work.store) is None:
                continue
            if writes % 2:
                with pytest.raises(TakenBack):
                    lab.update(web=broken)
            else:
                lab.run(UpdateRequest("web", rollback=True))
            check_whole(lab, served, writes)
    assert load.failures == []
    assert lab.record() == before
    # Begin, the failure, the new ones removed, and the record put aside.
    assert writes == 4 + 1
