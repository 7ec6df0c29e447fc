"""Updates of scheduled services under a load of requests, on real engines, etcd, agents and routers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from etcd_cluster import EtcdCluster
from haproxy_server import requires_haproxy
from swarm_lab import requires_swarm_lab
from update_lab import UpdateLab, update_lab, version

from argosy import etcd
from argosy.update_record import State

pytest_plugins = ["etcd_fixtures"]
pytestmark = [pytest.mark.integration, requires_swarm_lab, requires_haproxy]


@pytest.fixture(scope="module")
def shared(cluster: EtcdCluster) -> Iterator[UpdateLab]:
    with (
        pytest.MonkeyPatch.context() as patch,
        etcd.connect(cluster.settings(), cluster.machines) as store,
        update_lab(cluster, store, patch) as made,
    ):
        yield made


@pytest.fixture
def lab(shared: UpdateLab) -> Iterator[UpdateLab]:
    yield shared
    shared.clear()


class TestToAGoodVersion:
    def test_no_request_is_lost(self, lab: UpdateLab) -> None:
        lab.submit(web=version(1))
        lab.until_served("1")
        with lab.load() as load:
            done = lab.update(web=version(2), canary="25%", soak_seconds=2)
        assert load.failures == []
        assert done is not None
        assert done.state is State.DONE
        assert load.answers["1"] > 50
        lab.until_served("2")
        assert lab.generations() == {2: 3}
        keys = lab.keys()
        assert sorted(key.partition("/")[0] for key in keys) == ["check", "hosts", "hosts", "hosts", "scheme"]
        assert lab.record().previous is not None
        started = time.monotonic()
        assert lab.update(web=version(2)) is None
        assert time.monotonic() - started < 1.5

    def test_tmp(self, lab: UpdateLab) -> None:
        lab.submit(web=version(1))
        lab.until_served("1")
        t0 = time.time()
        with lab.load() as load:
            try:
                lab.update(
                    lambda e: print(f"{time.time() - t0:7.2f} {e.subject}: {e.text}"),
                    web=version(2),
                    canary="25%",
                    soak_seconds=3,
                )
            except Exception as e:
                print(e)
            t0 = time.time()
            for bad in ("exit 1", "sleep 1000"):
                try:
                    lab.update(
                        lambda e: print(f"{time.time() - t0:7.2f} {e.subject}: {e.text}"),
                        web=version(
                            3,
                            command=["sh", "-c", "echo a; echo $VERSION is broken >&2; " + bad],
                            update={"deadline_seconds": 8},
                        ),
                    )
                except Exception as e:
                    print(e)
            lab.rollback()
            for l in lab.lines:
                print(l)
        print(load)
