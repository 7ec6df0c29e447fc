"""docs/support.md says what the tests found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from found import RECORDED, facts
from lanes import CHOSEN, JOURNEYS, LABS, LANES, lane_of
from scripts.support import render_support

from argosy.config.suites import PYTHONS

ROOT = Path(__file__).parents[2]
E2E = ROOT / "tests" / "e2e"


def test_the_page_is_what_the_lanes_tests_found() -> None:
    recorded = json.loads(RECORDED.read_text())
    assert set(recorded) == set(LANES)
    virtual = json.loads((ROOT / "tests" / "vm" / "proven.json").read_text())
    assert (ROOT / "docs" / "support.md").read_text() == render_support(recorded, virtual), "inv docs"


@pytest.mark.parametrize("name", LANES)
def test_a_lane_is_of_the_suite_that_it_names(name: str) -> None:
    recorded = json.loads(RECORDED.read_text())[name]
    assert recorded["machine"]["python"] == PYTHONS[LANES[name].suite]


def test_the_labs_are_shared_out_over_all_lanes() -> None:
    assert set(LABS.values()) == set(LANES)
    labs = {path.name for path in E2E.iterdir() if path.name.startswith("test_") or (path / "conftest.py").exists()}
    assert labs == set(LABS)


def test_every_journey_is_a_test_s() -> None:
    texts = [path.read_text() for path in E2E.rglob("test_*.py") if path.name != "test_newest.py"]
    assert [name for name in JOURNEYS if not any(f'journey("{name}")' in text for text in texts)] == []


def test_a_lane_that_is_named_is_everybody_s() -> None:
    assert lane_of("test_boot.py", {}) == "trixie"
    assert lane_of("test_boot.py", {CHOSEN: "bookworm"}) == "bookworm"


def test_of_a_version_two_numbers_count() -> None:
    told = """
os Debian GNU/Linux forky
docker 28.5.2+dfsg4
cgroup v2
haproxy HAProxy version 3.2.26-1 2026/05/20 - https://haproxy.org/
etcd etcd Version: 3.5.30
"""
    assert facts(told) == {
        "os": "Debian GNU/Linux forky",
        "docker": "28.5",
        "cgroup": "v2",
        "haproxy": "3.2",
        "etcd": "3.5",
    }
