"""A machine's router and agent as its units run them: two real processes, on loopback, on an etcd of the tests'."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from etcd_cluster import EtcdCluster
from haproxy_server import HAPROXY, PORTS, free_ports
from router_backends import Answer, Client
from waiting import until

from argosy.agent.health import get
from argosy.agent.router.haproxy import Haproxy, Worker
from argosy.etcd import Delete, Etcd
from argosy.pki import authority
from argosy.routing.plan import IN_SERVICE
from argosy.schema import router_key, router_problems_key

ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / "images" / "haproxy"
SYSTEM = "air"


@dataclass
class AgentMachine:
    """`root`: put before the paths that the two have on a machine; a short one, for a socket's path has 107 bytes.
    `ports`: chosen when left out; `inside`: the words before a command that runs where the machine is."""

    root: Path
    cluster: EtcdCluster
    name: str = "air-01"
    address: str = "127.0.9.31"
    options: dict[str, Any] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    inside: list[str] = field(default_factory=list)
    haproxy: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    agent: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.ports = self.ports or dict(zip(PORTS, free_ports(self.address, len(PORTS)), strict=True))
        self.client = Client(self.address)
        secrets = self.root / "etc" / SYSTEM / "secrets"
        secrets.mkdir(parents=True)
        path = self.cluster.settings().secrets_path
        pair = authority.ensure_machine_certificates(path, self.cluster.machines[0])["etcd-client"]
        shutil.copy(authority.authority_path(path), secrets / "ca.crt")
        shutil.copy(pair.certificate, secrets / "etcd-client.crt")
        shutil.copy(pair.key, secrets / "etcd-client.key")
        self.keys = secrets / "keys"
        self.keys.mkdir()
        self.lib, self.run = self.root / "var/lib/router", self.root / "run/router"
        self.runtime = Haproxy(self.run / "admin.sock", self.run / "master.sock")

    # The router

    def start_haproxy(self) -> None:
        environment = {
            **os.environ,
            "PATH": f"{Path(str(HAPROXY)).parent}:{os.environ['PATH']}",
            "ROUTER_LIB": str(self.lib),
            "ROUTER_RUN": str(self.run),
            "ROUTER_INITIAL": str(IMAGE / "initial.cfg"),
            "ROUTER_BIND": f"{self.address}:{self.ports['http_port']}",
        }
        with (self.root / "haproxy.log").open("ab") as log:
            self.haproxy = subprocess.Popen(
                [*self.inside, IMAGE / "router"], env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def kill_haproxy(self) -> None:
        """Kill it with all its processes, as when a container ends."""
        assert self.haproxy is not None
        os.killpg(self.haproxy.pid, signal.SIGKILL)
        self.haproxy.wait()
        self.haproxy = None

    def worker(self) -> Worker:
        return self.runtime.worker()

    def servers(self) -> dict[str, set[str]]:
        """Return the names of the servers that HAProxy has, by service."""
        rows = [line.split(" ") for line in self.runtime.ask("show servers state").splitlines()[2:] if line]
        found: dict[str, set[str]] = {}
        for row in rows:
            if row[1] == IN_SERVICE:
                continue
            found.setdefault(row[1].removeprefix("service-"), set()).add(row[3].partition(":")[0])
        return found

    # The agent

    def start_agent(self, **environment: str) -> None:
        tunables = {
            **self.ports,
            "root": str(self.root),
            "bind_address": self.address,
            "check_seconds": 0.2,
            "etcd_seconds": 2,
            "tick_seconds": 1,
            "drain_seconds": 5,
            **self.options,
        }
        given = {
            **os.environ,
            "PATH": f"{Path(str(HAPROXY)).parent}:{os.environ['PATH']}",
            "SYSTEM": SYSTEM,
            "CLUSTER": "test",
            "MACHINE_NAME": self.name,
            "MACHINE_ADDRESS": self.address,
            "ETCD_ENDPOINTS": ",".join(
                f"https://{machine.address}:{self.cluster.client_port}" for machine in self.cluster.machines
            ),
            "ARGOSY_AGENT": json.dumps(tunables),
            **environment,
        }
        with (self.root / "agent.log").open("ab") as log:
            words = [*self.inside, sys.executable, "-m", "argosy.agent"]
            self.agent = subprocess.Popen(words, env=given, stdout=log, stderr=log)

    def stop_agent(self, number: signal.Signals = signal.SIGTERM, seconds: float = 10) -> int:
        assert self.agent is not None
        self.agent.send_signal(number)
        status = self.agent.wait(seconds)
        self.agent = None
        return status

    def start(self) -> None:
        self.start_haproxy()
        self.start_agent()
        self.wait_until_ready()

    def stop(self) -> None:
        self.client.close()
        if self.agent is not None:
            self.stop_agent(signal.SIGKILL)
        if self.haproxy is not None:
            self.kill_haproxy()

    def get(self, target: str) -> tuple[int, str]:
        """Return the status and text of the agent's answer; 0 when it does not listen."""
        try:
            status, body = get(str(self.root / "run/agent/agent.sock"), target)
        except OSError as error:
            return 0, str(error)
        return status, body.decode()

    def wait_until_ready(self, seconds: float = 20) -> None:
        try:
            until(lambda: self.get("/ready")[0] == 200, seconds)
        except AssertionError as error:
            raise AssertionError(f"not ready: {self.get('/ready')[1]}\n{self.log}") from error

    def status(self, part: str = "router") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/status")[1])[part]
        return found

    def metric(self, name: str) -> float:
        lines = (line.split(" ") for line in self.get("/metrics")[1].splitlines())
        return next(float(words[1]) for words in lines if words[0] == f"argosy_{name}")

    @property
    def log(self) -> str:
        return (self.root / "agent.log").read_text()

    # What comes of it

    def ask(self, host: str, path: str = "/") -> Answer:
        return self.client.ask(self.ports["http_port"], path, host)

    def answers(self, host: str) -> str:
        """Return who answers: a backend's name, or the status for the router itself; empty when nobody does."""
        try:
            return self.ask(host).name
        except OSError:
            return ""

    def applied(self, store: Etcd) -> int:
        found = store.get(router_key(self.name))
        return int(found.value) if found else 0

    def published_problems(self, store: Etcd) -> list[dict[str, str]]:
        found = store.get(router_problems_key(self.name))
        problems: list[dict[str, str]] = json.loads(found.value) if found else []
        return problems

    def wait_until_applied(self, store: Etcd, revision: int, seconds: float = 20) -> None:
        """Wait for a revision at which something changed that routers follow: others are never told of."""
        try:
            until(lambda: self.applied(store) >= revision, seconds)
        except AssertionError as error:
            raise AssertionError(
                f"{self.applied(store)}, not {revision}: {self.get('/ready')[1]}\n{self.log}"
            ) from error


@contextmanager
def agent_machine(cluster: EtcdCluster, **options: Any) -> Iterator[AgentMachine]:
    """Give a machine whose processes are not started; stop them, and remove all that they wrote, at the end."""
    with tempfile.TemporaryDirectory(prefix="am-", dir="/tmp") as name:
        machine = AgentMachine(Path(name), cluster, options=options)
        try:
            yield machine
        finally:
            machine.stop()


def delete(store: Etcd, key: str) -> int:
    """Delete `key` and return the revision of that."""
    return store.transact([], [Delete(key)]).revision


def put_service(store: Etcd, name: str, instances: dict[str, object], **attributes: str) -> int:
    """Put a service of scheme http unless `attributes` say otherwise; return the revision of the last key."""
    revision = 0
    for key, value in ({"scheme": "http"} | attributes).items():
        revision = store.put(f"/services/{name}/{key}", value)
    for key, endpoint in instances.items():
        revision = store.put(f"/services/{name}/hosts/{key}", str(endpoint))
    return revision


def docker_problem(machine: AgentMachine) -> dict[str, str]:
    """Return the one problem that every machine of these tests has: there is no Docker in its folder."""
    return next(problem for problem in machine.status()["problems"] if problem["key"] == "docker")
