from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab import Lab, docker, make_project

from argosy.atomic import locked

START_SECONDS = 600


@pytest.fixture(scope="session")
def engine() -> None:
    """Skip where no Docker engine answers."""
    answers = (
        shutil.which("docker") and not subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    )
    if not answers:
        pytest.skip("no Docker engine answers here: `make setup` starts one")


@pytest.fixture(scope="session")
def project(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A project whose cluster is not started yet; what it leaves on the engine is removed in the end."""
    with cleared(tmp_path_factory.mktemp("project"), "e2e", 56) as lab:
        yield lab


@pytest.fixture(scope="session")
def cluster(project: Lab) -> Lab:
    """Three healthy machines, shared by the tests that leave them so."""
    project.inv("local.start", "3", timeout=START_SECONDS)
    return project


@pytest.fixture(scope="module")
def solo(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Another project, for journeys that break their cluster."""
    with cleared(tmp_path_factory.mktemp("solo"), "e2e-solo", 57) as lab:
        yield lab


@pytest.fixture(scope="module")
def growing(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Three healthy machines of a project whose cluster grows, is upgraded and shrinks."""
    with cleared(tmp_path_factory.mktemp("growth"), "e2e-growth", 58) as lab:
        lab.inv("local.start", "3", timeout=START_SECONDS)
        yield lab


@contextmanager
def cleared(root: Path, cluster: str, third: int) -> Iterator[Lab]:
    """Yield a project, without what an earlier, killed test run left of its cluster, and leave only images."""
    lab = make_project(root, cluster, third)
    # Another test run on this engine would have clusters of the same names: one after the other.
    with locked(Path(tempfile.gettempdir()) / f"argosy-{cluster}.lock"):
        remove_leftovers(lab)
        try:
            yield lab
        finally:
            lab.end_begun()
            lab.inv("local.stop", "--all", check=False)
            remove_leftovers(lab)


def remove_leftovers(lab: Lab) -> None:
    for kind, options in (("container", ["--force", "--volumes"]), ("network", []), ("volume", [])):
        found = lab.on_engine(kind)
        if found:
            docker(kind, "rm", *options, *found)
