"""A CA is changed for another under a running etcd: real members with mutual TLS, a client that reads and writes on."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import pytest
import tenacity
from etcd_cluster import EtcdCluster

from argosy import atomic, etcd
from argosy.clock import SystemClock
from argosy.cluster.change import Finish
from argosy.cluster.history import Trail, read_history
from argosy.cluster.lock import held
from argosy.config.loading import Settings
from argosy.errors import EtcdError
from argosy.etcd import rpc
from argosy.etcd.client import Etcd
from argosy.etcd.quorum import Upgrade, cluster_of, plan_membership
from argosy.etcd.statuses import Endpoint
from argosy.model import Machine
from argosy.pki import authority
from argosy.report import silent
from argosy.rotation import provisioning_host
from argosy.rotation.plan import Act, Action, Enter, ObservedMachine, Phase, Record
from argosy.rotation.running import Effects, go_through
from argosy.secrets import upload

pytest_plugins = ["etcd_fixtures"]
pytestmark = pytest.mark.integration


class Lab(EtcdCluster):
    """Members that each have their files in a folder of their own, as machines do."""

    def held(self, machine: Machine) -> Path:
        return self.folder / "machines" / machine.name

    def config(self) -> Settings:
        return self.settings(registry={"address": "127.0.0.1:5000"})

    def bring(self, machine: Machine) -> None:
        upload.ensure_local(self.config(), [machine])
        folder = self.held(machine)
        for name, secret in upload.gather(self.config(), [machine], silent)[machine.name].items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            atomic.write_if_changed(folder / name, secret.reveal(), 0o600)

    def files(self, machine: Machine) -> dict[str, Path]:
        folder = self.held(machine)
        names = ("ca.crt", *(f"etcd-{kind}.{end}" for kind in ("server", "peer") for end in ("crt", "key")))
        return {name: folder / name for name in names}

    def restart(self, name: str) -> None:
        process = self.processes.pop(name)
        process.terminate()
        process.wait(timeout=30)
        self.start(name, state="existing")


class Members:
    """The driver's `Machines`, as processes."""

    def __init__(self, lab: Lab, store: Etcd, trusts: dict[str, str], deeds: list[tuple[str, Act]]) -> None:
        self.lab, self.store, self.trusts, self.deeds = lab, store, trusts, deeds
        self.authority = sha256(authority.authority_path(lab.config().secrets_path).read_bytes()).hexdigest()
        upload.ensure_local(lab.config(), lab.machines)

    def look(self) -> Sequence[ObservedMachine]:
        return [self.look_at(machine.name) for machine in self.lab.machines]

    def look_at(self, name: str) -> ObservedMachine:
        machine = self._machine(name)
        wanted = upload.gather(self.lab.config(), [machine], silent)[machine.name]
        folder = self.lab.held(machine)
        changes = tuple(key for key, secret in wanted.items() if (folder / key).read_bytes() != secret.reveal())
        return ObservedMachine(name, changes, trusts=self.trusts.get(name, ""), member=True)

    def do(self, name: str, action: Action) -> None:
        self.deeds.append((name, action.act))
        if action.act is Act.UPLOAD:
            self.lab.bring(self._machine(name))
            return
        assert action.act is Act.RESTART_ETCD
        cluster = cluster_of(self.lab.machines, self.store.members())
        plan_membership(cluster, Upgrade((name,)), 5)
        own = cluster.member(name)
        assert own is not None
        if own.leader:
            self.store.move_leader(next(voter.id for voter in cluster.voters if voter.healthy and voter.name != name))
        self.lab.restart(name)
        self.trusts[name] = sha256((self.lab.held(self._machine(name)) / "ca.crt").read_bytes()).hexdigest()

    def wait_until_well(self, names: Collection[str]) -> None:
        self.lab.wait_until_healthy()

    def _machine(self, name: str) -> Machine:
        return next(machine for machine in self.lab.machines if machine.name == name)


@pytest.fixture
def lab(programs: Path, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path, programs, size=3, timeout_seconds=5)
    for machine in made.machines:
        made.bring(machine)
    made.start()
    try:
        made.wait_until_healthy()
        yield made
    finally:
        made.stop()


class Client(threading.Thread):
    """Reads and writes as fast as ten times a second; like an agent, it connects anew when its certificates change."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(daemon=True)
        self.lab = lab
        self.ended = threading.Event()
        self.done, self.failures = 0, list[str]()
        self.machine = lab.machines[0]

    def credentials(self) -> tuple[bytes, ...]:
        folder = self.lab.held(self.machine)
        return tuple((folder / name).read_bytes() for name in ("ca.crt", "etcd-client.key", "etcd-client.crt"))

    def run(self) -> None:
        while not self.ended.is_set():
            known = self.credentials()
            endpoints = [
                Endpoint(
                    machine.name, f"{machine.address}:{self.lab.client_port}", machine.address, self.lab.client_port
                )
                for machine in self.lab.machines
            ]
            store = Etcd("test", endpoints, rpc.grpc.ssl_channel_credentials(*known), 5.0)
            while not self.ended.wait(0.1) and self.credentials() == known:
                try:
                    store.put("/steady", str(self.done + 1))
                    entry = store.get("/steady")
                    assert entry is not None
                    assert entry.value == str(self.done + 1)
                    self.done += 1
                except (EtcdError, AssertionError) as error:
                    self.failures.append(str(error))
            store.close()


def rotate(lab: Lab, record: Record, deeds: list[tuple[str, Act]], phases: int = 9) -> None:
    """Do what `secrets.rotate --ca` does from `record` on, for so many phases."""
    trusts: dict[str, str] = {}
    action: Enter | Finish | None = None
    while not isinstance(action, Finish) and phases:
        phases -= 1
        with (
            etcd.connect(lab.config(), lab.machines) as store,
            held(store, "secrets.rotate") as lock,
        ):
            present = provisioning_host.read_record(lab.config()) or record
            trail = Trail(store, lock)
            effects = Effects(
                lambda store=store: Members(lab, store, trusts, deeds),  # type: ignore[misc]
                lambda: None,
                lambda what, outcome, trail=trail: trail.note(SystemClock().now(), what, outcome),  # type: ignore[misc]
            )
            action = go_through(lab.config(), present, effects, lock, lambda *_: None)


def answers(lab: Lab, folder: Path, machine: Machine) -> bool:
    """Return whether the member lets a client with these files in."""
    command: list[str | Path] = [
        lab.programs / "etcdctl",
        f"--endpoints=https://{machine.address}:{lab.client_port}",
        *(f"--{option}={folder / name}" for option, name in OPTIONS.items()),
        "--command-timeout=2s",
        "get",
        "/steady",
    ]
    environment = {"ETCDCTL_API": "3"}
    return subprocess.run(command, check=False, capture_output=True, env=environment).returncode == 0


OPTIONS = {"cacert": "ca.crt", "cert": "etcd-client.crt", "key": "etcd-client.key"}


def test_a_client_reads_and_writes_throughout_and_the_old_ca_is_refused_afterwards(lab: Lab, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for name in OPTIONS.values():
        (old / name).write_bytes((lab.held(lab.machines[0]) / name).read_bytes())
    client = Client(lab)
    client.start()
    deeds: list[tuple[str, Act]] = []
    begun = time.monotonic()
    rotate(lab, Record("r1", Phase.TRUST, "2026-01-01T00:00:00Z"), deeds)
    seconds = time.monotonic() - begun
    done = client.done
    for attempt in tenacity.Retrying(wait=tenacity.wait_fixed(0.1), stop=tenacity.stop_after_delay(10), reraise=True):
        with attempt:
            assert client.done > done + 5
    client.ended.set()
    client.join(10)
    assert client.failures == []
    assert client.done > seconds * 2
    names = [machine.name for machine in lab.machines]
    assert [name for name, act in deeds if act is Act.RESTART_ETCD] == [*names, *names]
    for machine in lab.machines:
        assert answers(lab, lab.held(machine), machine)
        # With what it trusts now, but the certificate of the old CA.
        (old / "ca.crt").write_bytes((lab.held(machine) / "ca.crt").read_bytes())
        assert not answers(lab, old, machine)
    assert provisioning_host.read_record(lab.config()) is None
    with etcd.connect(lab.config(), lab.machines) as store:
        told = [entry.what for entry in read_history(store)]
    assert told == [
        "rotation r1 of the CA: trust the new CA alone",
        "rotation r1 of the CA: use certificates of the new CA",
        "rotation r1 of the CA: trust the new CA beside the old one",
    ]


def test_etcd_shows_a_renewed_certificate_to_new_connections_without_a_restart(lab: Lab) -> None:
    deeds: list[tuple[str, Act]] = []
    rotate(lab, Record("r1", Phase.TRUST, "2026-01-01T00:00:00Z"), deeds, phases=2)
    restarted = [name for name, act in deeds if act is Act.RESTART_ETCD]
    assert len(restarted) == 3, "only to trust the new CA"
    signer = authority.authorities(lab.config().secrets_path)[0]
    only_new = lab.folder / "only-new"
    only_new.mkdir()
    for name in OPTIONS.values():
        (only_new / name).write_bytes((lab.held(lab.machines[0]) / name).read_bytes())
    (only_new / "ca.crt").write_bytes(authority.pem(signer))
    for machine in lab.machines:
        assert answers(lab, only_new, machine), "it shows a certificate of the new CA"
    record = provisioning_host.read_record(lab.config())
    assert record is not None
    assert record.phase is Phase.RETIRE
