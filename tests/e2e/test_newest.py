"""A short day on what comes next: Docker 28 that acts as 29, cgroup v2, on a host of its own that has them, too."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from found import check_machines
from lab import ROOT, START_SECONDS, Lab, make_project
from lanes import LANES, lane_of
from roots import Root, checkout

CHANGE_SECONDS = 300
MACHINES = ["rig-01", "rig-02"]
AS_29 = """\
[Service]
Environment=DOCKER_MIN_API_VERSION=1.44
Environment="DOCKER_OPTS=--feature containerd-snapshotter=true"
"""

pytestmark = [pytest.mark.e2e, pytest.mark.slow(4), pytest.mark.timeout(1200)]


@dataclass
class RootLab(Lab):
    """A lab in a root: whose machines are its engine's, and whose `inv` is its Python's."""

    place: Root | None = None

    @property
    def python(self) -> str:
        return str(ROOT / ".venv/bin/python")

    def argv(self, *words: str) -> list[str]:
        assert self.place
        return self.place.argv(super().argv(*words), str(self.root), COLUMNS="200")

    def on_host(self, *argv: str) -> str:
        assert self.place
        return self.place.run(argv).stdout


def two_services(document: dict[str, Any]) -> None:
    """Leave of the example what needs no database, on machines whose engines act as Docker 29 does."""
    for name in ("postgres", "backend"):
        del document["images"][name]
    del document["services"]["backend"], document["services"]["frontend"]["requires"]
    del document["secrets"], document["settings"]
    document["images"]["machine"] = {"context": "machine", "push": False, "on_demand": True}
    (section,) = document["clusters"].values()
    del section["settings"], section["local"]["dependencies"]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two machines, not started yet."""
    lane = LANES[lane_of("test_newest.py", os.environ)]
    folder = tmp_path_factory.mktemp("newest")
    made = make_project(folder, "rig", "newest", 62, lane.suite)
    shutil.copytree(ROOT / "images/machine", folder / "machine", symlinks=True)
    unit = folder / "machine/rootfs/etc/systemd/system/docker.service.d/20-as-29.conf"
    unit.write_text(AS_29)
    made.configure(two_services)
    with (
        checkout(lane.host, cgroup=lane.cgroup, binds=[folder]) as host,
        host.engine(containerd_store=True, minimum_api="1.44"),
    ):
        host.run(["scripts/bootstrap", "base"], str(ROOT), SUITE=lane.suite)
        yield RootLab(made.root, made.system, made.cluster, made.third, place=host)


def releases(lab: Lab) -> dict[str, str]:
    return {machine["name"]: machine["release"] for machine in lab.json("cluster.status")["machines"]}


def change(lab: Lab, path: str) -> None:
    """Let an image have another content, and so another version."""
    file = lab.root / path
    file.write_text(f"{file.read_text()}# another version\n")


@pytest.mark.journey("setup")
def test_two_machines_start(rig: Lab) -> None:
    started = rig.inv("local.start", "2", timeout=START_SECONDS)
    assert "vagrant is not installed: the Docker engine makes them" in started.stderr
    assert list(releases(rig)) == MACHINES
    info = rig.run(MACHINES[0], "docker info --format '{{.Driver}} {{.CgroupVersion}}'; docker version")
    assert info.splitlines()[0] == "overlayfs 2"
    assert "minimum version 1.44" in info
    check_machines(rig, MACHINES[0], "test_newest.py")


@pytest.mark.journey("rolling upgrade")
def test_a_new_version_comes_to_all_machines(rig: Lab) -> None:
    before = releases(rig)
    change(rig, "example/frontend/frontend/__main__.py")
    rig.inv("local.rolling-upgrade", timeout=CHANGE_SECONDS)
    after = releases(rig)
    assert len(set(after.values())) == 1
    assert set(after.values()) != set(before.values())


@pytest.mark.journey("service update")
def test_a_new_version_of_a_scheduled_service_comes(rig: Lab) -> None:
    before = rig.json("service.list", "web")[0]
    change(rig, "example/web/web/__main__.py")
    rig.inv("build.images", "registry.push", timeout=CHANGE_SECONDS)
    rig.inv("service.update", "web", "--yes", timeout=CHANGE_SECONDS)
    after = rig.json("service.list", "web")[0]
    assert (after["running"], after["registered"]) == (2, 2)
    assert after["version"] != before["version"]


@pytest.mark.journey("backup")
def test_what_etcd_holds_is_saved(rig: Lab) -> None:
    rig.inv("cluster.backup", str(rig.root / "monday.db"))
    assert (rig.root / "monday.db").stat().st_size > 0


def test_stop_leaves_nothing(rig: Lab) -> None:
    rig.inv("local.stop", "--all")
    assert rig.on_host("docker", "ps", "--all", "--quiet") == ""
