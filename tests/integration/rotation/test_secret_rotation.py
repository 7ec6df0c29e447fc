"""Whole rotations, as the task does them: machines by ssh, each with an /etc and a /run of its own, and a real etcd.

What is a stand-in: systemctl, which restarts the member's process; docker, which knows no container; the status.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from etcd_cluster import EtcdCluster
from ssh_server import SshServer, free_port, requires_namespaces, requires_sshd

from argosy import etcd, inventory
from argosy.cluster.history import read_history
from argosy.cluster.lock import held
from argosy.cluster.opening import OpenCluster
from argosy.config.loading import Settings
from argosy.errors import LockHeld, QuorumAtRisk, Refused, Unhealthy
from argosy.model import Machine
from argosy.pki import authority
from argosy.rotation import provisioning_host, running
from argosy.rotation import status as secret_status
from argosy.rotation.machines import RemoteMachines
from argosy.rotation.plan import Act, Action, Phase, RotationRequest
from argosy.secrets import syncing
from argosy.ssh import known_hosts
from argosy.ssh.host import Hosts

pytest_plugins = ["etcd_fixtures"]
pytestmark = [pytest.mark.integration, pytest.mark.slow(2), requires_sshd, requires_namespaces]

PLACE = """
set -eu
mkdir -p "$0/etc"
[ -e "$0/etc/passwd" ] || cp -a /etc/. "$0/etc"
docker=$(command -v docker || true)
mount --bind "$0/etc" /etc
mount --bind "$0/opt" /opt
mount --bind "$0/systemctl" /usr/bin/systemctl
[ -z "$docker" ] || mount --bind "$0/docker" "$(readlink -f "$docker")"
mount -t tmpfs none /run
mkdir /run/sshd
exec "$@"
"""
SYSTEMCTL = """#!/bin/sh
echo "$1 $2" >>{folder}/calls
[ "$1 $2" = "restart air-etcd.service" ] || exit 0
: >{folder}/restart
tries=0
while [ -e {folder}/restart ]; do tries=$((tries + 1)); [ $tries -lt 300 ] || exit 1; sleep 0.05; done
"""
SERVICES = {"web": {"image": "web", "secrets": ["token"]}, "idle": {"image": "web"}}


class Killed(BaseException):
    """The operator's process ends here."""


class Cluster(EtcdCluster):
    def held(self, machine: Machine) -> Path:
        return self.folder / machine.name / "etc" / "air" / "secrets"

    def files(self, machine: Machine) -> dict[str, Path]:
        names = ("ca.crt", *(f"etcd-{kind}.{end}" for kind in ("server", "peer") for end in ("crt", "key")))
        return {name: self.held(machine) / name for name in names}


class Lab:
    def __init__(self, cluster: Cluster, stack: ExitStack) -> None:
        self.cluster, self.machines = cluster, cluster.machines
        self.port = free_port("127.0.8.1")
        self.servers = {machine.name: self._serve(machine) for machine in self.machines}
        for server in self.servers.values():
            stack.callback(server.stop)
        self.reported: list[str] = []
        self.config = self.settings()
        inventory.save(self.config, self.machines)
        self.ended = threading.Event()
        thread = threading.Thread(target=self._restart_members, daemon=True)
        with OpenCluster(self.config, machines=self.machines) as opened:
            syncing.upload(opened, self.machines, syncing.refuse_taking)
        cluster.start()
        cluster.wait_until_healthy()
        thread.start()
        stack.callback(cluster.stop)
        stack.callback(thread.join)
        stack.callback(self.ended.set)

    def _serve(self, machine: Machine) -> SshServer:
        folder = self.cluster.folder / machine.name
        (folder / "opt" / "air" / "bin").mkdir(parents=True)
        for name, text in (("systemctl", SYSTEMCTL.format(folder=folder)), ("docker", "#!/bin/sh\nexit 1\n")):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        wrapper = ["unshare", "-m", "sh", "-c", PLACE, str(folder)]
        server = SshServer(folder / "sshd", [machine.address], port=self.port, wrapper=wrapper)
        server.prepare()
        server.start()
        self.says(machine.name)
        return server

    def says(self, name: str, check: str = "passing") -> None:
        service = {"name": "web", "unit": "active", "check": check, "reason": "" if check == "passing" else "no"}
        report = {"state": "active", "release": "0.1.3", "services": [service]}
        program = self.cluster.folder / name / "opt" / "air" / "bin" / "air"
        program.write_text(f"#!/bin/sh\necho '{json.dumps(report)}'\n")
        program.chmod(0o755)

    def settings(self, **changes: Any) -> Settings:
        first = self.servers["air-01"]
        ssh = {"user": "root", "port": self.port, "key": str(first.key), "connect_attempts": 1}
        etcd_section = {"client_port": self.cluster.client_port, "timeout_seconds": 3}
        document: dict[str, Any] = {
            "ssh": ssh,
            "etcd": etcd_section,
            "registry": {"address": "10.0.0.5:5000"},
            "secrets": {"token": {"generate_bytes": 8}},
            "images": {"web": {"context": "web"}},
            "services": SERVICES,
            "rollout": {"check_seconds": 20},
        }
        settings = self.cluster.settings(**document | changes)
        settings.state_path.mkdir(parents=True, exist_ok=True)
        for server in self.servers.values():
            shutil.copy(f"{first.key}.pub", server.folder / "authorized_keys")
            host_key = (server.folder / "host_key.pub").read_text()
            known_hosts.pin(settings.state_path / "known_hosts", server.addresses[0], self.port, host_key)
        return settings

    def _restart_members(self) -> None:
        while not self.ended.wait(0.02):
            for machine in self.machines:
                asked = self.cluster.folder / machine.name / "restart"
                if asked.exists():
                    process = self.cluster.processes.pop(machine.name, None)
                    if process:
                        process.terminate()
                        process.wait(timeout=20)
                    self.cluster.start(machine.name, state="existing")
                    asked.unlink()

    def calls(self) -> dict[str, list[str]]:
        paths = {machine.name: self.cluster.folder / machine.name / "calls" for machine in self.machines}
        calls = {name: path.read_text().splitlines() if path.exists() else [] for name, path in paths.items()}
        return {name: [line for line in lines if not line.startswith("cat ")] for name, lines in calls.items()}

    def held(self, name: str, file: str) -> bytes:
        return (self.cluster.folder / name / "etc" / "air" / "secrets" / file).read_bytes()

    def rotate(self, request: RotationRequest, kill: str = "", **changes: Any) -> None:
        """Rotate; `kill`: what is reported when the operator is killed."""
        self.reported.clear()

        def report(subject: str, message: str) -> None:
            self.reported.append(f"{subject}: {message}")
            if kill and self.reported[-1].startswith(kill):
                raise Killed

        running.rotate(self.settings(**changes), request, report)

    def status(self) -> list[str]:
        with Hosts(self.config, self.machines) as hosts:
            return secret_status.observe(hosts, self.config, self.machines).problems()


@pytest.fixture
def lab(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    # The registry and the engine of this host are none of these machines' business.
    monkeypatch.setattr(provisioning_host, "refresh", lambda *_: None)
    with ExitStack() as stack:
        yield Lab(Cluster(tmp_path, programs), stack)


NAMES = ["air-01", "air-02", "air-03"]
RESTART_ETCD, RESTART_WEB = "restart air-etcd.service", "restart air-web.service"


def test_another_ca_begun_by_one_who_is_killed_twice(lab: Lab) -> None:
    path = lab.config.secrets_path
    (old,) = authority.authorities(path)
    planned = [str(step) for step in running.plan(lab.config, RotationRequest(authority=True))]
    assert sum("restart etcd" in step for step in planned) == 6
    with pytest.raises(Killed):
        lab.rotate(RotationRequest(authority=True), kill="air-02: restart etcd")
    assert len(authority.authorities(path)) == 2
    assert "rotation" in lab.status()[-1]
    with pytest.raises(Refused, match=r"inv secrets\.rotate --ca resumes it"):
        lab.rotate(RotationRequest())
    with pytest.raises(Killed):
        lab.rotate(RotationRequest(authority=True), kill="air-03: upload etcd-client.crt")
    record = provisioning_host.read_record(lab.config)
    assert record is not None
    assert record.phase is Phase.ISSUE
    lab.rotate(RotationRequest(authority=True))
    (new,) = authority.authorities(path)
    assert new != old
    assert lab.status() == []
    assert lab.calls() == {name: [RESTART_ETCD] * 2 for name in NAMES}
    for name in NAMES:
        assert lab.held(name, "ca.crt") == authority.pem(new)
    with etcd.connect(lab.config, lab.machines) as store:
        assert [entry.outcome for entry in read_history(store)] == ["done"] * 3
        assert all(member.healthy for member in store.members())
    assert running.plan(lab.config, RotationRequest()) == []


def test_a_secret_made_anew_goes_from_machine_to_machine(lab: Lab) -> None:
    old = lab.held("air-01", "token")
    with pytest.raises(Killed):
        lab.rotate(RotationRequest(only=("token",)), kill="air-02: upload token")
    made = (lab.config.secrets_path / "token").read_bytes()
    assert [lab.held(name, "token") for name in NAMES] == [made, old, old]
    lab.rotate(RotationRequest(only=("token",)))
    assert (lab.config.secrets_path / "token").read_bytes() == made
    assert lab.calls() == {name: [RESTART_WEB] for name in NAMES}
    assert provisioning_host.read_record(lab.config) is None
    lab.rotate(RotationRequest())
    assert lab.calls() == {name: [RESTART_WEB] for name in NAMES}


def test_a_machine_that_does_not_become_well_stops_it_and_others_are_untouched(lab: Lab) -> None:
    old = lab.held("air-01", "token")
    lab.says("air-01", check="failing")
    with pytest.raises(Unhealthy, match=r"not healthy after 1 s: air-01: web: its check fails: no"):
        lab.rotate(RotationRequest(only=("token",)), rollout={"check_seconds": 1})
    assert [lab.held(name, "token") == old for name in NAMES] == [False, True, True]
    lab.says("air-01")
    lab.rotate(RotationRequest())
    assert lab.calls() == {name: [RESTART_WEB] for name in NAMES}


def _with_lock(lab: Lab) -> None:
    with etcd.connect(lab.config, lab.machines) as store, held(store, "cluster.rolling-upgrade"):
        lab.rotate(RotationRequest(authority=True))


def _unwell(lab: Lab) -> None:
    lab.says("air-02", check="failing")
    lab.rotate(RotationRequest(authority=True))


@pytest.mark.parametrize(("attempt", "refusal"), [(_with_lock, LockHeld), (_unwell, Refused)], ids=["locked", "unwell"])
def test_what_may_not_begin_changes_nothing(lab: Lab, attempt: Callable[[Lab], None], refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        attempt(lab)
    assert len(authority.authorities(lab.config.secrets_path)) == 1
    assert provisioning_host.read_record(lab.config) is None
    assert lab.calls() == {name: [] for name in NAMES}


def test_a_member_that_is_down_comes_back_before_another_is_restarted(lab: Lab) -> None:
    with pytest.raises(Killed):
        lab.rotate(RotationRequest(authority=True), kill="air-01: upload")
    lab.cluster.kill("air-03")
    lab.rotate(RotationRequest(authority=True))
    restarted = [line.partition(":")[0] for line in lab.reported if "restart etcd" in line]
    assert restarted == ["air-03", "air-01", "air-02", *NAMES]
    assert lab.status() == []


def test_no_member_is_restarted_while_another_is_gone(lab: Lab) -> None:
    with pytest.raises(Killed):
        lab.rotate(RotationRequest(authority=True), kill="air-02: upload")
    before = lab.calls()
    lab.cluster.kill("air-01")
    # Nothing is left to do on the first machine, so nothing there brings its member back.
    with pytest.raises(Unhealthy, match=r"air-01: its etcd member"):
        lab.rotate(RotationRequest(authority=True), rollout={"check_seconds": 1})
    assert lab.calls() == before
    with OpenCluster(lab.config, machines=lab.machines) as cluster:
        machines = RemoteMachines(cluster, {})
        with pytest.raises(QuorumAtRisk, match=r"2 of 3 members are healthy"):
            machines.do("air-02", Action(Act.RESTART_ETCD))
    assert lab.calls() == before
