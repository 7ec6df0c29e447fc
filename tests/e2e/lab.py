"""A cluster for the tests, made as a user makes one: `inv local.start` in a project folder, in a process of its own.

It has its own system name, cluster, subnet, ports, state and secrets, so it meets no cluster that the user runs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from argosy.atomic import locked
from argosy.config.loading import Settings, load
from argosy.engine.names import container_name

ROOT = Path(__file__).resolve().parents[2]
BASE_SECONDS = 600
MEMORY = ROOT / ".argosy" / "e2e-build"
COMMAND_SECONDS = 300
START_SECONDS = 600


@dataclass
class Lab:
    """The project folder `root` of a system with its one cluster, at 192.168.`third`.0/24, and what is done in it.

    The system is this lab's alone: images of one system are shared by all that build them on an engine.
    """

    root: Path
    system: str
    cluster: str
    third: int
    environment: Mapping[str, str] = field(default_factory=dict)
    begun: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def python(self) -> str:
        return sys.executable

    @property
    def suite(self) -> str:
        """Debian's, that its images and its machines are made of."""
        return str(yaml.safe_load((self.root / "invoke.yaml").read_text())["build"]["suite"])

    @property
    def host(self) -> str:
        return f"192.168.{self.third}.1"

    @property
    def registry_port(self) -> int:
        return 5000 + self.third

    @property
    def balancer_port(self) -> int:
        return 8000 + self.third

    @property
    def settings(self) -> Settings:
        return load(yaml.safe_load((self.root / "invoke.yaml").read_text()), self.cluster, self.root)

    def container(self, name: str) -> str:
        return container_name(self.settings, name)

    def on_engine(self, kind: str) -> list[str]:
        """Return what of this kind (container, network, volume) the engine has of the cluster."""
        everything = ["--all"] if kind == "container" else []
        chosen = f"label=argosy.cluster={self.cluster}"
        return docker(kind, "ls", *everything, "--quiet", "--filter", chosen).split()

    def inv(
        self, *words: str, check: bool = True, timeout: float = COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run `inv WORDS...` in the project; with `check`, its failure is the test's."""
        done = subprocess.run(
            self.argv(*words),
            cwd=self.root,
            env=self.env(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"inv {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """Start `inv WORDS...` in a process group of its own and return at once."""
        with (self.root / "begun.log").open("ab") as log:
            self.begun.append(
                subprocess.Popen(
                    self.argv(*words), cwd=self.root, env=self.env(), stdout=log, stderr=log, start_new_session=True
                )
            )
        return self.begun[-1]

    def end_begun(self) -> None:
        """Kill what `begin` has started and all that those have started."""
        for process in self.begun:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.begun.clear()

    def argv(self, *words: str) -> list[str]:
        return [self.python, "-m", "invoke", *words]

    def env(self) -> dict[str, str]:
        own = {key: value for key, value in os.environ.items() if not key.startswith(("INVOKE_", "ARGOSY_"))}
        return {**own, **self.environment, "COLUMNS": "200"}

    def refused(self, code: int, *words: str, timeout: float = COMMAND_SECONDS) -> str:
        """Run what must fail with `code` and return its one line."""
        done = self.inv(*words, check=False, timeout=timeout)
        assert done.returncode == code, f"{done.returncode}, not {code}:\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stderr.strip().splitlines()[-1]

    def on_host(self, *argv: str) -> str:
        """Run a command on the provisioning host and return its stdout."""
        return subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True).stdout

    def json(self, *words: str, check: bool = True) -> Any:
        return json.loads(self.inv(*words, "--json", check=check).stdout)

    def run(self, machine: str, command: str, check: bool = True) -> str:
        """Run a line of shell as root on a machine and return its stdout."""
        done = self.inv("cluster.run", command, "--machine", machine, "--sudo", "--json", check=check)
        return str(json.loads(done.stdout)[machine]["stdout"])

    def configure(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Rewrite invoke.yaml as `change` leaves it."""
        path = self.root / "invoke.yaml"
        document = yaml.safe_load(path.read_text())
        change(document)
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    def ask(self, path: str = "/", address: str = "127.0.0.1") -> tuple[dict[str, str], bytes]:
        """Send one request through the balancer and return the answer's headers, in lower case, and body."""
        with urllib.request.urlopen(f"http://{address}:{self.balancer_port}{path}", timeout=10) as answer:
            return {key.lower(): value for key, value in answer.headers.items()}, answer.read()


def make_project(root: Path, system: str, cluster: str, third: int, suite: str) -> Lab:
    """Copy the example into a project of its own, as another repository would have it."""
    lab = Lab(root, system, cluster, third)
    shutil.copytree(ROOT / "example", root / "example", ignore=shutil.ignore_patterns("wheelhouse", "__pycache__"))
    shutil.copy(ROOT / "VERSION", root / "VERSION")
    # What builds remember is kept from one test run to the next, as the images are: the second one is much faster.
    MEMORY.mkdir(parents=True, exist_ok=True)
    (root / ".argosy").mkdir()
    (root / ".argosy" / "build").symlink_to(MEMORY)
    (root / "tasks.py").write_text("from argosy import ns as namespace\n")
    document = yaml.safe_load((ROOT / "invoke.yaml").read_text())
    document["system"] = system
    document["build"] = {"suite": suite}
    document["services"]["frontend"]["volumes"][0]["source"] = f"/var/lib/{system}/files/frontend"
    document["secrets"]["database-password"]["file"] = f"secrets/{cluster}/database-password"
    section = document["clusters"].pop("local")
    section["registry"] = {"address": f"{lab.host}:{lab.registry_port}"}
    section["local"]["subnet"] = f"192.168.{third}.0/24"
    section["local"]["balancer"] = {"port": lab.balancer_port}
    document["clusters"] = {cluster: section}
    (root / "invoke.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return lab


def ensure_base(suite: str) -> None:
    """Bring the base image of a suite onto the engine, as `make setup` does for this host's own."""
    # Two that make it at once would both do so.
    with locked(Path(tempfile.gettempdir()) / f"argosy-base-{suite}.lock"):
        command = [str(ROOT / "scripts" / "bootstrap"), "base"]
        environment = {**os.environ, "SUITE": suite}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=BASE_SECONDS, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr


def with_database_at(address: str, machine: str) -> Callable[[dict[str, Any]], None]:
    """Return what makes the database that the host gives a service on one of the machines."""

    def change(document: dict[str, Any]) -> None:
        (section,) = document["clusters"].values()
        document["services"]["db"] = section["local"].pop("dependencies")["postgres"] | {"machines": [machine]}
        document["images"]["postgres"] = {"context": "example/postgres"}
        section["settings"]["database/host"] = address

    return change


def made_by(document: dict[str, Any], maker: str) -> None:
    """Settle what makes the machines."""
    (section,) = document["clusters"].values()
    section["local"]["maker"] = maker


@contextmanager
def cleared(root: Path, system: str, cluster: str, third: int, suite: str) -> Iterator[Lab]:
    """Yield a project, without what an earlier, killed test run left of its cluster, and leave only images.

    `suite`: Debian's, of all its images.
    """
    lab = make_project(root, system, cluster, third, suite)
    # Another test run on this engine would have clusters of the same names: one after the other.
    with locked(Path(tempfile.gettempdir()) / f"argosy-{cluster}.lock"):
        ensure_base(suite)
        remove_leftovers(lab)
        build_images(lab)
        try:
            yield lab
        finally:
            lab.end_begun()
            lab.inv("local.stop", "--all", check=False)
            remove_leftovers(lab)


def build_images(lab: Lab) -> None:
    """Build its images, after those of its suite who began before: then it has their steps in the cache."""
    settings = lab.settings
    with locked(Path(tempfile.gettempdir()) / f"argosy-e2e-images-{settings.build.suite}.lock"):
        lab.inv("build.images", "--only", ",".join(settings.images), timeout=START_SECONDS)


def remove_leftovers(lab: Lab) -> None:
    for kind, options in (("container", ["--force", "--volumes"]), ("network", []), ("volume", [])):
        found = lab.on_engine(kind)
        if found:
            docker(kind, "rm", *options, *found)


def docker(*words: str, check: bool = True) -> str:
    """Run the docker command and return its stdout."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


def eventually(what: str, passes: Callable[[], bool], seconds: float = 60) -> None:
    """Poll until `passes()`; fail after `seconds`. A look that takes long, as `inv` does, leaves others as much."""
    deadline = time.monotonic() + seconds
    began = time.monotonic()
    while not passes():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(min(max(0.2, time.monotonic() - began), 2))
        began = time.monotonic()
