"""A provider of somebody's own (tests/support/pool.py) in all that a machine goes through, by the tasks themselves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from etcd_cluster import EtcdCluster
from installing_machine import InstallingMachine, installing_machine
from invoke.config import Config
from invoke.context import Context
from member_lab import ETCD, RELEASE, Lab
from ssh_server import requires_namespaces, requires_sshd
from telling_machines import telling_lab

from argosy import inventory
from argosy.config.loading import Settings
from argosy.config.providers import IMPLEMENTATIONS
from argosy.errors import ConfigError
from argosy.providers import register
from argosy.registry import access
from argosy.tasking import settings_of
from argosy.tasks import cluster, membership

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
TASKS = """\
from argosy import ns
from argosy.providers import register

register("pool", "pool:Pool")
"""
INVOKE = """\
clusters: {{here: {{provider: {provider}, machines: {{mine: {{address: 10.0.0.9}}}}}}}}
"""
# systemd runs and Docker answers; no unit is enabled, and what systemctl is told is written down.
BARE_METAL = """
mount -t tmpfs none /run
mkdir -p /run/sshd /run/systemd/system
mount --bind "$0/local" /usr/local/bin
"""
SYSTEMCTL = """\
echo "$*" >>{folder}/told
case $* in *is-enabled*) exit 1 ;; esac
"""

NAMES = ["air-01", "air-02", "air-03"]


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    register("pool", "pool:Pool")
    # The machines of the tests are on loopback.
    monkeypatch.setattr(inventory, "check_address", lambda word: word)
    yield
    del IMPLEMENTATIONS["pool"]


@pytest.fixture
def releases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that has a release."""
    monkeypatch.setattr(access, "current_release", lambda _settings, _version="": RELEASE)
    monkeypatch.setattr(access, "current_images", lambda _settings: {"etcd": ETCD})


def project(folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, *lines: str) -> Context:
    """Return what a task is given in a folder whose pool.txt holds `lines`, for a cluster reached as `settings` say."""
    (folder / "pool.txt").write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.chdir(folder)
    shared = ("ssh", "etcd", "discovery", "registry", "install")
    section = {name: getattr(settings, name).model_dump() for name in shared}
    section["registry"]["address"] = "10.0.0.9:5000"
    section |= {"provider": "pool", "swarm": {"enabled": False}}
    return Context(Config(overrides={"images": {"etcd": {"context": "etcd"}}, "clusters": {"test": section}}))


@pytest.mark.usefixtures("pool", "releases")
def test_its_names_files_and_units_are_in_the_cloud_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = EtcdCluster(tmp_path, tmp_path).settings()
    context = project(tmp_path, own, monkeypatch, "one 10.0.0.1", "two 10.0.0.2")
    cluster.cloud_config(context, ["one", "two"], json=True)
    paths = json.loads(capsys.readouterr().out)
    assert sorted(paths) == ["one", "two"]
    for name, path in paths.items():
        files = {file["path"]: file["content"] for file in yaml.safe_load(Path(path).read_text())["write_files"]}
        assert files["/etc/air/origin"] == f"{name} of the pool\n"
        assert "ExecStart=/bin/cat /etc/air/origin" in files["/etc/systemd/system/air-origin.service"]
    assert [machine.address for machine in inventory.load(settings_of(context))] == ["10.0.0.1", "10.0.0.2"]


@requires_sshd
@requires_namespaces
@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker, whose place the test's own takes")
@pytest.mark.usefixtures("pool", "releases")
def test_a_machine_that_is_up_is_set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "one"
    (folder / "local").mkdir(parents=True)
    (folder / "local/docker").symlink_to(folder / "docker")
    (folder / "docker").write_text("#!/bin/sh\necho 28.0\n")
    (folder / "docker").chmod(0o755)
    with installing_machine(folder, mounts=BARE_METAL) as machine:
        told = noting_systemctl(machine)
        context = project(folder / "project", machine.settings, monkeypatch, "one 127.0.0.1")
        machine.record("active", machine="one")
        cluster.setup(context, ["one"])
        etc = folder / "etc.all"
        assert (etc / "air" / "origin").read_text() == "one of the pool\n"
        assert "ExecStart=/bin/cat /etc/air/origin" in (etc / "systemd/system/air-origin.service").read_text()
        assert (etc / "air" / "secrets" / "ca.crt").exists()
        enabled = [line for line in told.read_text().splitlines() if line.startswith("enable ")]
        assert any("air-origin.service" in line for line in enabled)
        assert [machine.name for machine in inventory.load(settings_of(context))] == ["one"]


@requires_sshd
@requires_namespaces
@pytest.mark.usefixtures("pool")
def test_its_machines_tell_their_status(
    own_cluster: EtcdCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with telling_lab(own_cluster) as lab:
        lines = [f"{machine.name} {machine.address}" for machine in own_cluster.machines]
        context = project(own_cluster.folder, lab.settings(), monkeypatch, *lines)
        settings = settings_of(context)
        inventory.remember(settings, inventory.resolve(settings, NAMES))
        cluster.status(context, json=True)
        shown = json.loads(capsys.readouterr().out)
        assert {machine["name"]: machine["state"] for machine in shown["machines"]} == dict.fromkeys(NAMES, "active")


@pytest.mark.usefixtures("pool")
def test_a_machine_joins_by_its_name_and_is_struck_off_when_it_leaves(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path, programs, monkeypatch, 1)
    lines = ["air-01 127.0.8.1", "air-02 127.0.8.2", "air-03 127.0.8.3"]
    context = project(tmp_path, lab.settings, monkeypatch, *lines)
    try:
        lab.start()
        lab.add("air-02", "127.0.8.2").up = True
        membership.add_machine(context, "air-01", "air-02", install=True)
        assert lab.voters() == ["air-01", "air-02"]
        assert lab.files["air-02"]["ETCD_NAME"] == "air-02"

        membership.remove_machine(context, "air-01", "air-02")
        assert lab.voters() == ["air-01"]
        assert lab.known() == ["air-01"]
        assert (tmp_path / "pool.txt").read_text().splitlines() == [lines[0], lines[2]]
        with pytest.raises(ConfigError, match="neither an IPv4 address nor a known machine"):
            membership.add_machine(context, "air-01", "air-02", install=True)
    finally:
        lab.cluster.stop()


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        ("pool", "providers.pool.file: pool.txt can't be read"),
        ("pol", "clusters.here.provider: no provider 'pol' (did you mean 'pool'?); known: static, vagrant, gce, pool"),
    ],
)
def test_a_project_registers_it_in_its_tasks(tmp_path: Path, provider: str, message: str) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    (tmp_path / "invoke.yaml").write_text(INVOKE.format(provider=provider))
    (tmp_path / "pool.py").write_text((ROOT / "tests/support/pool.py").read_text())
    done = inv(tmp_path, "cluster.status")
    assert (done.returncode, done.stderr.strip().partition(": No such")[0]) == (10, message)
    assert "cluster.status" in inv(tmp_path, "--list").stdout


def inv(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "lib")}
    argv = [sys.executable, "-m", "invoke", *words]
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def noting_systemctl(machine: InstallingMachine) -> Path:
    """Let no unit of the machine be enabled; return the file of what its systemctl is told."""
    systemctl = machine.folder / "systemctl"
    before, rest = systemctl.read_text().split("\n", 1)
    systemctl.write_text(f"{before}\n{SYSTEMCTL.format(folder=machine.folder)}{rest}")
    return machine.folder / "told"
