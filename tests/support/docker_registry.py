"""Debian's Docker registry on loopback, with a password, and tiny images in it. Docker takes loopback without TLS."""

from __future__ import annotations

import base64
import io
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import docker
import pytest
import tenacity
from packages import unpack
from ssh_server import free_port

USER, PASSWORD = "argosy", "correct horse"
CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "{address}"}}
auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}
"""


def binary(cache: Path) -> Path | None:
    """Return Debian's docker-registry, unpacked into `cache` and not installed; None where it can't be had."""
    folder = unpack(cache, "docker-registry", "docker-registry")
    return folder / "docker-registry" if folder else None


@dataclass
class DockerRegistry:
    """At `address`; `pushed`: the references that this process put on the engine."""

    folder: Path
    program: Path
    address: str = ""
    process: subprocess.Popen[bytes] | None = None
    pushed: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.address = self.address or f"127.0.0.1:{free_port()}"
        (self.folder / "config.yml").write_text(CONFIG.format(folder=self.folder, address=self.address))
        password = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        (self.folder / "htpasswd").write_text(f"{USER}:{password}\n")
        with (self.folder / "log").open("ab") as log:
            command = [str(self.program), "serve", f"{self.folder}/config.yml"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        host, _, port = self.address.partition(":")
        patience = tenacity.stop_after_delay(20)
        for attempt in tenacity.Retrying(wait=tenacity.wait_fixed(0.05), stop=patience, reraise=True):
            with attempt, socket.create_connection((host, int(port)), 1):
                pass

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None

    def push(self, repository: str, content: bytes) -> str:
        """Put an image with one file into the registry, leave none on the engine, and return its digest."""
        client = docker.from_env()
        reference = f"{self.address}/{repository}"
        client.api.import_image_from_data(_tar(content), repository=reference, tag="test")
        login = {"username": USER, "password": PASSWORD}
        client.images.push(reference, "test", auth_config=login)
        known = client.images.get(f"{reference}:test").attrs["RepoDigests"]
        client.images.remove(f"{reference}:test", force=True)
        (pushed,) = (entry for entry in known if entry.startswith(f"{reference}@"))
        self.pushed.append(pushed)
        return str(pushed).rpartition("@")[2]

    def forget(self) -> None:
        """Remove from the engine what tests have pulled from here."""
        client = docker.from_env()
        for reference in self.pushed:
            for image in client.images.list(reference.partition("@")[0]):
                client.images.remove(str(image.id), force=True)

    def login(self, password: str = PASSWORD) -> dict[str, object]:
        """Return the config.json of Docker's client that logs in here."""
        auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
        return {"auths": {self.address: {"auth": auth}}}


@contextmanager
def docker_registry(folder: Path, cache: Path) -> Iterator[DockerRegistry]:
    """Yield a running registry; skip where there is no engine or no registry."""
    program = binary(cache)
    if program is None:
        pytest.skip("no docker-registry here: apt-get update")
    try:
        docker.from_env().ping()
    except docker.errors.DockerException:
        pytest.skip("no Docker engine answers here: `make setup` starts one")
    registry = DockerRegistry(folder, program)
    registry.start()
    try:
        yield registry
    finally:
        registry.stop()
        registry.forget()


def _tar(content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("file")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()
