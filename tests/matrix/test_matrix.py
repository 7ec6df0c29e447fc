"""Every journey on every lane, one lane after the other; what was found is written down for docs/support.md.

Not part of a run of everything: `inv test --only matrix` takes an hour.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from found import FOUND, RECORDED
from lab import ROOT
from lanes import CHOSEN, JOURNEYS, LANES, Lane
from roots import checkout

LANE_SECONDS = 3600
PYTEST = (
    "-m",
    "pytest",
    "tests/e2e",
    "-m",
    "journey",
    "--ignore=tests/e2e/test_newest.py",
    "-n",
    "2",
    "--dist=loadfile",
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(LANE_SECONDS + 600)]


@contextmanager
def command(name: str, lane: Lane) -> Iterator[list[str]]:
    """Yield the command that runs the journeys where the lane's machines are."""
    if not lane.host:
        yield ["env", f"{CHOSEN}={name}", sys.executable, *PYTEST]
        return
    with (
        checkout(lane.host, cgroup=lane.cgroup) as host,
        host.engine(containerd_store=True, minimum_api="1.44"),
    ):
        yield host.argv([str(ROOT / ".venv/bin/python"), *PYTEST], str(ROOT), **{CHOSEN: name})


@pytest.mark.parametrize("name", LANES)
def test_every_journey_comes_to_a_good_end(name: str) -> None:
    FOUND.unlink(missing_ok=True)
    with command(name, LANES[name]) as argv:
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=LANE_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    noted = [json.loads(line) for line in FOUND.read_text().splitlines()]
    journeys = {entry["journey"] for entry in noted if "journey" in entry}
    assert journeys == set(JOURNEYS)
    found = [{key: entry[key] for key in ("host", "machine")} for entry in noted if "machine" in entry]
    assert all(each == found[0] for each in found)
    recorded = json.loads(RECORDED.read_text())
    recorded[name] = found[0] | {"journeys": list(JOURNEYS), "day": str(datetime.now(UTC).date())}
    RECORDED.write_text(json.dumps({name: recorded[name] for name in LANES if name in recorded}, indent=2) + "\n")
