"""Updates of scheduled services on all that they need for real: a Swarm of engines, etcd, and on each machine an agent
and a HAProxy. Requests come from within the lab's network.

    with update_lab(folder, cluster, store) as lab:
        lab.submit(web={...})
        with lab.load("web") as load: lab.update(web={...})
        assert not load.failed

etcd listens on this host's loopback, which no node reaches: so each node has a port on its own loopback that leads
there, by a socket in the file system.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from agent_machine import IMAGE as ROUTER_IMAGE
from etcd_cluster import EtcdCluster
from haproxy_server import HAPROXY, PORTS
from swarm_lab import IMAGE, LabNode, SwarmLab, swarm_lab
from waiting import until

from argosy.agent.health import get
from argosy.cluster.events import Event
from argosy.config.loading import ScheduledSettings, Settings, load
from argosy.etcd import Etcd
from argosy.model import Machine
from argosy.pki import authority
from argosy.services import changing, router_scripts
from argosy.services.record import ScheduledRecord
from argosy.services.updates import run as running
from argosy.services.updates.begin import UpdateRequest
from argosy.services.updates.record import Update
from argosy.services.work import ServicesCluster
from argosy.ssh.host import Hosts

SYSTEM = "air"
HTTP_PORT = 8080
TTL_SECONDS = 3
SERVE = (
    "mkdir -p /w/cgi-bin; echo $VERSION >/w/index.html; "
    "printf '#!/bin/sh\\nsleep 3\\nprintf \"\\\\r\\\\n$VERSION slowly\\\\n\"\\n' >/w/cgi-bin/slow; "
    "chmod +x /w/cgi-bin/slow; exec httpd -f -p 80 -h /w"
)
WEB: dict[str, Any] = {
    "image": IMAGE,
    "replicas": 3,
    "command": ["sh", "-c", SERVE],
    "env": {"VERSION": "1"},
    "discovery": {"port": 80, "scheme": "http"},
    "check": {"http": {"port": 80, "path": "/"}},
    "stop": {"grace_seconds": 1},
    "restart": {"delay_seconds": 0.1},
    "update": {"deadline_seconds": 40},
}


def version(number: object, **fields: Any) -> dict[str, Any]:
    return {**WEB, "env": {"VERSION": str(number)}, **fields}


FORWARD = """\
import socket, sys, threading
def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for it in (source, target):
        try:
            it.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
server = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=64)
print("ready", flush=True)
while True:
    client, _ = server.accept()
    there = socket.socket(socket.AF_UNIX)
    try:
        there.connect(sys.argv[3])
    except OSError:
        client.close()
        continue
    for pair in ((client, there), (there, client)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""

LOAD = """\
import http.client, json, sys, threading, time
addresses, port, host, rate = sys.argv[1].split(","), int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
paths, threads = sys.argv[5].split(","), int(sys.argv[6])
end = threading.Event()
answers, failures, lock = {}, [], threading.Lock()
def ask(number):
    began = time.monotonic()
    try:
        connection = http.client.HTTPConnection(addresses[number % len(addresses)], port, timeout=15)
        path = paths[number // threads % len(paths)]
        connection.request("GET" if path == "/" else "POST", path, headers={"Host": host})
        answer = connection.getresponse()
        text = answer.read().decode().strip() if answer.status == 200 else "status %d" % answer.status
        connection.close()
    except (OSError, http.client.HTTPException) as error:
        text = type(error).__name__ + ": " + str(error)
    with lock:
        if text.isdigit():
            answers[text] = answers.get(text, 0) + 1
        else:
            failures.append([round(time.time(), 3), addresses[number % len(addresses)], text])
def work(first):
    number, due = first, time.monotonic() + first / rate
    while not end.is_set():
        if end.wait(max(0.0, due - time.monotonic())):
            break
        ask(number)
        number, due = number + threads, due + threads / rate
workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
for worker in workers:
    worker.start()
print("ready", flush=True)
sys.stdin.read()
end.set()
for worker in workers:
    worker.join()
print(json.dumps({"answers": answers, "failures": failures}))
"""


@dataclass
class Load:
    """`answers`: how many said which version; `failures`: when, at whom, what."""

    answers: dict[str, int] = field(default_factory=dict)
    failures: list[list[Any]] = field(default_factory=list)


class Forwarder:
    """Takes connections at a socket in the file system and hands on to an address of this host."""

    def __init__(self, path: Path, address: str, port: int) -> None:
        self._target = address, port
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
                there = socket.create_connection(self._target)
            except OSError:
                return
            threading.Thread(target=_join, args=(client, there), daemon=True).start()


def _join(one: socket.socket, other: socket.socket) -> None:
    with one, other:
        back = threading.Thread(target=_copy, args=(other, one), daemon=True)
        back.start()
        _copy(one, other)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for it in (source, target):
        try:
            it.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue


@dataclass
class Routed:
    """A node with an agent and a HAProxy, whose files are under `root`."""

    lab: SwarmLab
    node: LabNode
    cluster: EtcdCluster
    etcd_socket: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.node.folder / "m"

    def start(self) -> None:
        secrets = self.root / "etc" / SYSTEM / "secrets"
        (secrets / "keys").mkdir(parents=True)
        path = self.cluster.settings().secrets_path
        pair = authority.ensure_machine_certificates(path, self.cluster.machines[0])["etcd-client"]
        shutil.copy(authority.authority_path(path), secrets / "ca.crt")
        shutil.copy(pair.certificate, secrets / "etcd-client.crt")
        shutil.copy(pair.key, secrets / "etcd-client.key")
        (self.root / "var/run").mkdir(parents=True)
        (self.root / "var/run/docker.sock").symlink_to(self.node.folder / "docker.sock")
        (self.root / "run/router").mkdir(parents=True)
        self.lab.run(self.node.name, "ln", "-s", str(self.root / "run/router"), "/run/router")
        for machine in self.cluster.machines:
            words = [sys.executable, "-c", FORWARD, machine.address, str(self.cluster.client_port)]
            self._begin(*words, str(self.etcd_socket))
        self._begin(
            str(ROUTER_IMAGE / "router"),
            ROUTER_LIB=str(self.root / "var/lib/router"),
            ROUTER_RUN=str(self.root / "run/router"),
            ROUTER_INITIAL=str(ROUTER_IMAGE / "initial.cfg"),
            ROUTER_BIND=f"{self.node.address}:{HTTP_PORT}",
        )
        ports = {name: HTTP_PORT + number for number, name in enumerate(PORTS)}
        tunables = {
            **ports,
            "root": str(self.root),
            "ttl_seconds": TTL_SECONDS,
            "check_seconds": 0.5,
            "etcd_seconds": 2,
            "tick_seconds": 1,
            "drain_seconds": 5,
        }
        self._begin(
            sys.executable,
            "-m",
            "argosy.agent",
            SYSTEM=SYSTEM,
            CLUSTER="test",
            MACHINE_NAME=self.node.name,
            MACHINE_ADDRESS=self.node.address,
            ETCD_ENDPOINTS=",".join(
                f"https://{machine.address}:{self.cluster.client_port}" for machine in self.cluster.machines
            ),
            ARGOSY_AGENT=json.dumps(tunables),
        )
        try:
            until(self._ready, 30)
        except AssertionError as error:
            raise AssertionError(f"not ready:\n{self.log}") from error

    def _ready(self) -> bool:
        try:
            return get(str(self.root / "run/agent/agent.sock"), "/ready")[0] == 200
        except OSError:
            return False

    @property
    def log(self) -> str:
        return (self.root / "log").read_text(errors="replace")[-6000:]

    def _begin(self, *words: str, **environment: str) -> None:
        given = {**os.environ, "PATH": f"{Path(str(HAPROXY)).parent}:{os.environ['PATH']}", **environment}
        with (self.root / "log").open("ab") as log:
            self.processes.append(
                subprocess.Popen([*self.lab.inside(self.node.name), *words], env=given, stdout=log, stderr=log)
            )

    def stop(self) -> None:
        """Forget the processes, which end with the node."""
        for process in self.processes:
            process.kill()
            process.wait()


@dataclass
class UpdateLab:
    """`told`: the events of the last update."""

    swarms: SwarmLab
    settings: Settings
    work: ServicesCluster
    machines: dict[str, Routed]
    told: list[Event] = field(default_factory=list)

    def submit(self, replicas: int | None = None, **definitions: Mapping[str, Any]) -> None:
        found = parsed(definitions)
        changing.make(self.work, changing.submit(self.work, changing.wanted(self.work, found, list(found), replicas)))

    def update(
        self, events: Callable[[Event], None] = lambda _: None, named: bool = True, **definitions: Any
    ) -> Update | None:
        """Update the one service of `definitions`; `canary`, `soak_seconds` and `renew` are of the update."""
        options = {key: definitions.pop(key) for key in ("canary", "soak_seconds", "renew") if key in definitions}
        found = parsed(definitions)
        name = next(iter(found))
        target = running.target(self.work, name, found)
        return self.run(UpdateRequest(name, target, named=named, **options), events)

    def rollback(self, name: str = "web") -> Update | None:
        return self.run(UpdateRequest(name, rollback=True))

    def run(self, request: UpdateRequest, events: Callable[[Event], None] = lambda _: None) -> Update | None:
        self.told.clear()

        def tell(event: Event) -> None:
            self.told.append(event)
            events(event)

        return running.update(self.work, request, tell)

    @property
    def lines(self) -> list[str]:
        return [f"{event.subject}: {event.text}" for event in self.told]

    def record(self, name: str = "web") -> ScheduledRecord:
        entry = self.work.store.get(f"/cluster/scheduled/{name}")
        assert entry is not None
        return ScheduledRecord.parse(entry.value)

    def generations(self, name: str = "web") -> dict[int, int]:
        """Return how many instances Swarm runs of each generation."""
        seen = self.work.look().of(name)
        return {number: len(generation.up) for number, generation in seen.generations.items()}

    def routes(self, name: str = "web") -> dict[str, str]:
        prefix = f"/services/{name}/"
        return {entry.key.removeprefix(prefix): entry.value for entry in self.work.store.get_prefix(prefix).entries}

    def asked(self, machine: str, path: str = "/", name: str = "web") -> str:
        """Return what a machine's router answers."""
        try:
            status, body = self.swarms.get(self.machines[machine].node.address, HTTP_PORT, path, name)
        except OSError as error:
            return str(error)
        return body.decode().strip() if status == 200 else f"status {status}"

    def until_served(self, text: str, name: str = "web") -> None:
        """Wait until every machine answers `text` ten times in a row."""
        for machine in self.machines:
            until(lambda machine=machine: {self.asked(machine, name=name) for _ in range(10)} == {text}, 20)  # type: ignore[misc]

    @contextmanager
    def load(
        self, name: str = "web", rate: float = 60, machines: Sequence[str] = (), path: str = "", threads: int = 8
    ) -> Iterator[Load]:
        """Send so many requests a second to the routers of these machines (all) meanwhile.

        Every other one is a POST to `path`, if there is one: what no router may try again elsewhere.
        """
        addresses = ",".join(self.machines[machine].node.address for machine in machines or self.machines)
        inside = ["nsenter", f"--target={self.swarms._init}", "--net"]
        paths = f"/,{path or '/'}"
        words = [
            *inside,
            sys.executable,
            "-c",
            LOAD,
            addresses,
            str(HTTP_PORT),
            f"{name}.any.example",
            str(rate),
            paths,
        ]
        words.append(str(threads))
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        found = Load()
        try:
            yield found
        finally:
            told = json.loads(process.communicate(timeout=60)[0])
            found.answers, found.failures = told["answers"], told["failures"]

    def clear(self) -> None:
        """Leave nothing of a test: no service, no container, no key."""
        for service in self.work.swarm.services():
            self.work.swarm.remove_service(service.id)
        for node in self.work.swarm.nodes():
            self.work.swarm.update_node(node, availability="active")
        until(lambda: not self.work.swarm.tasks(), 30)
        until(lambda: all(not node.docker("ps", "-q") for node in self.swarms.nodes.values()), 30)
        until(lambda: not any("/hosts/" in entry.key for entry in self.work.store.get_prefix("/services/").entries), 30)
        for prefix in ("/services/", "/cluster/"):
            self.work.store.delete(prefix, prefix=True)
        for name in self.machines:
            self.put_state(name, "active")

    def put_state(self, machine: str, state: str) -> None:
        address = self.machines[machine].node.address
        self.work.store.put(f"/machines/{machine}", json.dumps({"address": address, "state": state}))


def parsed(definitions: Mapping[str, Mapping[str, Any]]) -> dict[str, ScheduledSettings]:
    return {name: ScheduledSettings.model_validate(definition) for name, definition in definitions.items()}


def section() -> dict[str, Any]:
    """Return the cluster's section in the settings of an operator."""
    discovery = {"ttl_seconds": TTL_SECONDS, "check_seconds": 0.3}
    return {"system": SYSTEM, "discovery": discovery, "rollout": {"drain_seconds": 10}}


@contextmanager
def update_lab(cluster: EtcdCluster, store: Etcd, patch: pytest.MonkeyPatch, size: int = 3) -> Iterator[UpdateLab]:
    with swarm_lab(size) as swarms, ExitStack() as stack:
        # No machine dies here, and one that has no turn for a while must not lose its instances to others.
        swarms.form(heartbeat_seconds=5)
        socket_path = swarms.folder / "etcd.sock"
        forwarder = Forwarder(socket_path, cluster.machines[0].address, cluster.client_port)
        stack.callback(forwarder.close)
        machines = {name: Routed(swarms, node, cluster, socket_path) for name, node in swarms.nodes.items()}
        manager = swarms.nodes["air-01"].swarm
        for node in manager.nodes():
            manager.update_node(node, labels={"argosy.machine": node.hostname})
        for machine in machines.values():
            stack.callback(machine.stop)
            machine.start()
        swarms.lead(patch)
        patch.setattr(router_scripts, "servers", partial(_without_docker, router_scripts.servers))
        settings = swarms.settings(**section())
        hosts = stack.enter_context(Hosts(settings, swarms.machines()))
        work = ServicesCluster(settings, hosts=hosts, store=store)
        work.swarm = manager
        lab = UpdateLab(swarms, settings, work, machines)
        for name in machines:
            lab.put_state(name, "active")
        yield lab


def _without_docker(servers: Callable[..., list[str]], *arguments: Any) -> list[str]:
    """Return the argv without the words that go into the agent's container: here it has none."""
    return servers(*arguments)[3:]


__all__ = ["IMAGE", "Machine", "UpdateLab", "load", "update_lab", "version"]
