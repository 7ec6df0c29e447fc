"""How long an update of a scheduled service takes, and what it costs its users: ours beside Docker Swarm's own.

    inv bench.service [--instances 8] [--rate 100]

Both on the same engines, routers and agents: a Swarm of three as the integration tests make it, whose folder must be on
Python's path. The peer is a service of the same spec, which our agents register as well, and which `docker service
update --update-order start-first` brings to the next version. Requests go to the routers of all machines meanwhile, by
name, each on a connection of its own; every other one may not be tried twice.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from etcd_cluster import EtcdCluster, binaries
from update_lab import UpdateLab, parsed, update_lab, version
from waiting import until

from argosy import console, etcd
from argosy.errors import Refused
from argosy.schema.labels import GENERATION
from argosy.services.record import Generation, ServiceImage
from argosy.services.spec import render_spec

OURS, PEER = "web", "peer"
SERVER = (
    "mkdir -p /w/cgi-bin; echo $VERSION >/w/index.html; "
    "printf '#!/bin/sh\\nsleep 0.2\\nprintf \"\\\\r\\\\n$VERSION\\\\n\"\\n' >/w/cgi-bin/slow; "
    "chmod +x /w/cgi-bin/slow; httpd -f -p 80 -h /w & trap 'kill $!; exit 0' TERM; wait"
)
"""It ends at once when it is told to: what it has begun is cut off. A POST takes it 0.2 s."""
GOAL_RATIO = 1.0


@dataclass
class Run:
    """One update. `failures`: of how many `requests`, as clients saw it."""

    who: str
    seconds: float
    requests: int
    failures: int
    reasons: dict[str, int] = field(default_factory=dict)


def served(instances: int, number: int) -> dict[str, Any]:
    return version(number, replicas=instances, command=["sh", "-c", SERVER], stop={"grace_seconds": 10})


@contextmanager
def place(folder: Path) -> Iterator[UpdateLab]:
    """Give the lab."""
    programs = binaries(folder)
    if not programs:
        raise Refused("no etcd here: apt-get update, then again")
    cluster = EtcdCluster(folder, next(iter(programs.values())), size=1)
    cluster.start()
    try:
        cluster.wait_until_healthy()
        with (
            pytest.MonkeyPatch.context() as patch,
            etcd.connect(cluster.settings(), cluster.machines) as store,
            update_lab(cluster, store, patch) as lab,
        ):
            yield lab
    finally:
        cluster.stop()


def begin_peer(lab: UpdateLab, instances: int) -> None:
    """Let Swarm run a service of the same spec, which nobody but Swarm updates."""
    definition = parsed({PEER: served(instances, 1)})[PEER]
    image = ServiceImage(definition.image, "1")
    spec = copy.deepcopy(render_spec(lab.settings, PEER, Generation(1, definition, image), instances))
    spec["Name"], spec["Labels"] = PEER, {}
    del spec["TaskTemplate"]["ContainerSpec"]["Labels"][GENERATION]
    lab.work.swarm.create_service(spec)
    lab.until_served("1", PEER)
    until(lambda: sum(key.startswith("hosts/") for key in lab.routes(PEER)) == instances, 60)


def measured(lab: UpdateLab, who: str, name: str, rate: float, update: Callable[[], object]) -> Run:
    """Update under load; the clock stops when nothing of the old version is left."""
    with lab.load(name, rate=rate, path="/cgi-bin/slow", threads=24) as load:
        began = time.monotonic()
        update()
        seconds = time.monotonic() - began
    reasons: dict[str, int] = {}
    for _, _, reason in load.failures:
        reasons[reason] = reasons.get(reason, 0) + 1
    requests = sum(load.answers.values()) + len(load.failures)
    return Run(who, seconds, requests, len(load.failures), reasons)


def update_peer(lab: UpdateLab, number: int, parallelism: int) -> None:
    """Let Swarm update the peer, and wait as its command does until all of that is over."""
    words = [
        "--update-order",
        "start-first",
        "--update-parallelism",
        str(parallelism),
        "--env-add",
        f"VERSION={number}",
    ]
    lab.swarms.nodes["air-01"].docker("service", "update", "--quiet", "--no-resolve-image", *words, PEER)
    service = lab.work.swarm.service(PEER)
    assert service is not None
    wanted = service.replicas
    until(lambda: sum(not task.over for task in lab.work.swarm.tasks(service.id)) == wanted, 120)


def runs(lab: UpdateLab, instances: int, rate: float, rounds: int) -> list[Run]:
    """Let all take turns."""
    lab.submit(None, **{OURS: served(instances, 1)})
    begin_peer(lab, instances)
    lab.until_served("1", OURS)
    found, number = [], 1
    for _ in range(rounds):
        number += 1
        wanted = served(instances, number)
        found.append(measured(lab, "argosy", OURS, rate, lambda wanted=wanted: lab.update(**{OURS: wanted})))  # type: ignore[misc]
        for parallelism in (1, instances):
            number += 1
            who = f"docker, {parallelism} at a time"
            found.append(
                measured(lab, who, PEER, rate, lambda it=number, many=parallelism: update_peer(lab, it, many))  # type: ignore[misc]
            )
    return found


def show(found: Iterable[Run]) -> None:
    by: dict[str, list[Run]] = {}
    for run in found:
        by.setdefault(run.who, []).append(run)
    ours = statistics.median(run.seconds for run in by["argosy"])
    rows = []
    for who, every in by.items():
        seconds = statistics.median(run.seconds for run in every)
        failures, requests = sum(run.failures for run in every), sum(run.requests for run in every)
        reasons = sorted({reason for run in every for reason in run.reasons})
        rows.append([who, f"{seconds:.1f}", f"{seconds / ours:.2f}", f"{failures} of {requests}", "; ".join(reasons)])
    console.table(["update by", "took, s", "ratio", "failed requests", ""], rows)
    lost = sum(run.failures for run in by["argosy"])
    peer = statistics.median(run.seconds for who, every in by.items() if who.endswith("1 at a time") for run in every)
    console.say(f"goal: no request of ours fails: {'met' if not lost else 'missed'}")
    met = "met" if ours <= GOAL_RATIO * peer else "missed"
    console.say(f"goal: no slower than docker service update as it is (1 at a time): {met}")


def main(instances: int = 8, rate: float = 100, rounds: int = 3, as_json: bool = False) -> None:
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as name, place(Path(name)) as lab:
        found = runs(lab, instances, rate, rounds)
    if as_json:
        console.print_json([asdict(run) for run in found])
    else:
        show(found)
