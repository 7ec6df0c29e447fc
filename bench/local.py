"""From built and pushed images to healthy machines: how long `local.start` takes, phase by phase.

    inv bench.local [--machines 3] [--runs 1]

Makes a cluster of its own (`bench`, 192.168.58.0/24) of this repository's example, beside whatever else runs: once to
build and push, then `--runs` times from nothing but images and registry. Removes it in the end.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import yaml

from argosy import console
from argosy.config.loading import Settings, load
from argosy.local.settings import localized
from argosy.local.start import Started, start
from argosy.local.stop import stop

ROOT = Path(__file__).resolve().parents[1]
CLUSTER = "bench"
SUBNET = "192.168.58.0/24"
REGISTRY_PORT = 5058
BALANCER_PORT = 8058
GOAL_SECONDS = 60


def settings_in(folder: Path, version: str = "") -> Settings:
    """Return the example's settings with everything that a cluster keeps moved to `folder`.

    `version`: another one makes another release, of which only the frontend differs.
    """
    document: dict[str, Any] = yaml.safe_load((ROOT / "invoke.yaml").read_text())
    section = document["clusters"].pop("local")
    section["registry"] = {"address": f"192.168.58.1:{REGISTRY_PORT}"}
    section["local"]["subnet"] = SUBNET
    section["local"]["balancer"] = {"port": BALANCER_PORT}
    document["clusters"] = {CLUSTER: section}
    document["state_dir"] = str(folder / "state")
    document["secrets_dir"] = str(folder / "secrets")
    document["secrets"]["database-password"]["file"] = str(folder / "secrets" / CLUSTER / "database-password")
    if version:
        document["services"]["frontend"]["env"]["BENCH_VERSION"] = version
    return localized(load(document, root=ROOT))


def measure(settings: Settings, machines: int, runs: int) -> list[Started]:
    """Start the cluster once to have images and registry, then `runs` times; stop it after each."""
    found = []
    for run in range(runs + 1):
        started = start(settings, machines, console.report)
        stop(settings, console.report)
        if run:
            found.append(started)
    return found


def show(found: list[Started], machines: int) -> None:
    columns = ["phase", *(f"run {number}" for number in range(1, len(found) + 1)), "median"]
    rows = []
    for timings in zip(*(started.timings for started in found), strict=True):
        seconds = [timing.seconds for timing in timings]
        rows.append([timings[0].title, *(f"{second:.1f}" for second in [*seconds, statistics.median(seconds)])])
    totals = [started.seconds for started in found]
    rows.append(["total", *(f"{total:.1f}" for total in [*totals, statistics.median(totals)])])
    console.table(columns, rows)
    met = "met" if statistics.median(totals) < GOAL_SECONDS else "missed"
    console.say(f"{machines} machines from built and pushed images, seconds; goal: under {GOAL_SECONDS}: {met}")


def main(machines: int = 3, runs: int = 1) -> None:
    """Measure, then print the seconds of each phase beside the goal."""
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as folder:
        settings = settings_in(Path(folder))
        try:
            found = measure(settings, machines, runs)
        finally:
            stop(settings, console.report, everything=True)
    show(found, machines)
