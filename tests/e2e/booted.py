"""Single machines that boot with a cloud-config file, on a network of the tests' own, with a registry beside them."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import tenacity
from lab import ensure_base

from argosy.atomic import locked
from argosy.builds import images
from argosy.cloudconfig import writing
from argosy.config.loading import Settings, load
from argosy.engine import containers as engine
from argosy.engine.connection import connect
from argosy.engine.names import CLUSTER_LABEL, container_name, labels_of, network_name
from argosy.local.makers.container import cgroup_version, machine_flags, own_flags
from argosy.model import Image, Machine
from argosy.registry import container as registry_container
from argosy.registry import push, trust
from argosy.report import silent
from argosy.secrets import upload as secrets
from argosy.ssh import known_hosts

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = "boot"
SYSTEM = "keel"
NETWORK = "192.168.59"
REGISTRY = f"{NETWORK}.1:5059"
SECONDS = 60
NEVER_PUSHED = Image("installer", f"{SYSTEM}/installer", "0.1.3", "sha256:" + "7" * 64)


def make_settings(root: Path, suite: str) -> Settings:
    """Return a system of etcd alone: what a machine is before anything is installed on it."""
    (root / "VERSION").write_text("0.1\n")
    document = {
        "system": SYSTEM,
        "build": {"suite": suite},
        "registry": {"address": REGISTRY, "bind": [f"{NETWORK}.1"]},
        "docker": {"bip": "172.29.42.1/24"},
        "machine": {"container": True},
        "discovery": {"enabled": False},
        "images": {
            "etcd": {"context": str(ROOT / "images/etcd")},
            "registry": {"context": str(ROOT / "images/registry"), "push": False},
        },
        "secrets": {"database-password": {"generate_bytes": 24}},
        "settings": {"database/host": "10.0.0.5", "greeting": 'it\'s 100 % "fine" $HOME'},
        "clusters": {CLUSTER: {}},
    }
    return load(document, root=root)


def quiet(_subject: str, _message: str) -> None:
    """A report that nobody reads."""


@dataclass(frozen=True)
class Booted:
    """A machine that runs, as `docker exec` sees it."""

    settings: Settings
    machine: Machine

    @property
    def container(self) -> str:
        return container_name(self.settings, self.machine.name)

    def run(self, script: str, check: bool = True, stdin: str = "") -> str:
        """Run lines of shell as root and return what they print."""
        argv = ["docker", "exec", "-i", self.container, "sh", "-c", script]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert not check or done.returncode == 0, f"{script}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout + ("" if check else done.stderr)

    def wait(self, script: str, seconds: float = SECONDS) -> str:
        """Run the script until it succeeds, and return what it then prints."""
        for attempt in tenacity.Retrying(
            stop=tenacity.stop_after_delay(seconds), wait=tenacity.wait_fixed(0.3), reraise=True
        ):
            with attempt:
                return self.run(script)
        raise AssertionError

    def state(self, unit: str) -> dict[str, str]:
        shown = self.run(f"systemctl show -p ActiveState,SubState,UnitFileState,Result {SYSTEM}-{unit}")
        return dict(line.split("=", 1) for line in shown.splitlines())

    def upload(self, without: str = "") -> None:
        """Put the machine's secrets where `cluster.upload-secrets` does, without one of them."""
        secrets.ensure_local(self.settings, [self.machine])
        self.run(f"install -d -m 700 /etc/{SYSTEM}/secrets/registry")
        for name, secret in secrets.gather(self.settings, [self.machine], silent)[self.machine.name].items():
            if name != without:
                script = f"umask 077; cat > /etc/{SYSTEM}/secrets/{name}"
                self.run(script, stdin=secret.reveal().decode())
        self.run(f": > /etc/{SYSTEM}/secrets/.complete")


@contextmanager
def engine_lab(settings: Settings, network: str) -> Iterator[None]:
    """Give what machines need: a network, images and a registry that holds etcd; all of it goes in the end.

    `network`: the first three numbers of its addresses.
    """
    # Another test run on this engine would have things of the same names: one after the other.
    with locked(Path(tempfile.gettempdir()) / f"argosy-{settings.cluster}.lock"):
        remove_everything(settings)
        ensure_base(settings.build.suite)
        try:
            with connect() as client:
                engine.ensure_network(
                    client,
                    network_name(settings),
                    labels_of(settings, "network"),
                    subnet=f"{network}.0/24",
                    gateway=f"{network}.1",
                    dynamic_range=f"{network}.224/27",
                )
            images.build_images(settings, quiet)
            build_machine_image(settings.build.suite)
            registry_container.start(settings, quiet)
            push.push(settings, quiet, ["etcd"])
            yield
        finally:
            trust.distrust_registry(settings, quiet)
            remove_everything(settings)


def machine_image(suite: str) -> str:
    """Return the name of an image that stays: all labs of this kind have it, also one that another process has open."""
    return f"argosy-test/machine:{suite}"


def build_machine_image(suite: str) -> None:
    """Build it without a version: to compare its content, half a gigabyte, would take longer than all else here."""
    argv = ["docker", "build", "--quiet", f"--build-arg=SUITE={suite}", f"--tag={machine_image(suite)}"]
    subprocess.run([*argv, str(ROOT / "images/machine")], check=True, capture_output=True)


def boot(settings: Settings, machine: Machine, user_data: str, root: Path) -> Booted:
    """Boot a container with `user_data` and wait until cloud-init is through."""
    seed = root / f"seed-{machine.name}"
    seed.mkdir()
    (seed / "user-data").write_text(user_data)
    (seed / "meta-data").write_text(f"instance-id: {machine.name}\nlocal-hostname: {machine.name}\n")
    with connect() as client:
        version = cgroup_version(client.info())
    name = container_name(settings, machine.name)
    flags = own_flags(
        name=machine.name,
        network=network_name(settings),
        address=machine.address,
        volume=name,
        seed=seed,
        labels=labels_of(settings, "machine"),
    )
    image = machine_image(settings.build.suite)
    argv = ["docker", "run", "--detach", f"--name={name}", *machine_flags(version), *flags, image, "/sbin/init"]
    subprocess.run(argv, check=True, capture_output=True)
    booted = Booted(settings, machine)
    booted.wait("test -e /run/cloud-init/result.json || cloud-init status --wait >/dev/null")
    key = booted.run("cat /etc/ssh/ssh_host_ed25519_key.pub")
    known_hosts.pin(settings.state_path / "known_hosts", machine.address, settings.ssh.port, key)
    return booted


def boot_with_its_file(settings: Settings, machine: Machine, root: Path) -> Booted:
    path = writing.write(settings, [machine], quiet, release=NEVER_PUSHED)[machine.name]
    return boot(settings, machine, path.read_text(), root)


def remove_everything(settings: Settings) -> None:
    """Remove, by their labels and names, what this or an earlier, killed run left on the engine."""
    client = docker.from_env()
    label = f"{CLUSTER_LABEL}={settings.cluster}"
    for container in client.containers.list(all=True, filters={"label": label}):
        container.remove(force=True, v=True)
    for network in client.networks.list(filters={"label": label}):
        network.remove()
    for volume in client.volumes.list(filters={"name": f"argosy-{settings.cluster}-"}):
        volume.remove(force=True)
    for image in client.images.list(filters={"label": f"argosy.system={settings.system}"}):
        client.images.remove(str(image.id), force=True)
    client.close()
