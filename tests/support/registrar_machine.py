"""A machine's registrar on the real engine and a real etcd, as the agent puts it together, but without a router."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from image_project import BASE
from waiting import until

from argosy.agent.lease import Lease
from argosy.agent.mirror import Mirror
from argosy.agent.registrar.deregistration import Departures
from argosy.agent.registrar.forwards import Forwards
from argosy.agent.registrar.registrar import Registrar
from argosy.engine.api import DEFAULT_SOCKET, Json
from argosy.engine.connection import connect
from argosy.engine.running import MachineContainers
from argosy.errors import EngineError
from argosy.etcd import Entry, Etcd

NAME = "air-01"
ADDRESS = "127.0.9.1"
"""Ours as any of 127.0.0.0/8, but not the one that ports are published on to keep them from others."""
TEST_LABEL = {"argosy.test": "1"}

SERVER = """
use IO::Socket::INET; $SIG{PIPE} = "IGNORE";
$s = IO::Socket::INET->new(LocalPort => $ARGV[0], Listen => 50, ReuseAddr => 1) or die;
while ($c = $s->accept) {
    while (defined($line = <$c>) && $line ne "\\r\\n") {}
    print $c "HTTP/1.0 " . (-e "/sick" ? 503 : 200) . " x\\r\\n\\r\\nok"; close $c;
}
"""
"""A web server of Perl alone, which our base image has. As process 1 it ignores SIGTERM: a stop takes its full time."""


@dataclass
class Containers:
    """Containers of one test, removed after it."""

    client: docker.DockerClient
    prefix: str
    made: list[Container] = field(default_factory=list)

    def run(
        self, name: str, *, port: int = 80, before: str = "", labels: Mapping[str, str] | None = None, **options: Any
    ) -> Container:
        """Run a web server on `port` with argosy.service=web among its labels, after the shell's line `before`."""
        script = f"{before or ':'}; exec perl -e '{SERVER}' {port}"
        self.made.append(
            self.client.containers.run(
                BASE,
                ["sh", "-c", script],
                name=f"{self.prefix}-{name}",
                labels={"argosy.service": "web", "argosy.port": str(port)} | TEST_LABEL | dict(labels or {}),
                detach=True,
                stop_signal="SIGTERM",
                **options,
            )
        )
        return self.made[-1]

    def remove(self) -> None:
        for container in self.made:
            with suppress(docker.errors.NotFound):
                container.remove(force=True)


@contextmanager
def containers_of(prefix: str) -> Iterator[Containers]:
    """Give a maker of containers on the real engine, which are removed afterwards; skip where there is none."""
    try:
        with connect() as engine:
            if not engine.images.list(BASE):
                pytest.skip(f"no image {BASE} here: `make base` makes it")
            made = Containers(engine, prefix)
            try:
                yield made
            finally:
                made.remove()
    except EngineError as error:
        if "no Docker engine answers" not in str(error):
            raise
        pytest.skip(str(error))


class OwnContainers(MachineContainers):
    """The engine's containers whose names begin with `prefix`: other tests run theirs beside, as `web`, too."""

    def __init__(self, prefix: str, socket_path: Path) -> None:
        super().__init__(socket_path)
        self._prefix = prefix

    def inspect(self, container: str) -> Json | None:
        shown = super().inspect(container)
        return shown if shown is not None and str(shown["Name"]).startswith(f"/{self._prefix}") else None


@dataclass
class Machine:
    """One agent's life after the other on the same folder; `start` and `stop` may be repeated."""

    folder: Path
    store: Etcd
    lease_store: Etcd
    prefix: str
    docker_socket: Path = DEFAULT_SOCKET
    ttl_seconds: int = 10
    routed: bool = True
    name: str = NAME
    address: str = ADDRESS

    def start(self) -> None:
        """`routed`: there is a router that applies forwards at once."""
        self.mirror = Mirror(self.store, retry_seconds=0.1)
        self.lease = Lease(self.lease_store, self.ttl_seconds, self.folder / "lease.json")
        self.forwards = Forwards(self.folder / "forwards.json", (20900, 20999))
        if self.routed:
            self.forwards.subscribe(lambda: self.forwards.note_applied(self.forwards.mapping()))
        self.registrar = Registrar(
            self.name,
            self.address,
            store=self.store,
            mirror=self.mirror,
            lease=self.lease,
            containers=OwnContainers(self.prefix, self.docker_socket),
            forwards=self.forwards,
            state=self.folder,
            check_seconds=0.3,
            tick_seconds=0.5,
        )
        self.departures = Departures(self.registrar, self.store)
        self.lease.start()
        self.mirror.start()
        self.registrar.start()

    def stop(self) -> None:
        self.registrar.stop()
        self.mirror.stop()
        self.lease.stop()
        self.lease._thread.join()

    def key(self, name: str, service: str = "web", kind: str = "hosts") -> str:
        return f"/services/{service}/{kind}/{self.name}:{self.prefix}-{name}"

    def entry(self, name: str, service: str = "web", kind: str = "hosts") -> Entry | None:
        return self.store.get(self.key(name, service, kind))

    def until_registered(self, name: str, service: str = "web", seconds: float = 10) -> Entry:
        until(lambda: self.entry(name, service), seconds)
        found = self.entry(name, service)
        assert found is not None
        return found

    def until_gone(self, name: str, service: str = "web", seconds: float = 10) -> None:
        until(lambda: self.entry(name, service) is None, seconds)

    def problems(self, name: str) -> list[str]:
        return [problem.reason for problem in self.registrar.problems if f"{self.prefix}-{name}" in problem.key]


class SocketProxy:
    """Hands on to Docker's socket, until it is cut."""

    def __init__(self, path: Path, target: Path = DEFAULT_SOCKET) -> None:
        self.path = path
        self._target = target
        self._turn = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.mend()

    def mend(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        self._thread(self._accept, self._listener)

    def cut(self) -> None:
        """Be gone, as a daemon that was killed."""
        self.path.unlink()
        with self._turn:
            for end in [self._listener, *self._open]:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _thread(self, function: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with listener, suppress(OSError):
            while True:
                near, _ = listener.accept()
                self._thread(self._serve, near)

    def _serve(self, near: socket.socket) -> None:
        with near, socket.socket(socket.AF_UNIX) as far:
            far.connect(str(self._target))
            with self._turn:
                self._open += [near, far]
            back = threading.Thread(target=_pump, args=(far, near), daemon=True)
            back.start()
            _pump(near, far)
            back.join()
            with self._turn:
                self._open = [socket for socket in self._open if socket not in (near, far)]


def _pump(source: socket.socket, drain: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            drain.sendall(data)
    with suppress(OSError):
        drain.shutdown(socket.SHUT_WR)


def values(store: Etcd, prefix: str = "/services/web/") -> dict[str, str]:
    return {entry.key.removeprefix(prefix): entry.value for entry in store.get_prefix(prefix).entries}


def put_state(store: Etcd, state: str, *staying: str) -> None:
    store.put(f"/machines/{NAME}", json.dumps({"address": ADDRESS, "state": state, "staying": staying}))


def still(machine: Machine, name: str, seconds: float) -> object:
    """Return what stands after some seconds of nothing but time, which must not change it."""
    threading.Event().wait(seconds)
    return machine.entry(name)
