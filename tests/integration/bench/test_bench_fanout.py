"""The fan-out benchmark at a small size: it measures, checks the answers, and leaves nothing running."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import tenacity
from ssh_server import requires_sshd

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from bench import contenders, fanout  # noqa: E402 (bench/ is no package of the distribution)
from bench.endpoints import endpoints  # noqa: E402

pytestmark = [pytest.mark.integration, requires_sshd]


def processes_of(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if str(folder).encode() in words:
            found.append(words.replace(b"\0", b" ").decode())
    return found


def test_the_contenders_are_measured_and_nothing_is_left(tmp_path: Path) -> None:
    taking_part = {name: contenders.library(name, Path(sys.executable), rounds=2) for name in ("ours", "fabric")}
    with endpoints(18, tmp_path) as places:
        assert len(list(tmp_path.glob("sshd-*"))) == 2, "an sshd takes sixteen addresses"
        found = fanout.measure({**taking_part, "xargs": contenders.xargs}, places, 1)
    for attempt in tenacity.Retrying(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(5), reraise=True):
        with attempt:
            assert processes_of(tmp_path) == []
    for timings in found.values():
        middle = fanout.median(timings)
        assert 0 < middle.warm < middle.cold <= middle.process
    assert found["ours"][0].peak_megabytes


def test_goals_are_judged_by_ratio() -> None:
    medians = {
        "ours": contenders.Timing(process=2, cold=1.0, warm=0.1),
        "Fabric ThreadingGroup": contenders.Timing(process=2, cold=0.9, warm=0.2),
        "Ansible": contenders.Timing(process=9, cold=6, warm=0.4),
    }
    judged = [(goal.met, goal.found) for goal in fanout.goals(medians, 100, 500)]
    assert judged == [
        (False, "1.11x its time"),
        (True, "0.50x its time"),
        (True, "6.0 times"),
        (False, "4.0 times"),
        (True, "100 MB"),
    ]
