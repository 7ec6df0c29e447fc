"""How long until what ran on a machine that lost its power runs elsewhere: our Swarm's settings beside Docker's own.

    inv bench.failover [--rounds 3]

Three managers and a worker, each with an engine of its own in namespaces of its own, as the integration tests make
them; their folder must be on Python's path. One of four instances starts elsewhere, two seconds after it was given up.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

from swarm_lab import IMAGE, SwarmLab, swarm_lab
from waiting import until

from argosy import console
from argosy.config.loading import load
from argosy.engine.swarm import Swarm
from argosy.engine.swarm_model import READY, RUNNING, WORKER

MACHINES = 4
GOAL_SECONDS = 30
DOCKERS_SECONDS = 5
"""`docker swarm init --help`: --dispatcher-heartbeat."""
SETTLED_SECONDS = 120
SERVICE: dict[str, Any] = {
    "Name": "lost",
    "TaskTemplate": {
        "ContainerSpec": {"Image": IMAGE, "Command": ["sleep", "100000"], "Init": True},
        "RestartPolicy": {"Condition": "any", "Delay": 2_000_000_000},
    },
    "Mode": {"Replicated": {"Replicas": MACHINES}},
}


@dataclass(frozen=True)
class Tuning:
    """`heartbeat_seconds`: as under `swarm:` in the configuration."""

    who: str
    heartbeat_seconds: float


@dataclass(frozen=True)
class Loss:
    """One machine's power-off. `lost`: what it was."""

    who: str
    lost: str
    seconds: float


def tunings() -> list[Tuning]:
    ours = load({"clusters": {"bench": {}}}).swarm
    return [Tuning("argosy", ours.heartbeat_seconds), Tuning("docker's own", DOCKERS_SECONDS)]


def losses(tuning: Tuning, rounds: int) -> list[Loss]:
    """Power off the worker and the leader in turn; each comes back before the next goes."""
    with swarm_lab(MACHINES) as lab:
        lab.form(managers=3, heartbeat_seconds=tuning.heartbeat_seconds)
        return [loss(lab, tuning, lost) for _ in range(rounds) for lost in ("worker", "leader")]


def loss(lab: SwarmLab, tuning: Tuning, lost: str) -> Loss:
    """Let an instance run on each machine, power one off, and wait until the others have its instance."""
    everywhere = set(lab.nodes)
    nodes = manager(lab).nodes()
    name = next(node.hostname for node in nodes if (node.leader if lost == "leader" else node.role == WORKER))
    service = manager(lab).create_service(SERVICE)
    until(lambda: set(places(lab, service)) == everywhere, SETTLED_SECONDS, every=0.1)
    lab.power_off(name)
    began = time.monotonic()
    until(lambda: sum(place != name for place in places(lab, service)) == len(everywhere), SETTLED_SECONDS, every=0.1)
    seconds = time.monotonic() - began
    manager(lab).remove_service(service)
    lab.start(name)
    until(lambda: {node.state for node in manager(lab).nodes()} == {READY}, SETTLED_SECONDS, every=0.1)
    return Loss(tuning.who, lost, seconds)


def manager(lab: SwarmLab) -> Swarm:
    """Return the first manager that has power and a leader, as soon as there is one."""
    found: list[Swarm] = []

    def look() -> bool:
        for node in lab.nodes.values():
            if node.process and node.swarm.info().cluster_id:
                found.append(node.swarm)
                return True
        return False

    until(look, SETTLED_SECONDS, every=0.1)
    return found[0]


def places(lab: SwarmLab, service: str) -> list[str]:
    """Return the machines that instances must run and do run on, one for each."""
    swarm = manager(lab)
    names = {node.id: node.hostname for node in swarm.nodes()}
    return [names[task.node_id] for task in swarm.tasks(service) if task.runs and task.desired == RUNNING]


def show(found: list[Loss]) -> None:
    rows = []
    for who in dict.fromkeys(loss.who for loss in found):
        for lost in ("worker", "leader"):
            seconds = [loss.seconds for loss in found if (loss.who, loss.lost) == (who, lost)]
            rows.append([who, lost, f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}"])
    console.table(["settings", "lost", "elsewhere after, s (median)", "at most"], rows)
    worst = max(loss.seconds for loss in found if loss.who == "argosy")
    met = "met" if worst <= GOAL_SECONDS else "missed"
    console.say(f"goal: instances of a lost machine run elsewhere within {GOAL_SECONDS} s: {met}")


def main(rounds: int = 3, as_json: bool = False) -> None:
    found = [loss for tuning in tunings() for loss in losses(tuning, rounds)]
    if as_json:
        console.print_json([asdict(loss) for loss in found])
    else:
        show(found)
