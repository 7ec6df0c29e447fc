"""Rotations that are killed before and after every effect, and begun again: real keys and files, machines in memory.

After each effect everybody still trusts everybody: members each other, this host them and they this host.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from argosy.cluster.change import Finish
from argosy.config.loading import Settings, load
from argosy.model import Machine
from argosy.pki import authority as pki
from argosy.report import silent
from argosy.rotation import provisioning_host
from argosy.rotation.plan import Act, Action, ObservedMachine, RotationRequest, begin
from argosy.rotation.running import Effects, go_through
from argosy.secrets import upload

MACHINES = [Machine(f"air-0{number}", f"10.0.0.{number}") for number in (1, 2, 3)]


@pytest.fixture(autouse=True)
def _no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Killed(BaseException):
    """The operator's process ends here."""


class NoLock:
    def check(self) -> None: ...


def settings(root: Path) -> Settings:
    return load(
        {
            "clusters": {
                "test": {
                    "registry": {"address": "10.0.0.5:5000"},
                    "secrets": {"token": {"generate_bytes": 8}, "other": {"generate_bytes": 8}},
                    "images": {"web": {"context": "web"}},
                    "services": {"web": {"image": "web", "secrets": ["token"]}, "idle": {"image": "web"}},
                }
            }
        },
        root=root,
    )


class World:
    """Three machines: files on their disks, what their etcd has read, what their service has. `effects`: counted; the
    one of number `kill` does not happen any more."""

    def __init__(self, config: Settings) -> None:
        self.config = config
        self.disks: dict[str, dict[str, bytes]] = {machine.name: {} for machine in MACHINES}
        self.etcd: dict[str, bytes] = {}
        self.docker: dict[str, bytes] = {}
        self.stamps: dict[str, str] = {}
        self.services: dict[str, bytes] = {}
        self.restarts: list[tuple[str, str]] = []
        self.effects, self.kill, self.checking = 0, 0, False
        self.log: list[str] = []
        for machine in MACHINES:
            self._upload(machine)
            self._boot(machine.name)

    def _boot(self, name: str) -> None:
        disk = self.disks[name]
        self.etcd[name] = self.docker[name] = disk["ca.crt"]
        self.services[name] = disk["token"]

    def _upload(self, machine: Machine) -> None:
        upload.ensure_local(self.config, [machine])
        files = upload.gather(self.config, [machine], silent)[machine.name]
        self.disks[machine.name] = {name: file.reveal() for name, file in files.items()}

    @contextmanager
    def effect(self, what: str) -> Iterator[None]:
        self.effects += 1
        if self.effects == self.kill:
            raise Killed
        yield
        self.log.append(what)
        # While a file of the CA is written its lock is held, so the operator's certificate can't be ensured.
        if self.checking and not what.startswith("write "):
            self.assert_trust()

    def assert_trust(self) -> None:
        here_trusts = pki.authority_path(self.config.secrets_path).read_bytes()
        operator = pki.ensure_operator_certificate(self.config.secrets_path).certificate.read_bytes()
        for name, trusted in self.etcd.items():
            assert issued_by(operator, trusted), (self.log, name)
            for other, disk in self.disks.items():
                assert issued_by(disk["etcd-peer.crt"], trusted), (self.log, name, other)
                assert issued_by(disk["etcd-client.crt"], trusted), (self.log, name, other)
                assert issued_by(self.disks[name]["etcd-server.crt"], disk["ca.crt"]), (self.log, name, other)
            assert issued_by(self.disks[name]["etcd-server.crt"], here_trusts), (self.log, name)


@cache
def issued_by(certificate: bytes, bundle: bytes) -> bool:
    leaf = x509.load_pem_x509_certificate(certificate)
    for authority in x509.load_pem_x509_certificates(bundle):
        try:
            leaf.verify_directly_issued_by(authority)
        except InvalidSignature:
            continue
        return True
    return False


class Phased:
    """The driver's `Machines`, in the world."""

    def __init__(self, world: World) -> None:
        self.world, self.config = world, world.config
        self.authority = sha256(pki.authority_path(self.config.secrets_path).read_bytes()).hexdigest()
        upload.ensure_local(self.config, MACHINES)

    def look(self) -> Sequence[ObservedMachine]:
        return [self.look_at(machine.name) for machine in MACHINES]

    def look_at(self, name: str) -> ObservedMachine:
        machine = next(machine for machine in MACHINES if machine.name == name)
        disk = self.world.disks[name]
        files = upload.gather(self.config, [machine], silent)[machine.name]
        wanted = {key: file.reveal() for key, file in files.items()}
        return ObservedMachine(
            name,
            tuple(sorted(key for key in wanted if wanted[key] != disk.get(key))),
            ("web",) if self.world.services[name] != disk["token"] else (),
            self.world.stamps.get(name, ""),
            True,
            sha256(self.world.docker[name]).hexdigest() != self.authority,
        )

    def do(self, name: str, action: Action) -> None:
        world, disk = self.world, self.world.disks[name]
        with world.effect(f"{name} {action.act}"):
            match action.act:
                case Act.UPLOAD:
                    world._upload(next(machine for machine in MACHINES if machine.name == name))
                case Act.TRUST_REGISTRY:
                    world.docker[name] = disk["ca.crt"]
                case Act.RESTART_ETCD:
                    world.etcd[name] = disk["ca.crt"]
                    world.restarts.append((name, "etcd"))
                case Act.RESTART:
                    assert action.what == ("web",)
                    world.services[name] = disk["token"]
                    world.restarts.append((name, "web"))
        if action.act is Act.RESTART_ETCD:
            with world.effect(f"{name} stamp"):
                world.stamps[name] = sha256(disk["ca.crt"]).hexdigest()

    def wait_until_well(self, names: Collection[str]) -> None:
        assert names


def run(world: World, request: RotationRequest) -> None:
    """Do what the task does, from the beginning."""
    first, action = True, None
    while not isinstance(action, Finish):
        present = provisioning_host.read_record(world.config)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        record = begin(request, present, "r1", started) if first or present is None else present
        effects = Effects(lambda: Phased(world), lambda: None, lambda *_: None)
        action = go_through(world.config, record, effects, NoLock(), lambda *_: None)
        first = False


def killed_at_each_effect(
    make: Callable[[], World], request: RotationRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Yield a world for each effect that its first run was killed at, when a second run has ended."""
    for kill in range(1, 1000):
        world = make()
        rename = Path.replace

        def replace(self: Path, target: Path, world: World = world, rename: Callable[..., Path] = rename) -> Path:
            with world.effect(f"write {Path(target).name}"):
                return rename(self, target)

        world.effects, world.kill, world.checking = 0, kill, True
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            try:
                run(world, request)
            except Killed:
                pass
            else:
                assert kill > 5
                return
        world.kill = 0
        run(world, request)
        yield world


def test_another_ca_whoever_is_killed_whenever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = 0

    def make() -> World:
        nonlocal number
        number += 1
        return World(settings(tmp_path / str(number)))

    for world in killed_at_each_effect(make, RotationRequest(authority=True), monkeypatch):
        trusted = pki.authorities(world.config.secrets_path)
        assert len(trusted) == 1
        assert not (world.config.secrets_path / "pki" / "ca-next.key").exists()
        assert provisioning_host.read_record(world.config) is None
        bundle = pki.authority_path(world.config.secrets_path).read_bytes()
        for name, disk in world.disks.items():
            assert disk["ca.crt"] == world.etcd[name] == world.docker[name] == bundle
            assert issued_by(disk["etcd-server.crt"], bundle)
        assert issued_by((world.config.secrets_path / "pki" / "operator.crt").read_bytes(), bundle)
        assert all(what == "etcd" for _, what in world.restarts)
        assert 6 <= len(world.restarts) <= 7, world.log
    assert number > 40


def test_a_secret_is_made_anew_once_and_its_service_restarted_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = 0
    old: dict[int, bytes] = {}

    def make() -> World:
        nonlocal number
        number += 1
        world = World(settings(tmp_path / str(number)))
        old[number] = world.disks["air-01"]["token"]
        return world

    for world in killed_at_each_effect(make, RotationRequest(only=("token",)), monkeypatch):
        value = (world.config.secrets_path / "token").read_bytes()
        assert value != old[number]
        assert {disk["token"] for disk in world.disks.values()} == {value}
        assert set(world.services.values()) == {value}
        assert len({name for name, _ in world.restarts}) == 3
        assert {what for _, what in world.restarts} == {"web"}
    assert number > 8


def test_renewed_certificates_need_no_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = 0

    def make() -> World:
        nonlocal number
        number += 1
        with monkeypatch.context() as patch:
            patch.setattr(pki, "_now", lambda: datetime(2026, 1, 1, tzinfo=UTC))
            return World(settings(tmp_path / str(number)))

    for world in killed_at_each_effect(make, RotationRequest(certificates=True), monkeypatch):
        assert world.restarts == []
        for disk in world.disks.values():
            made = x509.load_pem_x509_certificate(disk["etcd-peer.crt"]).not_valid_before_utc
            assert made > datetime(2026, 1, 2, tzinfo=UTC)
    assert number > 8


def test_a_second_time_nothing_is_done(tmp_path: Path) -> None:
    world = World(settings(tmp_path))
    run(world, RotationRequest(authority=True))
    world.effects = 0
    run(world, RotationRequest())
    assert world.effects == 0
