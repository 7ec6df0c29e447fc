"""How long a rollout takes: what is decided, for very many machines; and a real one beside what can't be avoided.

    inv bench.rollout [--machines 1000] [--real 3,5]

The planner is timed alone, from a list of machines to the last decision, with every step in between as a record that
the driver would have written. Of a real rollout the journal has the moments (`measure`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.local import settings_in

from argosy import console
from argosy.cluster.change import Finish, Finished
from argosy.cluster.release import Release
from argosy.config.loading import Settings
from argosy.local import upgrading
from argosy.local.start import start
from argosy.local.stop import stop
from argosy.rollouts import view
from argosy.rollouts.plan import Findings, Found, begin_rollout, plan_lines
from argosy.rollouts.record import Options, Rollout, RolloutStep
from argosy.rollouts.run import Flags
from argosy.rollouts.transitions import Action, Began, Begin, Ended, Facts, Soak, Survey, Wait, advance, next_step

PLANNER_GOAL_SECONDS = 1.0
GOAL_RATIO = 1.25
"""Of a rolling upgrade to the sum of its parts that can't be avoided."""
PARTS = {
    "pull": (RolloutStep.PREPARING,),
    "stop and start": (RolloutStep.INSTALLING,),
    "check": (RolloutStep.CHECKING,),
}
"""What can't be avoided, by the steps that do it."""
OVERHEAD = {"drain": (RolloutStep.DRAINING,), "back into service": (RolloutStep.UNDRAINING,)}


@dataclass(frozen=True, slots=True)
class Planned:
    """What the planner took for a rollout of `machines`. `seconds`: of processor time, `plan_seconds` of it until the
    plan could be shown; `decisions`: how often it was asked what is next."""

    machines: int
    batch: str
    batches: int
    plan_seconds: float
    seconds: float
    decisions: int
    record_bytes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """A rollout that is over. `seconds`: from the first look at the machines to the last one's end; `whole_seconds`:
    the same with all before and after it, connections and the clean-up of images; `parts`: what all machines took
    together, by what it was for; `longest_pull`: of one machine, since they all pull at the same time."""

    machines: int
    seconds: float
    whole_seconds: float
    parts: dict[str, float]
    longest_pull: float

    @property
    def sum_seconds(self) -> float:
        """The sum of the parts that can't be avoided, as if the machines pulled one after the other."""
        return sum(self.parts[name] for name in PARTS)

    @property
    def path_seconds(self) -> float:
        """The same in the order in which they have to come: less than which a rollout can't take."""
        return self.sum_seconds - self.parts["pull"] + self.longest_pull


def measure(rollout: Rollout, whole_seconds: float) -> Measured:
    """Return what a finished rollout took, from its record (/cluster/rollouts/ID)."""
    ended = max((machine.since for machine in rollout.machines.values()), default=rollout.started)
    parts = {
        name: sum(machine.seconds.get(step, 0.0) for machine in rollout.machines.values() for step in steps)
        for name, steps in (PARTS | OVERHEAD).items()
    }
    pulls = [machine.seconds.get(RolloutStep.PREPARING, 0.0) for machine in rollout.machines.values()]
    seconds = (ended - rollout.started).total_seconds()
    return Measured(len(rollout.machines), seconds, whole_seconds, parts, max(pulls, default=0.0))


def plan_and_decide(machines: int, batch: str) -> Planned:
    """Plan a rollout and decide every step of it, each of which succeeds."""
    names = [f"air-{number:04}" for number in range(1, machines + 1)]
    old = Release("0.1.2", "registry:5000/air/installer/bench@sha256:old")
    found = tuple(Found(name, old) for name in names)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    began = time.process_time()
    rollout = begin_rollout(
        "bench",
        Release("0.1.3", "registry:5000/air/installer/bench@sha256:new"),
        Findings(found, tuple(names[:5]), away=2),
        Options(batch, canary=True, soak_seconds=30),
        by="bench",
        now=now,
        total=machines,
        whole=True,
    )
    plan_lines(rollout)
    planned = time.process_time()
    decisions, running, facts = 0, set[str](), None
    while True:
        action: Action = next_step(rollout, now, running, facts)
        decisions, facts = decisions + 1, None
        match action:
            case Begin(work):
                rollout = advance(rollout, Began(work), now)
                running |= {name for name, _ in work}
            case Wait():
                rollout = advance(rollout, Ended(running.pop()), now)
            case Survey():
                facts = Facts()
            case Soak(until):
                now = max(until, now + timedelta(seconds=1))
            case Finish():
                rollout = advance(rollout, Finished(), now)
                break
            case _:
                raise AssertionError(action)
    ended = time.process_time()
    return Planned(
        machines, batch, len(rollout.order), planned - began, ended - began, decisions, len(rollout.text().encode())
    )


def show_planned(planned: Iterable[Planned]) -> None:
    columns = ["machines", "batch", "batches", "plan, s", "all decisions, s", "decisions", "record, kB"]
    rows = [
        [
            plan.machines,
            plan.batch,
            plan.batches,
            f"{plan.plan_seconds:.3f}",
            f"{plan.seconds:.2f}",
            plan.decisions,
            f"{plan.record_bytes / 1000:.0f}",
        ]
        for plan in planned
    ]
    console.table(columns, rows)
    slowest = max(plan.seconds for plan in planned)
    met = "met" if slowest < PLANNER_GOAL_SECONDS else "missed"
    console.say(f"goal: a rollout planned and decided in under {PLANNER_GOAL_SECONDS:g} s of processor time: {met}")


def show_measured(measured: Iterable[Measured]) -> None:
    """Print each rollout beside the sum of its unavoidable parts, and whether the goal is met."""
    columns = [
        "machines",
        *(f"{name}, s" for name in PARTS | OVERHEAD),
        "took, s",
        "sum, s",
        "ratio",
        "path, s",
        "ratio",
    ]
    columns += ["whole, s", "goal"]
    rows = [
        [
            run.machines,
            *(f"{run.parts[name]:.1f}" for name in PARTS | OVERHEAD),
            f"{run.seconds:.1f}",
            f"{run.sum_seconds:.1f}",
            f"{run.seconds / run.sum_seconds:.2f}",
            f"{run.path_seconds:.1f}",
            f"{run.seconds / run.path_seconds:.2f}",
            f"{run.whole_seconds:.1f}",
            f"sum at most {GOAL_RATIO}: {'met' if run.seconds <= GOAL_RATIO * run.sum_seconds else 'missed'}",
        ]
        for run in measured
    ]
    console.table(columns, rows)
    console.say(
        "sum: of all pulls, stops and starts, and checks; path: the same with the longest pull alone, since all"
    )
    console.say("machines pull at once; whole: with connecting, the lock, and the clean-up of images at the end")


def roll_out(machines: int) -> Measured:
    """Start a local cluster of its own, upgrade it to a release of which one service differs, and remove it."""
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as name:
        folder = Path(name)
        settings = settings_in(folder)
        try:
            start(settings, machines, console.report)
            return measure(*_upgrade(settings_in(folder, version="2")))
        finally:
            stop(settings, console.report, everything=True)


def _upgrade(settings: Settings) -> tuple[Rollout, float]:
    """Upgrade to what is built and pushed before the clock runs; return the record, and the seconds."""
    with (
        upgrading.prepared(settings, Flags(), "local.rolling-upgrade", console.report) as upgrade,
        view.shown() as events,
    ):
        began = time.monotonic()
        return upgrade.run(events), time.monotonic() - began


def main(machines: int = 1000, real: Sequence[int] = ()) -> None:
    """Time the planner for so many machines, and real rollouts of clusters of the sizes `real`."""
    show_planned([plan_and_decide(machines, batch) for batch in ("1", "10", "25%")])
    if real:
        show_measured([roll_out(count) for count in real])
