"""A cluster whose etcd is real and whose machines are told: they do what the scripts that they are sent would do.

A machine takes only scripts that it knows, by their titles, so a command that nobody expected fails the test. Its etcd
is a real process; a newcomer's begins with just what its cloud-config file says, and the installer's own code promotes
it. What it takes to install a machine (secrets, images, units) is not here.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from etcd_cluster import EtcdCluster
from fake_host import Answer, FakeHost, FakeHosts

from argosy import etcd, inventory
from argosy.cloudconfig import writing
from argosy.config.loading import Settings
from argosy.errors import CommandFailed, EtcdError
from argosy.etcd import Etcd
from argosy.etcd.versions import parse_etcd_version
from argosy.images.versions import Stored, parse_version
from argosy.machine import install
from argosy.membership import observing
from argosy.model import Image, Machine
from argosy.pki import authority
from argosy.registry import access
from argosy.secrets import syncing
from argosy.ssh import host as ssh_host
from argosy.ssh import keypair, known_hosts
from argosy_installer.etcd import Etcd as InstallersEtcd
from argosy_installer.etcd import mutual_tls
from argosy_installer.joining import promote_own_learner

T = TypeVar("T")
RELEASE = Image("installer", "air/installer", "0.1.3", "sha256:" + "1" * 64)
ETCD = Image("etcd", "air/etcd", "0.1.0", "sha256:" + "2" * 64)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"
READY = (
    "".join(f"has {name}\n" for name in ("docker", "curl", "flock", "tar", "systemd", "docker.service"))
    + "engine 28.0\nruns air-secrets.path\nnow {now}\n"
)
"""What a server says that has all that a machine needs."""
CONNECTIONS = "tell the connections"
SERVICE = "/services/web/hosts/{}:air-web"


@dataclass
class Told:
    """A machine. `up`: ssh and all else answers; `connections`: what its router tells of them; `done`: the titles of
    the scripts that it has run; `shut_out`: the ssh keys that it lets in no more; `chosen`, `runs`: the digests of the
    images of etcd that it starts the next time, and runs."""

    machine: Machine
    up: bool = True
    installed: bool = False
    trusted: bool = True
    endpoints: str = ""
    connections: str = '{"connections": 0}'
    done: list[str] = field(default_factory=list)
    shut_out: list[str] = field(default_factory=list)
    chosen: str = ETCD.digest
    runs: str = ETCD.digest


class Lab:
    """`size` machines that are installed, air-01 and so on at 127.0.8.1, with etcd on the first `max_members`.

    `etcd_images`: those that the registry has, oldest first; `etcd_programs`: the folders of their programs, by digest.
    """

    def __init__(
        self,
        folder: Path,
        programs: Path,
        patch: pytest.MonkeyPatch,
        size: int,
        max_members: int = 5,
        timeout_seconds: float = 2.0,
    ) -> None:
        self.cluster = EtcdCluster(folder, programs, size=min(size, max_members))
        ports = {"client_port": self.cluster.client_port, "peer_port": self.cluster.peer_port}
        self.settings: Settings = self.cluster.settings(
            etcd={**ports, "timeout_seconds": timeout_seconds, "max_members": max_members},
            registry={"address": "10.0.0.9:5000"},
            images={"etcd": {"context": "etcd"}},
            discovery={"check_seconds": 0.01, "ttl_seconds": 2},
        )
        self.machines = {
            f"air-{number:02}": Told(Machine(f"air-{number:02}", f"127.0.8.{number}")) for number in range(1, size + 1)
        }
        self.said: list[str] = []
        self.files: dict[str, dict[str, str]] = {}
        self.etcd_images: list[Stored] = []
        self.etcd_programs: dict[str, Path] = {}
        self.push_etcd(ETCD, programs)
        self._patch(patch)

    def push_etcd(self, image: Image, programs: Path, told: str | None = None) -> Stored:
        """Let the registry have a newer image of etcd. `told`: by its label, where that is not what it is."""
        version = parse_version(image.version)
        assert version is not None
        label = etcd_version(programs) if told is None else told
        self.etcd_images.append(Stored(image.name, version, image.digest, etcd=label))
        self.etcd_programs[image.digest] = programs
        return self.etcd_images[-1]

    def _current_images(self, settings: Settings) -> dict[str, Image]:
        return {"etcd": access.as_image(settings, self.etcd_images[-1]), "installer": RELEASE}

    def _etcd_image(self, _settings: Settings, version: str = "") -> Stored:
        return next(image for image in reversed(self.etcd_images) if version in ("", str(image.version)))

    def _patch(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(inventory, "check_address", lambda word: word)
        patch.setattr(access, "current_release", lambda _settings, _version="": RELEASE)
        patch.setattr(access, "current_images", self._current_images)
        patch.setattr(access, "etcd_image", self._etcd_image)
        patch.setattr(writing, "apply", self._apply)
        patch.setattr(syncing, "check", lambda _cluster, among: None)
        patch.setattr(syncing, "upload", lambda cluster, machines, *_: cluster.hosts.each(self._upload, machines))
        patch.setattr(install, "follow_install", lambda hosts, _s, machines, _r, _d: hosts.each(_up, machines))
        for module in (observing, ssh_host):
            patch.setattr(module, "Hosts", lambda _settings, machines: self.hosts(machines))

    def start(self) -> None:
        self.cluster.start()
        self.cluster.wait_until_healthy()
        inventory.remember(self.settings, [machine.machine for machine in self.machines.values()])
        keypair.ensure_own_key(self.settings)
        for told in self.machines.values():
            self.pin(told.machine)
        with self.store() as store:
            for told in self.machines.values():
                self.register(store, told)
        for told in self.machines.values():
            told.endpoints = self.urls(*self.cluster.processes)

    def add(self, name: str, address: str) -> Told:
        """Make a machine that is not up yet."""
        self.machines[name] = Told(Machine(name, address), up=False)
        return self.machines[name]

    def pin(self, machine: Machine) -> None:
        """Let the operator know the machine's host key."""
        pins = self.settings.state_path / "known_hosts"
        known_hosts.pin(pins, machine.address, self.settings.ssh.port, KEY)

    # What there is

    def store(self) -> Any:
        running = [
            machine.machine for machine in self.machines.values() if machine.machine.name in self.cluster.processes
        ]
        return etcd.connect(self.settings, running)

    def voters(self) -> list[str]:
        with self.store() as store:
            members = store.members()
        assert all(member.healthy for member in members if not member.learner), members
        return [member.name for member in members if not member.learner]

    def stored(self, prefix: str = "/") -> list[str]:
        with self.store() as store:
            return [entry.key for entry in store.get_prefix(prefix).entries]

    def history(self) -> list[tuple[str, str]]:
        with self.store() as store:
            lines = [json.loads(entry.value) for entry in store.get_prefix("/cluster/history/").entries]
        return [(line["what"], line["outcome"]) for line in lines]

    def urls(self, *names: str) -> str:
        return ",".join(f"https://{self.machines[name].machine.address}:{self.cluster.client_port}" for name in names)

    def known(self) -> list[str]:
        return [machine.name for machine in inventory.load(self.settings)]

    def report(self, subject: str, message: str) -> None:
        self.said.append(f"{subject}: {message}")

    def power_off(self, name: str) -> None:
        self.machines[name].up = False
        if name in self.cluster.processes:
            self.cluster.kill(name)

    def data(self, name: str) -> Path:
        return self.cluster.folder / "data" / name

    # What machines do

    def register(self, store: Etcd, told: Told) -> None:
        told.installed = True
        name = told.machine.name
        record = {"address": told.machine.address, "role": "member", "release": "0.1.3", "state": "active"}
        store.put(f"/machines/{name}", json.dumps(record | {"metadata": {}}))
        store.put(SERVICE.format(name), f"{told.machine.address}:80")

    @contextlib.contextmanager
    def agent(self, name: str) -> Iterator[None]:
        """Let the machine's agent hold its instance, and take it out some time after the machine drains."""
        stop = threading.Event()

        def follow(store: Etcd) -> None:
            while not stop.wait(0.05):
                if self.state(store, name) == "draining":
                    stop.wait(0.5)
                    store.delete(SERVICE.format(name))
                    self.machines[name].done.append("deregister")
                    return

        with self.store() as store:
            store.put(SERVICE.format(name), "10.0.0.1:80", store.grant(60))
            thread = threading.Thread(target=follow, args=[store], daemon=True)
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join()

    def state(self, store: Etcd, name: str) -> str:
        """Return what stands in the machine's record, empty without one."""
        record = store.get(f"/machines/{name}")
        return str(json.loads(record.value)["state"]) if record else ""

    def begin(self, name: str) -> None:
        """Start the machine's etcd as its cloud-config file says, unless it runs."""
        if name not in self.cluster.processes:
            settings = self.files.get(name, {})
            pairs = [pair.split("=") for pair in settings.get("ETCD_INITIAL_CLUSTER", "").split(",") if pair]
            initial = [Machine(name, url.split("/")[2].split(":")[0]) for name, url in pairs]
            told = self.machines[name]
            machine, told.runs = told.machine, told.chosen
            self.cluster.programs_of[name] = self.etcd_programs[told.chosen]
            state = settings.get("ETCD_INITIAL_CLUSTER_STATE", "new")
            self.cluster._start(machine, initial or [machine], state)

    def promote(self, told: Told) -> None:
        path, deadline = self.settings.secrets_path, time.monotonic() + 30
        pair = authority.ensure_machine_certificates(path, told.machine)["etcd-client"]
        tls = mutual_tls(authority.authority_path(path), pair.certificate, pair.key)
        own = f"https://{told.machine.address}:{self.cluster.client_port}"
        others = [url for url in told.endpoints.split(",") if url != own]
        client, elsewhere = (InstallersEtcd(urls, tls, deadline, _nobody) for urls in ([own], others))
        promote_own_learner(client, elsewhere, _nobody)

    def _apply(
        self, hosts: FakeHosts[ToldHost], settings: Settings, machines: list[Machine], _report: object, **given: Any
    ) -> None:
        """Take over what the machine's cloud-config file would say now."""
        for machine in machines:
            (path,) = writing.write(settings, [machine], _quiet, **given).values()
            files = {file["path"]: file["content"] for file in yaml.safe_load(path.read_text())["write_files"]}
            told = self.machines[machine.name]
            self.files[machine.name] = _variables(files["/etc/air/etcd.env"])
            told.endpoints = _variables(files["/etc/air/machine.env"])["ETCD_ENDPOINTS"]
            told.chosen = self.files[machine.name]["IMAGE"].rpartition("@")[2]
            told.done.append("apply")

    def hosts(self, machines: Iterable[Machine]) -> FakeHosts[ToldHost]:
        return FakeHosts(
            ToldHost(self, self.machines.setdefault(machine.name, Told(machine, up=False))) for machine in machines
        )

    def _upload(self, host: ToldHost) -> None:
        host.told.done.append("upload")
        host.told.trusted = True


class ToldHost(FakeHost):
    """What `Host` is to the operations."""

    def __init__(self, lab: Lab, told: Told) -> None:
        answers: dict[str, Answer] = {title: partial(script, self) for title, script in SCRIPTS.items()}
        answers |= {"true": lambda _: "", CONNECTIONS: lambda _: told.connections}
        # What its owner and we both write is not here.
        shared = ("/etc/docker/daemon.json", "/etc/environment", "/etc/air/shared.json", "/etc/air/machine.env")
        answers |= {f"read {path}": lambda _: "" for path in shared}
        super().__init__(told.machine, answers)
        self.lab = lab
        self.told = told
        self.asked = told.done

    def connect(self) -> None:
        self.up = self.told.up
        super().connect()

    def title(self, command: Sequence[str]) -> str:
        return CONNECTIONS if command[-1].startswith("http://agent/connections?seconds=") else super().title(command)

    def put(self, local: Path, remote: str, *, mode: int, sudo: bool) -> None:
        self.connect()
        assert (remote, mode, sudo) == ("/var/lib/air/etcd/snapshot.db", 0o600, True)
        shutil.copy(local, self.lab.cluster.folder / f"{self.name}-snapshot.db")

    # The scripts

    def stop_services(self, words: Sequence[str]) -> None:
        assert words[3:] == ["agent", "router", "dns"]
        # Without a quorum the agent can't take the instances out either.
        with contextlib.suppress(EtcdError), self.lab.store() as store:
            assert self.lab.state(store, self.name) in ("", "draining")
            store.delete(SERVICE.format(self.name))

    def leave(self, _words: Sequence[str]) -> None:
        if self.name in self.lab.cluster.processes:
            self.lab.cluster.kill(self.name)
        shutil.rmtree(self.lab.data(self.name), ignore_errors=True)
        self.told.trusted = self.told.installed = False

    def read_members(self, _words: Sequence[str]) -> str:
        return self.told.endpoints + "\n"

    def write_members(self, words: Sequence[str]) -> None:
        self.told.endpoints = words[1]

    def look_for_data(self, _words: Sequence[str]) -> str:
        return "data\n" if (self.lab.data(self.name) / "member").exists() else ""

    def take_away(self, words: Sequence[str]) -> None:
        assert not self.told.trusted, "secrets and data are gone by then"
        assert "/opt/air/bin/installer" in words
        assert "air-secrets.path" in words[7].split()

    def shut_out(self, words: Sequence[str]) -> None:
        self.told.shut_out.append(words[0])

    def look_at_server(self, _words: Sequence[str]) -> str:
        return READY.format(now=int(time.time()))

    def nothing(self, _words: Sequence[str]) -> None: ...

    def start_install(self, _words: Sequence[str]) -> None:
        assert self.told.trusted
        if self.lab.files.get(self.name, {}).get("ETCD_NAME") or self.lab.data(self.name).exists():
            self.lab.begin(self.name)
            self.lab.promote(self.told)
        with self.lab.store() as store:
            self.lab.register(store, self.told)

    def stop_etcd(self, _words: Sequence[str]) -> None:
        if self.name in self.lab.cluster.processes:
            self.lab.cluster.kill(self.name)

    def set_aside(self, words: Sequence[str]) -> None:
        assert self.name not in self.lab.cluster.processes
        member = self.lab.data(self.name) / "member"
        if member.exists():
            shutil.rmtree(aside := member.with_name(f"aside-{words[1]}"), ignore_errors=True)
            member.rename(aside)

    def restore(self, words: Sequence[str]) -> None:
        assert self.name not in self.lab.cluster.processes
        _, _, folder, snapshot, name, cluster, token, peer_url = words
        assert (folder, snapshot) == ("/var/lib/air/etcd", "/var/lib/air/etcd/snapshot.db")
        restored = self.lab.data(self.name) / "restored"
        shutil.rmtree(restored, ignore_errors=True)
        options: dict[str, str | Path] = {
            "data-dir": restored,
            "name": name,
            "initial-cluster": cluster,
            "initial-cluster-token": token,
            "initial-advertise-peer-urls": peer_url,
        }
        file = self.lab.cluster.folder / f"{self.name}-snapshot.db"
        programs = self.lab.etcd_programs[self.told.chosen]
        tool = "etcdutl" if (programs / "etcdutl").exists() else "etcdctl"
        argv: list[str | Path] = [programs / tool, "snapshot", "restore", file]
        done = subprocess.run(
            [*argv, *(f"--{option}={value}" for option, value in options.items())],
            env={"ETCDCTL_API": "3"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CommandFailed(f"{self.name}: {done.stderr}")

    def look_for_image(self, _words: Sequence[str]) -> str:
        runs = f"runs {_reference(self.told.runs)}\n" if self.name in self.lab.cluster.processes else ""
        return f"chosen {_reference(self.told.chosen)}\n{runs}"

    def pull_image(self, words: Sequence[str]) -> str:
        return f"etcd Version: {etcd_version(self.lab.etcd_programs[words[1].rpartition('@')[2]])}\nGit SHA: 1\n"

    def choose_image(self, words: Sequence[str]) -> str:
        before, self.told.chosen = self.told.chosen, words[1].rpartition("@")[2]
        return f"{_reference(before)}\n"

    def restart_etcd(self, _words: Sequence[str]) -> None:
        if self.name in self.lab.cluster.processes:
            self.lab.cluster.end(self.name)
        self.lab.begin(self.name)

    def use_restored(self, words: Sequence[str]) -> None:
        data = self.lab.data(self.name)
        self.set_aside(["", words[2]])
        (data / "restored" / "member").rename(data / "member")
        self.lab.begin(self.name)


SCRIPTS: dict[str, Callable[[ToldHost, Sequence[str]], str | None]] = {
    "stop the services": ToldHost.stop_services,
    "leave the cluster": ToldHost.leave,
    "read the members": ToldHost.read_members,
    "write the members": ToldHost.write_members,
    "look for etcd's data": ToldHost.look_for_data,
    "wait for the boot": ToldHost.nothing,
    "look at the server": ToldHost.look_at_server,
    "let it ask for names as before": ToldHost.nothing,
    "remove old images": ToldHost.nothing,
    "take away what is ours": ToldHost.take_away,
    "start the install": ToldHost.start_install,
    "let an ssh key in": ToldHost.nothing,
    "shut an ssh key out": ToldHost.shut_out,
    "stop etcd": ToldHost.stop_etcd,
    "set etcd's data aside": ToldHost.set_aside,
    "prepare the restoring": ToldHost.nothing,
    "restore etcd's data": ToldHost.restore,
    "start etcd with the restored data": ToldHost.use_restored,
    "restart the agent": ToldHost.nothing,
    "look for etcd's image": ToldHost.look_for_image,
    "pull etcd's image": ToldHost.pull_image,
    "choose etcd's image": ToldHost.choose_image,
    "restart etcd": ToldHost.restart_etcd,
}


def etcd_version(programs: Path) -> str:
    """Return the version of the etcd in a folder."""
    printed = subprocess.run([programs / "etcd", "--version"], check=True, capture_output=True, text=True).stdout
    return str(parse_etcd_version(printed))


def _reference(digest: str) -> str:
    return f"10.0.0.9:5000/air/etcd@{digest}"


def _variables(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def _up(host: ToldHost) -> None:
    assert host.told.installed


def _quiet(_subject: str, _message: str) -> None: ...


def _nobody(_line: str) -> None: ...
