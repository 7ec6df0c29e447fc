"""Which release a cluster wants and runs, on a real etcd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from etcd_cluster import EtcdCluster

from argosy import inventory
from argosy.cluster.release import RELEASE, Release
from argosy.config.loading import Settings
from argosy.errors import EtcdError, Refused
from argosy.etcd import Etcd
from argosy.images.versions import Stored, Version
from argosy.registry import access
from argosy.releases.listing import release
from argosy.releases.usage import Usage, running_release, usage
from argosy.schema import machine_key

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration
BEFORE = Release("0.1.3", "r:5000/air/installer@sha256:a")


@pytest.fixture
def settings(cluster: EtcdCluster, store: Etcd) -> Iterator[Settings]:
    made = cluster.settings()
    inventory.remember(made, cluster.machines)
    for name, version in (("air-01", "0.1.3"), ("air-02", "0.1.3"), ("air-03", "0.1.4")):
        store.put(machine_key(name), f'{{"release": "{version}", "state": "active"}}')
    store.put(RELEASE, BEFORE.text())
    yield made
    store.delete(RELEASE)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the registry has of every version has this digest."""

    def found(_settings: Settings, version: str) -> Stored:
        return Stored("installer", Version(*map(int, version.split("."))), "sha256:a")

    monkeypatch.setattr(access, "release_in_registry", found)


def test_tells_the_wanted_one_and_who_has_which(settings: Settings) -> None:
    assert usage(settings) == Usage(BEFORE, {"0.1.3": ("air-01", "air-02"), "0.1.4": ("air-03",)})


def test_a_cluster_without_machines_uses_none(cluster: EtcdCluster) -> None:
    other = cluster.settings().model_copy(update={"cluster": "other"})
    assert usage(other) == Usage()


@pytest.mark.usefixtures("registry")
def test_the_one_that_runs_is_found_by_its_bytes(settings: Settings, store: Etcd) -> None:
    assert running_release(settings).version == Version(0, 1, 3)
    store.put(RELEASE, Release("0.1.3", "r:5000/air/installer@sha256:b").text())
    with pytest.raises(Refused, match=r"runs release 0.1.3 as sha256:b, its registry has sha256:a there"):
        running_release(settings)


@pytest.mark.usefixtures("registry")
def test_without_a_wanted_one_machines_that_differ_tell_nothing(settings: Settings, store: Etcd) -> None:
    store.delete(RELEASE)
    with pytest.raises(Refused, match=r"can't be told \(its machines have 0.1.3, 0.1.4, no rollout has ended\)"):
        running_release(settings)
    store.put(machine_key("air-03"), '{"release": "0.1.3", "state": "active"}')
    assert running_release(settings).version == Version(0, 1, 3)


@pytest.mark.usefixtures("registry")
def test_an_etcd_that_can_t_be_asked_is_told_and_not_taken_for_a_no(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(_settings: Settings) -> Usage:
        raise EtcdError("no member answers")

    monkeypatch.setattr("argosy.releases.listing.usage", refusing)
    said: list[str] = []
    row = release(settings, "0.1.3", lambda subject, message: said.append(f"{subject}: {message}"))
    assert (row.wanted, row.machines) == (None, None)
    assert said == ["test: which release is wanted, and which machines have one, can't be told: no member answers"]
