"""Requests to scheduled services through real routers: a Swarm of real engines, with router and agent on each.

    with service_traffic(folder, programs) as place:
        place.lab.submit(web=WEB)
        with place.requests("web", rate=100) as outcome:
            place.lab.make(changing.scale("web", 4))
        assert outcome.lost == []

As service_lab, but each machine's agent and HAProxy are the real processes, in the machine's own network; the test
sends its requests to all machines in turn over a cable into the lab. So it must have a network of its own, since labs
have the same addresses: `in_own_network` runs a test file in one.
"""

from __future__ import annotations

import http.client
import itertools
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_machine import AgentMachine
from etcd_cluster import EtcdCluster
from haproxy_server import PORTS
from service_lab import ServiceLab, lab_work, label_nodes
from swarm_lab import IMAGE, SwarmLab, swarm_lab

from argosy import etcd
from argosy.config.loading import load
from argosy.model import Machine

HERE = "10.213.0.2"
FIRST_PORT = 8000
WORKERS = 24
ANSWER_SECONDS = 10

# Ends at once when it is told to, whatever it is doing: the worst that a program can do to its requests.
SERVE = (
    "mkdir -p /tmp/w/cgi-bin; echo $ARGOSY_INSTANCE >/tmp/w/index.html; "
    "printf '#!/bin/sh\\necho; echo; echo $ARGOSY_INSTANCE\\n' >/tmp/w/cgi-bin/who; chmod +x /tmp/w/cgi-bin/who; "
    "httpd -f -p 80 -h /tmp/w & trap 'kill $!; exit' TERM; wait"
)
WEB: dict[str, Any] = {
    "image": IMAGE,
    "replicas": 4,
    "command": ["sh", "-c", SERVE],
    "discovery": {"port": 80, "scheme": "http"},
    "check": {"http": {"port": 80, "path": "/"}},
    "stop": {"grace_seconds": 2},
}
POST = "/cgi-bin/who"


OWN_NETWORK = ["unshare", "--net", "sh", "-euc", 'ip link set lo up; exec "$@"', "sh"]


def in_own_network(file: Path) -> subprocess.CompletedProcess[str]:
    """Run a file's tests in a process that has nothing but a loopback, and cables that they lay."""
    words = [*OWN_NETWORK, sys.executable, "-m", "pytest", "-q", "-rf", str(file)]
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


@dataclass
class Outcome:
    """`answers`: by instance; `lost`: when, of which machine, and why."""

    answers: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)


@dataclass
class Place:
    lab: ServiceLab
    machines: dict[str, AgentMachine]

    @contextmanager
    def requests(self, host: str, rate: float, methods: Mapping[str, str] | None = None) -> Iterator[Outcome]:
        """Send requests to all machines in turn, each on a connection of its own, until the block ends.

        `methods`: method -> path, in turn.
        """
        outcome, ended, turn = Outcome(), threading.Event(), threading.Lock()
        work = itertools.cycle(itertools.product((methods or {"GET": "/"}).items(), self.machines.values()))
        began, numbers = time.monotonic(), itertools.count()

        def send() -> None:
            while not ended.is_set():
                with turn:
                    (method, path), machine = next(work)
                    due = began + next(numbers) / rate
                if ended.wait(max(0.0, due - time.monotonic())):
                    return
                answered, reason = one(machine, host, method, path)
                with turn:
                    if reason:
                        outcome.lost.append(f"{time.monotonic() - began:.2f} s, {machine.name}, {method}: {reason}")
                    else:
                        outcome.answers[answered] += 1

        workers = [threading.Thread(target=send, daemon=True) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
        try:
            yield outcome
        finally:
            ended.set()
            for worker in workers:
                worker.join(ANSWER_SECONDS + 5)


def one(machine: AgentMachine, host: str, method: str, path: str) -> tuple[str, str]:
    """Send one request; return who answered, or why nobody did."""
    connection = http.client.HTTPConnection(machine.address, machine.ports["http_port"], timeout=ANSWER_SECONDS)
    try:
        body = b"x" if method == "POST" else None
        connection.request(method, path, body=body, headers={"Host": host, "Connection": "close"})
        answer = connection.getresponse()
        text = answer.read().decode().strip()
    except (OSError, http.client.HTTPException) as error:
        return "", f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return (text, "") if answer.status == 200 else ("", f"status {answer.status}")


@contextmanager
def service_traffic(folder: Path, programs: Path, size: int = 3) -> Iterator[Place]:
    with swarm_lab(size) as swarms, cable(swarms), ExitStack() as stack:
        cluster = EtcdCluster(folder, programs, size=1)
        cluster.machines = [Machine("air-01", HERE)]
        stack.callback(cluster.stop)
        cluster.start()
        cluster.wait_until_healthy()
        store = stack.enter_context(etcd.connect(cluster.settings(), cluster.machines))
        swarms.form(heartbeat_seconds=5)
        manager = swarms.nodes["air-01"].swarm
        label_nodes(manager)
        machines = {}
        for name, node in swarms.nodes.items():
            root = swarms.folder / f"m{name[-2:]}"
            (root / "var/run").mkdir(parents=True)
            (root / "var/run/docker.sock").symlink_to(node.folder / "docker.sock")
            ports = {port: FIRST_PORT + number for number, port in enumerate(PORTS)}
            inside = ["nsenter", f"--target={node.init}", "--net", "--"]
            machines[name] = AgentMachine(root, cluster, name, node.address, ports=ports, inside=inside)
            stack.callback(machines[name].stop)
            machines[name].start_haproxy()
            machines[name].start_agent()
        for machine in machines.values():
            machine.wait_until_ready(40)
        settings = load({"system": "air", "discovery": {"ttl_seconds": 2}, "clusters": {"test": {}}}, root=folder)
        told: list[str] = []
        work = lab_work(settings, store, manager, told)
        lab = ServiceLab(swarms, settings, work, {}, told)
        stack.callback(lab.clear)
        yield Place(lab, machines)


@contextmanager
def cable(swarms: SwarmLab) -> Iterator[None]:
    """Join this process's network to the lab's; nothing else is reached by it."""
    name, inside = f"lab{swarms.folder.name[-6:]}", ["nsenter", f"--target={swarms._init}", "--net"]
    for words in (
        ["ip", "link", "add", name, "type", "veth", "peer", "name", "here", "netns", str(swarms._init)],
        [*inside, "ip", "link", "set", "here", "master", "lab", "up"],
        ["ip", "address", "add", f"{HERE}/24", "dev", name],
        ["ip", "link", "set", name, "up"],
    ):
        subprocess.run(words, check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "link", "delete", name], check=True)
