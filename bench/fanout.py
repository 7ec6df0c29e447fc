"""One command on many ssh endpoints: ours beside raw Fabric, OpenSSH, Ansible and pyinfra, in one run.

    inv bench.fanout [--endpoints 50] [--repeats 5] [--many 500] [--json]

The endpoints are real sshds on loopback. The contenders take turns, so that whatever else the host does hits all of
them alike; medians are compared. Then ours alone at `--many` endpoints, for its memory.
"""

from __future__ import annotations

import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.contenders import ANSIBLE, PYINFRA, ROOT, Contender, Timing, contenders, library
from bench.endpoints import Endpoints
from bench.endpoints import endpoints as endpoints_on_loopback

from argosy import console

# "No slower" within what two runs of the same thing differ by.
NOISE = 1.05
FASTER_THAN_ANSIBLE = 5.0
PEAK_MEGABYTES = 128


@dataclass(frozen=True)
class Goal:
    name: str
    met: bool
    found: str

    def __str__(self) -> str:
        return f"{'met   ' if self.met else 'MISSED'} {self.name}: {self.found}"


def measure(taking_part: dict[str, Contender], places: Endpoints, repeats: int) -> dict[str, list[Timing]]:
    """Let the contenders take turns, each round beginning with another."""
    found: dict[str, list[Timing]] = {name: [] for name in taking_part}
    names = list(taking_part)
    for turn in range(repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            console.report("bench.fanout", f"round {turn + 1} of {repeats}: {name}")
            found[name].append(taking_part[name](places))
    return found


def median(timings: Sequence[Timing]) -> Timing:
    return Timing(
        process=statistics.median(timing.process for timing in timings),
        cold=statistics.median(timing.cold for timing in timings),
        warm=statistics.median(timing.warm for timing in timings),
    )


def goals(medians: dict[str, Timing], peak_megabytes: float, many: int) -> list[Goal]:
    ours, fabric = medians["ours"], medians["Fabric ThreadingGroup"]
    found = [
        Goal(
            "cold, no slower than raw Fabric",
            ours.cold <= fabric.cold * NOISE,
            f"{ours.cold / fabric.cold:.2f}x its time",
        ),
        Goal(
            "warm, no slower than raw Fabric",
            ours.warm <= fabric.warm * NOISE,
            f"{ours.warm / fabric.warm:.2f}x its time",
        ),
    ]
    if ansible := medians.get("Ansible"):
        for kind, ratio in (("cold", ansible.cold / ours.cold), ("warm", ansible.warm / ours.warm)):
            name = f"{kind}, at least {FASTER_THAN_ANSIBLE:g} times as fast as Ansible"
            found.append(Goal(name, ratio >= FASTER_THAN_ANSIBLE, f"{ratio:.1f} times"))
    if many:
        name = f"at most {PEAK_MEGABYTES} MB at {many} endpoints"
        found.append(Goal(name, peak_megabytes <= PEAK_MEGABYTES, f"{peak_megabytes:.0f} MB"))
    return found


def show(medians: dict[str, Timing], endpoints: int, repeats: int) -> None:
    ours = medians["ours"]

    def cell(seconds: float, base: float) -> str:
        return f"{seconds:.2f} s  {seconds / base:.2f}x"

    rows = [
        [name, cell(median.cold, ours.cold), cell(median.warm, ours.warm), cell(median.process, ours.process)]
        for name, median in medians.items()
    ]
    console.say(f"One command on {endpoints} endpoints, median of {repeats}; x: times ours")
    console.table(["", "connect and run, cold", "run, warm", "whole process, cold"], rows)


def described(places: int, repeats: int) -> dict[str, Any]:
    import os

    return {
        "endpoints": places,
        "repeats": repeats,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("fabric", "paramiko")} | {"ansible": ANSIBLE, "pyinfra": PYINFRA},
    }


def main(endpoints: int = 50, repeats: int = 5, many: int = 500, as_json: bool = False) -> None:
    """Run the benchmark and print its figures. `many`: 0 leaves the memory out."""
    state = ROOT / ".argosy" / "bench"
    state.mkdir(parents=True, exist_ok=True)
    taking_part, missing = contenders(state)
    setting = described(endpoints, repeats)
    with (
        tempfile.TemporaryDirectory(prefix="argosy-bench-") as folder,
        endpoints_on_loopback(endpoints, Path(folder)) as places,
    ):
        found = measure(taking_part, places, repeats)
    peak = peak_megabytes(many) if many else 0.0
    medians = {name: median(timings) for name, timings in found.items()}
    reached = goals(medians, peak, many)
    if as_json:
        runs = {name: [asdict(timing) for timing in timings] for name, timings in found.items()}
        medians_json = {name: asdict(timing) for name, timing in medians.items()}
        goals_json = [asdict(goal) for goal in reached]
        memory = {"endpoints": many, "peak_megabytes": peak}
        console.print_json(
            {
                **setting,
                "medians": medians_json,
                "memory": memory,
                "goals": goals_json,
                "missing": missing,
                "runs": runs,
            }
        )
        return
    show(medians, endpoints, repeats)
    for name, why in missing.items():
        console.say(f"{name} did not take part: {why}")
    for goal in reached:
        console.say(str(goal))


def peak_megabytes(many: int) -> float:
    """Return the most memory that our process ever had while all of `many` connections are open."""
    console.report("bench.fanout", f"memory at {many} endpoints")
    with (
        tempfile.TemporaryDirectory(prefix="argosy-bench-") as folder,
        endpoints_on_loopback(many, Path(folder)) as places,
    ):
        timing = library("ours", Path(sys.executable), rounds=1)(places)
    assert timing.peak_megabytes
    return timing.peak_megabytes


if __name__ == "__main__":
    main()
