"""What a rollout looks at before it changes anything, on a real etcd, with stand-ins for the machines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from etcd_cluster import EtcdCluster
from rollout_lab import NAMES, NEW, OLD, Lab, put_state

from argosy.cluster.change import State
from argosy.cluster.lock import ClusterLock, held
from argosy.cluster.release import RELEASE, Release
from argosy.errors import Refused
from argosy.etcd import Etcd
from argosy.rollouts.plan import Findings, Found, begin_rollout
from argosy.rollouts.record import Options
from argosy.schema import machine_key, router_key

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration


@pytest.fixture
def lock(store: Etcd) -> Iterator[ClusterLock]:
    with held(store, "a test") as taken:
        yield taken


@pytest.fixture
def lab(cluster: EtcdCluster, store: Etcd, lock: ClusterLock) -> Lab:
    return Lab(cluster, store, lock)


class TestThePreflight:
    def test_finds_what_each_machine_has(self, lab: Lab) -> None:
        seen = lab.preflight.inspect(NAMES, NEW)
        assert seen.found == tuple(Found(name, OLD) for name in NAMES)
        assert lab.preflight.names() == list(NAMES)

    def test_names_all_that_stands_against_it_on_all_machines(self, lab: Lab) -> None:
        first, second, third = lab.hosts
        first.up = False
        second.free, second.offset = 90, timedelta(hours=1)
        third.registry = "404"
        with pytest.raises(Refused) as refused:
            lab.preflight.inspect(NAMES, NEW)
        for words in (
            "nothing was changed",
            "air-01: no ssh connection",
            "air-02: 90 MB are free where Docker keeps its images, 1000 are needed; 90 MB are free on /, 200 are ",
            "its clock is 3600 s ahead of this host's",
            "air-03: r:5000 does not have release 0.1.3: inv registry.push",
        ):
            assert words in str(refused.value)

    def test_the_way_back_needs_no_registry(self, lab: Lab) -> None:
        lab.hosts["air-01"].registry = "000"
        lab.preflight.inspect(["air-01"], None)
        with pytest.raises(Refused, match=r"can't reach the registry r:5000"):
            lab.preflight.inspect(["air-01"], NEW)

    def test_a_machine_that_can_t_ask_the_registry_is_no_registry_out_of_reach(self, lab: Lab) -> None:
        lab.hosts["air-02"].registry, lab.hosts["air-02"].lacks = "", "curl"
        with pytest.raises(Refused, match=r"air-02: it lacks curl") as refused:
            lab.preflight.inspect(NAMES, NEW)
        assert "registry" not in str(refused.value)

    def test_a_machine_that_this_host_does_not_know_is_no_machine_to_forget(self, lab: Lab) -> None:
        put_state(lab.store, "air-09", "active")
        with pytest.raises(Refused, match="air-09: it belongs to the cluster, and this host can't find it"):
            lab.preflight.inspect(NAMES, NEW)

    def test_one_that_was_never_installed_is_none_of_the_cluster_s(self, lab: Lab) -> None:
        lab.store.delete(machine_key("air-02"))
        assert lab.preflight.names() == ["air-01", "air-03"]

    def test_the_last_good_release_is_the_way_back(self, lab: Lab) -> None:
        lab.hosts["air-01"].release, lab.hosts["air-01"].state = NEW, "failed"
        lab.hosts["air-02"].release, lab.hosts["air-02"].state = NEW, "failed"
        put_state(lab.store, "air-02", "draining", "0.0.1")
        put_state(lab.store, "air-03", "draining")
        found = lab.preflight.inspect(NAMES, NEW).found
        trouble = "the install of release 0.1.3 has not succeeded"
        assert found[0] == Found("air-01", Release("0.1.2", "r:5000/air/installer/test@sha256:0.1.2"), trouble)
        assert found[1] == Found("air-02", Release("0.0.1"), trouble)
        assert found[2] == Found("air-03", OLD, "it is draining")
        assert any("no way back to it" in line for line in lab.lines())

    def test_drifted_units_and_settings_are_told(self, cluster: EtcdCluster, store: Etcd) -> None:
        lab = Lab(cluster, store, None, settings={"database/host": "10.0.0.5", "a": 1, "b": True})
        store.put("/settings/database/host", "elsewhere")
        store.put("/settings/a", "1")
        lab.hosts["air-02"].drifted = ["air-web.service"]
        lab.hosts["air-03"].writes_units_down = False
        lab.preflight.inspect(NAMES, NEW)
        assert lab.hosts["air-02"].asked == ["look at the machine"]
        assert sorted(lab.lines()) == [
            "air-02: these units are not as its release has them, and will be again: air-web.service",
            "air-03: its installer has not written down what its units must be: they are not compared",
            "cluster: settings in etcd that are not as configured, and stay so: database/host",
        ]
        secret = lab.settings.secrets_path / "machine" / "settings.json"
        secret.parent.mkdir(exist_ok=True)
        secret.write_text('{"database/host": "elsewhere"}')
        lab.events.clear()
        lab.preflight.inspect(["air-01"], NEW)
        secret.unlink()
        assert lab.lines() == []


class TestAReleaseThatNamesNoCluster:
    """Of before releases named theirs: it may be another's."""

    BEFORE = Release("0.1.1", "r:5000/air/installer@sha256:before")

    def test_is_refused_when_nothing_tells_that_it_was_this_cluster_s(self, lab: Lab) -> None:
        with pytest.raises(Refused, match=r"names no cluster, and nothing tells that test has ever run it"):
            lab.preflight.inspect(NAMES, self.BEFORE)

    def test_is_taken_when_a_machine_has_it(self, lab: Lab) -> None:
        lab.hosts["air-02"].release = self.BEFORE
        assert lab.preflight.inspect(NAMES, self.BEFORE).found[1] == Found("air-02", self.BEFORE)

    def test_is_taken_when_it_is_the_wanted_one(self, lab: Lab) -> None:
        lab.store.put(RELEASE, self.BEFORE.text())
        lab.preflight.inspect(NAMES, self.BEFORE)
        lab.store.delete(RELEASE)

    @pytest.mark.parametrize(
        ("wanted", "origin", "state", "taken"),
        [
            (NEW, BEFORE, State.DONE, True),
            (BEFORE, OLD, State.DONE, True),
            (BEFORE, OLD, State.ABORTED, False),
            (NEW, OLD, State.DONE, False),
        ],
    )
    def test_is_taken_when_a_rollout_left_it_or_brought_it_everywhere(
        self, lab: Lab, wanted: Release, origin: Release, state: State, taken: bool
    ) -> None:
        now = datetime(2026, 1, 31, tzinfo=UTC)
        found = Findings((Found("air-01", origin),))
        begun = begin_rollout("1", wanted, found, Options(), by="me", now=now, total=3, whole=True)
        lab.store.put("/cluster/rollouts/1", replace(begun, state=state).text())
        try:
            if taken:
                lab.preflight.inspect(NAMES, self.BEFORE)
            else:
                with pytest.raises(Refused):
                    lab.preflight.inspect(NAMES, self.BEFORE)
        finally:
            lab.store.delete("/cluster/rollouts/1")

    def test_is_taken_by_its_bytes_and_not_by_its_version(self, lab: Lab) -> None:
        lab.hosts["air-02"].release = Release("0.1.1", "r:5000/air/installer@sha256:other")
        with pytest.raises(Refused, match="names no cluster"):
            lab.preflight.inspect(NAMES, self.BEFORE)


class TestTroubles:
    def test_there_are_none(self, lab: Lab) -> None:
        assert lab.preflight.troubles() == {}
        for name in NAMES:
            lab.store.put(router_key(name), "1")
        assert lab.preflight.troubles() == {}

    def test_who_drains_or_has_no_router_has_one(self, lab: Lab) -> None:
        put_state(lab.store, "air-01", "draining")
        lab.store.put(router_key("air-03"), "1")
        assert lab.preflight.troubles() == {"air-01": "it is draining", "air-02": "its router is gone"}
