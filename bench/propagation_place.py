"""What `bench.propagation` runs on, all on loopback: one etcd, instances, our router with its agent, and a peer.

The real daemons are started as the integration tests start them, so their folder must be on Python's path.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agent_machine import AgentMachine, agent_machine
from etcd_cluster import EtcdCluster, binaries
from haproxy_server import HAPROXY, free_ports, router_options

from argosy import atomic, etcd
from argosy.agent.router.haproxy import check
from argosy.etcd import Etcd
from argosy.model import Endpoint
from argosy.routing.plan import plan_routing
from argosy.routing.values import RouterOptions
from argosy.schema import CONFIG, SERVICES, parse_directory

INSTANCES = [f"127.21.0.{number}" for number in range(1, 21)]
PEER_ADDRESS = "127.0.9.32"
CHECK_SECONDS = 2.0

INSTANCES_CONFIG = """\
global
    maxconn 8000
    log stdout format raw local0 emerg
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
frontend instances
{binds}
    http-request return status 200 content-type text/plain lf-string "%[dst]"
"""


@dataclass
class Place:
    store: Etcd
    machine: AgentMachine
    instances: list[Endpoint]


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """Give etcd, a router with its agent (checks as often as on a machine), and instances that tell their address."""
    if HAPROXY is None:
        raise SystemExit("no haproxy here: scripts/bootstrap test-packages brings it")
    cache = folder / "etcd"
    cache.mkdir()
    cluster = EtcdCluster(folder, next(iter(binaries(cache).values())), size=1)
    cluster.start()
    try:
        cluster.wait_until_healthy()
        with (
            etcd.connect(cluster.settings(), cluster.machines) as store,
            _instances(folder) as instances,
            agent_machine(cluster, check_seconds=CHECK_SECONDS, drain_seconds=300, tick_seconds=5) as machine,
        ):
            machine.start()
            yield Place(store, machine, instances)
    finally:
        cluster.stop()


@contextmanager
def _instances(folder: Path) -> Iterator[list[Endpoint]]:
    """Run one HAProxy that stands for all instances: it takes next to nothing from what is measured."""
    port = free_ports(INSTANCES[0], 1)[0]
    config = folder / "instances.cfg"
    binds = "\n".join(f"    bind {address}:{port}" for address in INSTANCES)
    config.write_text(INSTANCES_CONFIG.format(binds=binds))
    process = subprocess.Popen([str(HAPROXY), "-db", "-f", str(config)], stdout=subprocess.DEVNULL)
    try:
        yield [Endpoint(address, port) for address in INSTANCES]
    finally:
        process.kill()
        process.wait()


class Peer:
    """What confd does for HAProxy, in its usual settings: every `interval_seconds` read all keys, render, and when the
    file is another than before check it and reload. It renders what ours does, so that only the way differs."""

    def __init__(self, store: Etcd, folder: Path, interval_seconds: float) -> None:
        self._store = store
        self._folder = folder
        self._interval_seconds = interval_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.options: RouterOptions = replace(router_options(folder, PEER_ADDRESS), check_seconds=CHECK_SECONDS)
        self.reloads = 0

    @contextmanager
    def running(self) -> Iterator[Peer]:
        self._render()
        words = [str(HAPROXY), "-W", "-db", "-S", f"{self._folder}/master.sock", "-f", f"{self._folder}/haproxy.cfg"]
        self._process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            self._thread.join()
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _run(self) -> None:
        while not self._ended.wait(self._interval_seconds):
            if self._render() and self._process is not None and not check(self._folder / "haproxy.cfg", str(HAPROXY)):
                self._process.send_signal(signal.SIGUSR2)
                self.reloads += 1

    def _render(self) -> bool:
        entries = [*self._store.get_prefix(SERVICES).entries, *self._store.get_prefix(CONFIG).entries]
        changed = False
        for name, text in plan_routing(parse_directory(entries), self.options).files().items():
            (self._folder / name).parent.mkdir(exist_ok=True)
            changed |= atomic.write_if_changed(self._folder / name, text.encode())
        return changed


def ask(address: str, port: int, host: str) -> str:
    """Return who answers one request: an instance's address, else the status; empty when the connection breaks."""
    with suppress(OSError), socket.create_connection((address, port), 5) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1].decode() if b" " in head else ""
        return body.decode() if status == "200" else status
    return ""


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder with a short name: a socket's path has room for 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="bp-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
