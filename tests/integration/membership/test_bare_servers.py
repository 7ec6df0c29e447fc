"""`cluster.setup` of a server that is bare: a real sshd, on which Docker, apt-get and systemd are the test's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from installing_machine import InstallingMachine, installing_machine
from invoke.config import Config
from invoke.context import Context
from member_lab import ETCD, RELEASE
from ssh_server import free_port, requires_namespaces, requires_sshd

from argosy import inventory
from argosy.cluster.opening import OpenCluster
from argosy.config.loading import load
from argosy.errors import CommandFailed, HostsFailed, Refused, Unhealthy
from argosy.membership import clearing
from argosy.model import Machine
from argosy.registry import access
from argosy.rendering.service_unit import marker
from argosy.tasks import cluster

pytestmark = [
    pytest.mark.integration,
    requires_sshd,
    requires_namespaces,
    pytest.mark.skipif(shutil.which("docker") is None, reason="no docker, whose place the test's own takes"),
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get, whose place the test's own takes"),
]

BARE = """
mount -t tmpfs none /run
mkdir -p /run/sshd /run/systemd/system
mount --bind "$0/local" /usr/local/bin
for name in docker apt-get dpkg; do
  for path in $(which -a $name | xargs -n 1 readlink -f | sort -u); do mount --bind "$0/$name" "$path"; done
done
"""
APT = """\
#!/bin/sh
echo "$*" >>{folder}/told
case $* in *install*) chmod 755 {folder}/docker ;; esac
"""
SYSTEMCTL = """\
echo "$*" >>{folder}/told
case $* in
    *is-enabled*) exit 1 ;;
    "try-restart docker.service") [ ! -e {folder}/fail ] || exit 1 ;;
    "cat docker.service") [ -x {folder}/docker ]; exit ;;
    *"restart --no-block air-secrets.service" | "restart --no-block air-installer.service")
        release=$(cat /etc/air/release.env /var/lib/air/release.env 2>/dev/null |
            sed -n 's/^RELEASE_VERSION=//p' | tail -n 1)
        mkdir -p /var/lib/air
        printf '{{"state": "%s", "release": "%s", "seconds": 1, "failed": [{{"service": "", "reason": "no"}}]}}' \\
            "$(cat {folder}/outcome)" "$release" >/var/lib/air/install.json
        ;;
esac
"""
NEWER = replace(RELEASE, version="0.1.4", digest="sha256:" + "4" * 64)


class Bare:
    """A server without Docker. `outcome`: how an install that begins now ends."""

    def __init__(self, folder: Path, machine: InstallingMachine, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.machine, self.patch = folder, machine, patch
        self.etc = folder / "etc.all"
        self.before = self.all()
        self.releases(RELEASE)
        self.outcome("active")

    def releases(self, newest: Any) -> None:
        self.patch.setattr(access, "current_release", lambda _settings, _version="": newest)
        self.patch.setattr(access, "current_images", lambda _settings: {"etcd": ETCD})

    def outcome(self, state: str) -> None:
        (self.folder / "outcome").write_text(state)

    def all(self) -> dict[str, tuple[int, bytes]]:
        """Return every file and folder that is the server's own, with its mode, but for what its owner has in air/."""
        places = (self.etc, *(self.folder / name for name in ("lib", "opt", "local")))
        found = {path for place in places for path in place.rglob("*") if not path.is_symlink()}
        return {
            str(path.relative_to(self.folder)): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
            for path in found
        }

    def clear(self, *volumes: str, force: bool = False) -> list[str]:
        """Leave the server as `cluster.remove-machine` does; return what is told."""
        said: list[str] = []
        settings = load(self.context().config)
        machine = Machine("one", "127.0.0.1")
        with OpenCluster(settings, lambda name, line: said.append(f"{name}: {line}"), machines=[machine]) as opened:
            clearing.clear(opened, machine, volumes, force=force)
        return said

    @property
    def told(self) -> list[str]:
        path = self.folder / "told"
        return path.read_text().splitlines() if path.exists() else []

    def context(self, *lines: str) -> Context:
        settings = self.machine.settings
        self.patch.chdir(settings.root)
        section: dict[str, Any] = {"ssh": settings.ssh.model_dump(), "registry": {"address": "10.0.0.9:5000"}}
        # None of its ports is anybody's on this host, and nobody answers there.
        section["etcd"] = {"client_port": free_port(), "peer_port": free_port("127.0.0.2"), "timeout_seconds": 1}
        section |= {"swarm": {"enabled": False}, "discovery": {"enabled": False}, "install": {"deadline_seconds": 30}}
        section |= {"rollout": {"free_megabytes": 1}, "machine": {"swap_megabytes": 0}}
        section["machines"] = {"one": {"address": "127.0.0.1"}, "lost": {"address": "127.0.0.2", "ssh": {"port": 9}}}
        return Context(Config(overrides={"images": {"etcd": {"context": "etcd"}}, "clusters": {"test": section}}))

    def variable(self, name: str) -> str:
        lines = (self.etc / "air" / "release.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)[name]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bare]:
    # The servers of the tests are on loopback.
    monkeypatch.setattr(inventory, "check_address", lambda word: word)
    folder = tmp_path / "one"
    (folder / "local").mkdir(parents=True)
    (folder / "local/docker").symlink_to(folder / "docker")
    (folder / "docker").write_text("#!/bin/sh\necho 28.0\n")
    (folder / "docker").chmod(0o644)
    (folder / "apt-get").write_text(APT.format(folder=folder))
    (folder / "dpkg").write_text("#!/bin/sh\n")
    for name in ("apt-get", "dpkg"):
        (folder / name).chmod(0o755)
    with installing_machine(folder, mounts=BARE) as machine:
        systemctl = folder / "systemctl"
        first, rest = systemctl.read_text().split("\n", 1)
        systemctl.write_text(f"{first}\n{SYSTEMCTL.format(folder=folder)}{rest}")
        for name in ("etc.all", "lib", "opt"):
            shutil.rmtree(folder / name / "air")
        (folder / "etc.all" / "environment").write_text("HTTP_PROXY=http://proxy\nMACHINE_NAME=his\n")
        # This host's own may be there, with or without registries.
        shutil.rmtree(folder / "etc.all" / "docker", ignore_errors=True)
        (folder / "etc.all" / "docker").mkdir()
        (folder / "etc.all" / "docker" / "daemon.json").write_text('{"dns": ["10.0.0.53"], "mtu":  1400}')
        yield Bare(folder, machine, monkeypatch)


Run = Callable[..., str]


@pytest.fixture
def setup(bare: Bare, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*names: str, **flags: bool) -> str:
        try:
            cluster.setup(bare.context(), list(names), **flags)
        finally:
            told = capsys.readouterr()
        return told.out

    return run


def test_all_that_lacks_is_told_before_anything_is_done(bare: Bare, setup: Run) -> None:
    with pytest.raises(HostsFailed, match="lost"):
        setup("one", "lost", yes=True)
    with pytest.raises(Refused, match=r"Install that on one.*--yes"):
        setup("one")
    steps = setup("one", dry_run=True).splitlines()
    assert steps[0].startswith("one: install docker.io")
    assert "one: write /etc/air/machine.env (0644)" in steps
    assert steps[-1] == "one: wait for its install"
    found = json.loads(setup("one", dry_run=True, json=True))
    (machine,) = found["machines"]
    assert (machine["machine"], machine["packages"][0], machine["problems"]) == ("one", "docker.io", [])
    assert [f"{step['subject']}: {step['action']}" for step in found["steps"]] == steps

    assert not [line for line in bare.told if "install" in line.split() or line.startswith("enable")]
    assert not (bare.etc / "air").exists()
    assert not inventory.is_written(load(bare.context().config))


def test_a_bare_server_becomes_a_machine_and_a_second_run_installs_nothing(bare: Bare, setup: Run) -> None:
    done = json.loads(setup("one", yes=True, json=True))
    assert done["releases"] == {"one": "0.1.3"}
    assert [line for line in bare.told if "docker.io" in line]
    assert (bare.etc / "air" / "secrets" / "ca.crt").exists()
    before = len(bare.told)
    setup("one")
    assert not [line for line in bare.told[before:] if "install" in line.split() or "restart" in line]


def test_after_an_install_that_failed_the_newest_release_is_tried(bare: Bare, setup: Run) -> None:
    bare.outcome("failed")
    bare.machine.units("failed")
    with pytest.raises(Unhealthy, match=r"0\.1\.3"):
        setup("one", yes=True)
    # An upgrade, or a try before, has said what to install.
    (bare.folder / "lib" / "air" / "release.env").write_text("RELEASE_VERSION=0.1.3\n")
    with pytest.raises(Unhealthy, match=r"0\.1\.3"):
        setup("one", yes=True)

    bare.outcome("active")
    bare.releases(NEWER)
    assert "one: try its failed install again, with release 0.1.4" in setup("one", dry_run=True).splitlines()
    bare.machine.units("inactive")
    assert json.loads(setup("one", json=True))["releases"] == {"one": "0.1.4"}
    assert "restart --no-block air-installer.service" in bare.told


def test_a_machine_that_is_installed_keeps_its_release_and_its_etcd(bare: Bare, setup: Run) -> None:
    setup("one", yes=True)
    bare.releases(NEWER)
    bare.patch.setattr(access, "current_images", lambda _settings: {"etcd": replace(ETCD, digest=NEWER.digest)})
    assert json.loads(setup("one", json=True))["releases"] == {"one": "0.1.3"}
    assert bare.variable("RELEASE_VERSION") == "0.1.3"
    etcd_env = (bare.etc / "air" / "etcd.env").read_text()
    assert etcd_env.startswith("IMAGE=")
    assert f"@{ETCD.digest}\nETCD_NAME=one\n" in etcd_env


def test_a_machine_that_leaves_is_as_it_was_before(bare: Bare, setup: Run) -> None:
    setup("one", yes=True)
    daemon = json.loads((bare.etc / "docker/daemon.json").read_text())
    assert daemon["mtu"] == 1400
    assert daemon["log-driver"] == "json-file"
    assert "MACHINE_NAME=one" in (bare.etc / "environment").read_text()
    assert bare.all() != bare.before
    unit = bare.etc / "systemd/system/air-web.service"
    unit.write_text(f"{marker('air')}\n[Service]\n")
    for name in ("agent/x", "etcd/member/wal", "services/web.shell", "files/a/b"):
        path = bare.folder / "lib/air" / name
        path.parent.mkdir(parents=True)
        path.touch()

    before = len(bare.told)
    assert bare.clear() == []
    assert bare.all() == bare.before
    told = bare.told[before:]
    assert "try-restart docker.service" in told
    assert {"stop air-web.service", "stop air-secrets.path", "daemon-reload"} <= set(told)
    before = len(bare.told)
    assert bare.clear() == [], "again"
    assert bare.all() == bare.before
    assert "try-restart docker.service" not in bare.told[before:]
    # And once more from the start.
    setup("one", yes=True)
    bare.clear()
    assert bare.all() == bare.before


def test_what_is_not_ours_stays_and_is_told(bare: Bare, setup: Run) -> None:
    setup("one", yes=True)
    data = bare.folder / "lib/air/orders/data"
    data.parent.mkdir()
    data.write_text("precious")
    theirs = bare.etc / "systemd/system/air-conditioner.service"
    theirs.write_text("[Service]\n")
    assert bare.clear() == ["one: left there, since it is not ours: /var/lib/air/orders"]
    assert data.read_text() == "precious"
    assert theirs.exists()
    assert not (bare.etc / "air").exists()


def test_one_that_was_killed_on_the_way_is_cleared_by_the_next(bare: Bare, setup: Run) -> None:
    setup("one", yes=True)
    (bare.folder / "fail").touch()
    with pytest.raises(CommandFailed, match="restart Docker"):
        bare.clear()
    assert json.loads((bare.etc / "docker/daemon.json").read_text()) == {"dns": ["10.0.0.53"], "mtu": 1400}
    said = bare.clear(force=True)
    assert said[0].startswith("one: something of ours is left there: one: ")
    (bare.folder / "fail").unlink()
    before = len(bare.told)
    bare.clear()
    assert "try-restart docker.service" in bare.told[before:], "its file was as before already"
    assert bare.all() == bare.before
