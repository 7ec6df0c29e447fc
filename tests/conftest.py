"""What every test shares."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

# How long one example takes depends on what else the machine does; pytest's own timeout ends a test that hangs.
settings.register_profile("argosy", deadline=None)
settings.load_profile("argosy")

# Agents that tests start find the installer's code, as they do in their image.
os.environ["PYTHONPATH"] = f"{Path(__file__).parents[1] / 'installer'}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")

# A shell starts what it runs in the background with Ctrl-C ignored, and whatever that starts inherits it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simulation")
    group.addoption("--stories", type=int, help="how many stories the crash simulator tells (1500)")
    group.addoption("--story", type=int, help="the seed of a single story of the crash simulator, told again")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_minutes, reverse=True)


def _minutes(item: pytest.Item) -> float:
    """Return how long the file of a test takes, as far as it says so."""
    slow = item.get_closest_marker("slow")
    return (slow.args or (1,))[0] if slow else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Side by side, one process runs a file from its first test to its last."""
    return SharedMachines(config, log)


class SharedMachines(LoadFileScheduling):
    """One process runs all files of a folder in e2e as well, in order: its tests share machines."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        return folder if folder.startswith("tests/e2e/") else file


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In a run of everything (`inv test`) what would be skipped for want of a program fails: nothing hides there."""
    report = yield
    if report.skipped and os.environ.get("ARGOSY_SKIP_NOTHING"):
        report.outcome = "failed"
        report.longrepr = f"would be skipped, but `inv test` skips nothing: {report.longrepr}"
    return report
