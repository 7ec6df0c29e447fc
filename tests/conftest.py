"""What every test shares."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

# How long one example takes depends on what else the machine does; pytest's own timeout ends a test that hangs.
settings.register_profile("argosy", deadline=None)
settings.load_profile("argosy")

# A shell starts what it runs in the background with Ctrl-C ignored, and whatever that starts inherits it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simulation")
    group.addoption("--stories", type=int, help="how many stories the crash simulator tells (1500)")
    group.addoption("--story", type=int, help="the seed of a single story of the crash simulator, told again")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In a run of everything (`inv test`) what would be skipped for want of a program fails: nothing hides there."""
    report = yield
    if report.skipped and os.environ.get("ARGOSY_SKIP_NOTHING"):
        report.outcome = "failed"
        report.longrepr = f"would be skipped, but `inv test` skips nothing: {report.longrepr}"
    return report
