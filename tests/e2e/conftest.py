from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from found import note
from lab import START_SECONDS, Lab, cleared, made_by, with_database_at
from lanes import lane_of, suite_of


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the journeys that have come to a good end."""
    report = yield
    if report.when == "call" and report.passed:
        tests = item.path.relative_to(Path(__file__).parent).parts[0]
        for journey in item.iter_markers("journey"):
            for name in journey.args:
                note(lane_of(tests, os.environ), journey=name)
    return report


@pytest.fixture(scope="session")
def engine() -> None:
    """Skip where no Docker engine answers."""
    answers = (
        shutil.which("docker") and not subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    )
    if not answers:
        pytest.skip("no Docker engine answers here: `make setup` starts one")


@pytest.fixture(scope="module")
def growing(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Three healthy machines of a project whose cluster grows, is upgraded, shrinks; its database is on the first.

    The engine makes them; those of the other clusters Vagrant makes.
    """
    suite = suite_of("test_local_growth.py", os.environ)
    with cleared(tmp_path_factory.mktemp("growth"), "lake", "e2e-growth", 58, suite) as lab:
        lab.configure(with_database_at("192.168.58.101", "lake-01"))
        lab.configure(lambda document: made_by(document, "engine"))
        lab.inv("local.start", "3", timeout=START_SECONDS)
        yield lab
