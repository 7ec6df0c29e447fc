from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest
from lab import CLUSTER, SYSTEM, Lab, docker, make_project

START_SECONDS = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A project whose cluster is not started yet; what it leaves on the engine is removed in the end."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Docker engine answers here: `make engine` starts one")
    lab = make_project(tmp_path_factory.mktemp("project"))
    remove_leftovers(lab)
    yield lab
    lab.inv("local.stop", "--all", check=False)
    remove_images()


@pytest.fixture(scope="session")
def cluster(project: Lab) -> Lab:
    """Three healthy machines, shared by the tests that leave them so."""
    project.inv("local.start", "3", timeout=START_SECONDS)
    return project


def remove_leftovers(lab: Lab) -> None:
    """Clear what an earlier, killed test run left: it has the same names."""
    lab.inv("local.stop", "--all", check=False)
    shutil.rmtree(lab.root / "secrets", ignore_errors=True)
    for kind, options in (("container", ["--force", "--volumes"]), ("network", []), ("volume", [])):
        everything = ["--all"] if kind == "container" else []
        found = docker(kind, "ls", *everything, "--quiet", "--filter", f"label=argosy.cluster={CLUSTER}").split()
        if found:
            docker(kind, "rm", *options, *found)


def remove_images() -> None:
    found = set(docker("image", "ls", "--quiet", "--filter", f"label=argosy.system={SYSTEM}").split())
    if found:
        docker("image", "rm", "--force", *found, check=False)
