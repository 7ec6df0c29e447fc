"""How long `cluster.status` takes, beside what no task that asks all machines can do without: `cluster.run true`.

    inv bench.status [--runs 5] [--endpoints 50] [--json]

Processes from their start to their end, in turns, so that whatever else the host does hits all of them alike; medians
are compared. On the chosen cluster, when there is one, beside a container of the installer's on each machine, which is
how a machine without an agent is asked. Then on machines that are simulated: sshds on loopback, three of them with a
real etcd, each with a command that prints its status.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from bench.contenders import ROOT
from bench.endpoints import endpoints
from bench.fanout import Goal
from etcd_cluster import EtcdCluster, binaries

from argosy import console, etcd, inventory
from argosy.config.loading import Settings
from argosy.model import Machine

GOAL_SECONDS = 1.2
GOAL_MACHINES = 3
MEMBERS = 3
UNHEALTHY = 32
RELEASE = "0.1.0"

STATUS = "cluster.status"
BASE = "cluster.run true"
TASKS: dict[str, list[str]] = {STATUS: ["cluster.status"], BASE: ["cluster.run", "true"]}
CONTAINER = "a container on each machine"

Seconds = dict[str, list[float]]


def measure(tasks: Mapping[str, Sequence[str]], folder: Path, runs: int) -> Seconds:
    """Let the tasks take turns in the project `folder`, after a run of each that is not counted."""
    found: Seconds = {name: [] for name in tasks}
    for turn in range(runs + 1):
        for name, words in tasks.items():
            console.report("bench.status", f"round {turn} of {runs}: {name}")
            seconds = _timed(words, folder)
            if turn:
                found[name].append(seconds)
    return found


def _timed(words: Sequence[str], folder: Path) -> float:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    argv = [sys.executable, "-m", "invoke", *words]
    started = time.perf_counter()
    ended = subprocess.run(argv, cwd=folder, env=kept, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if ended.returncode not in (0, UNHEALTHY):
        raise SystemExit(f"inv {' '.join(words)} ended with {ended.returncode}: {ended.stderr.strip()[-500:]}")
    return seconds


def on_cluster(settings: Settings, runs: int) -> Seconds:
    """Measure the tasks on a real cluster, beside a container of the installer's on each machine."""
    installer = f"/opt/{settings.system}/bin/installer status --json"
    chosen = ["--cluster", settings.cluster]
    tasks = {name: [*words, *chosen] for name, words in TASKS.items()}
    return measure(tasks | {CONTAINER: ["cluster.run", installer, "--sudo", *chosen]}, settings.root, runs)


def on_endpoints(count: int, runs: int) -> Seconds:
    """Measure the tasks on `count` simulated machines. Raises SystemExit with one line where that can't be done."""
    with simulated(count) as folder:
        return measure(TASKS, folder, runs)


@contextmanager
def simulated(count: int) -> Iterator[Path]:
    """Give a project whose machines are sshds on loopback and say that they are well."""
    cache = ROOT / ".argosy" / "bench"
    cache.mkdir(parents=True, exist_ok=True)
    programs = next(iter(binaries(cache).values()), None)
    if os.geteuid() or programs is None:
        raise SystemExit(
            "simulated machines need root, for a mount namespace, and an etcd: apt-get install etcd-server"
        )
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as name:
        folder = Path(name)
        (folder / "opt/air/bin").mkdir(parents=True)
        (folder / "ssh").mkdir()
        cluster = EtcdCluster(folder, programs, MEMBERS)
        members = [machine.address for machine in cluster.machines]
        try:
            cluster.start()
            cluster.wait_until_healthy()
            with endpoints(count, folder / "ssh", members, folder / "opt") as places:
                machines = [Machine(f"air-{at:02}", address) for at, address in enumerate(places.addresses, start=1)]
                _write_project(cluster, {"user": places.user, "port": places.port, "key": places.key})
                settings = cluster.settings()
                shutil.copy(places.known_hosts, settings.state_path / "known_hosts")
                inventory.save(settings, machines)
                _write_program(folder / "opt/air/bin/air")
                with etcd.connect(settings, cluster.machines) as store:
                    for at, machine in enumerate(machines):
                        known = {"role": "member" if at < MEMBERS else "client", "release": RELEASE}
                        store.put(f"/machines/{machine.name}", json.dumps(known | {"address": machine.address}))
                yield folder
        finally:
            cluster.kill(*list(cluster.processes))


def _write_project(cluster: EtcdCluster, ssh: Mapping[str, object]) -> None:
    section = {"etcd": {"client_port": cluster.client_port}, "swarm": {"enabled": False}, "ssh": dict(ssh)}
    document = {"system": "air", "clusters": {"test": section}}
    (cluster.folder / "invoke.yaml").write_text(yaml.safe_dump(document))
    (cluster.folder / "tasks.py").write_text("from argosy import ns\n")
    cluster.settings().state_path.mkdir(parents=True)


def _write_program(path: Path) -> None:
    services = [{"name": name, "unit": "active", "check": "passing", "version": RELEASE} for name in ("db", "web")]
    path.write_text(f"#!/bin/sh\necho '{json.dumps({'state': 'active', 'release': RELEASE, 'services': services})}'\n")
    path.chmod(0o755)


def show(title: str, found: Seconds) -> None:
    base = statistics.median(found[BASE])
    rows: list[list[object]] = [
        [name, f"{statistics.median(items):.2f} s", f"{statistics.median(items) / base:.2f}", f"{min(items):.2f} s"]
        for name, items in found.items()
    ]
    console.say(title)
    console.table(["", "median", f"times `{BASE}`", "quickest"], rows)
    console.say("")


def main(settings: Settings, runs: int, count: int, as_json: bool) -> None:
    """Measure, and print the figures and whether the goal is met."""
    document: dict[str, object] = {"cores": os.cpu_count(), "load_average": os.getloadavg()[0]}
    machines = len(inventory.load(settings))
    found = on_cluster(settings, runs) if machines else {}
    simulation = on_endpoints(count, runs) if count else {}
    if as_json:
        console.print_json(
            document | {"machines": machines, "cluster": found, "endpoints": count} | {"simulated": simulation}
        )
        return
    if found:
        show(f"The cluster {settings.cluster}, {machines} machines", found)
        seconds = statistics.median(found[STATUS])
        if machines == GOAL_MACHINES:
            console.say(str(Goal(f"at most {GOAL_SECONDS:g} s", seconds <= GOAL_SECONDS, f"{seconds:.2f} s")) + "\n")
    else:
        console.say(f"The cluster {settings.cluster} has no machines here: inv local.start makes some\n")
    if simulation:
        show(f"{count} simulated machines", simulation)
