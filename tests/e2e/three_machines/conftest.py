"""One cluster for the tests of this folder, which run in the order of their names."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from lab import START_SECONDS, Lab, cleared
from lanes import suite_of


@pytest.fixture(scope="package")
def project(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A project whose cluster is not started yet; what it leaves on the engine is removed in the end."""
    suite = suite_of("three_machines", os.environ)
    with cleared(tmp_path_factory.mktemp("project"), "sea", "e2e", 56, suite) as lab:
        yield lab


@pytest.fixture(scope="package")
def cluster(project: Lab) -> Lab:
    """Three healthy machines, shared by the tests that leave them so."""
    project.inv("local.start", "3", timeout=START_SECONDS)
    return project
