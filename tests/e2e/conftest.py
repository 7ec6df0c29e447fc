from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest
from lab import START_SECONDS, Lab, cleared, made_by, with_database_at


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
    with cleared(tmp_path_factory.mktemp("growth"), "lake", "e2e-growth", 58) as lab:
        lab.configure(with_database_at("192.168.58.101", "lake-01"))
        lab.configure(lambda document: made_by(document, "engine"))
        lab.inv("local.start", "3", timeout=START_SECONDS)
        yield lab
