"""A CI runner with a clean checkout, an empty engine, its bundle and the bundle's key: docs/ci.md, word by word."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, docker, eventually

from argosy.config.suites import base_image
from argosy.local.makers.container import cgroup_version, machine_flags

pytestmark = [pytest.mark.e2e, pytest.mark.slow(8), pytest.mark.timeout(900)]

FILES = ("example", "VERSION", "tasks.py", "invoke.yaml")
"""What the repository holds, as git would check it out: no secret, and nothing that is remembered."""


@pytest.fixture(scope="module")
def key() -> str:
    return secrets.token_urlsafe(24)


@pytest.fixture(scope="module")
def founder(started: Lab, key: str) -> Lab:
    """The checkout that set the cluster up, with the key of the runner's bundle."""
    return Lab(started.root, started.system, started.cluster, started.third, environment={"ARGOSY_BUNDLE_KEY": key})


@pytest.fixture(scope="module")
def empty_engine(founder: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An engine that has just the base image, which no registry here has: what DOCKER_HOST says of it."""
    folder, name = tmp_path_factory.mktemp("engine"), f"{founder.cluster}-runner-engine"
    image = f"{founder.system}/machine"
    tag = docker("image", "ls", image, "--format", "{{.Tag}}").split()[0]
    (network,) = founder.on_engine("network")
    flags = machine_flags(cgroup_version({"CgroupVersion": docker("info", "--format", "{{.CgroupVersion}}")}))
    words = ["--detach", *flags, "--name", name, "--network", network, "--entrypoint", "dockerd"]
    mounts = ["--volume", f"{folder}:/ci", "--volume", "/etc/docker/certs.d:/etc/docker/certs.d:ro"]
    docker("rm", "--force", "--volumes", name, check=False)
    docker("run", *words, *mounts, f"{image}:{tag}", "--host", "unix:///ci/docker.sock", "--log-level", "warn")
    host = f"unix://{folder}/docker.sock"
    try:
        eventually(
            "the engine answers", lambda: bool(docker("--host", host, "info", "--format", "{{.ID}}", check=False))
        )
        saved = subprocess.run(["docker", "save", base_image(founder.suite)], capture_output=True, check=True).stdout
        subprocess.run(["docker", "--host", host, "load"], input=saved, capture_output=True, check=True)
        yield host
    finally:
        docker("rm", "--force", "--volumes", name)


@pytest.fixture(scope="module")
def runner(founder: Lab, empty_engine: str, key: str, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A clean checkout, with the bundle that was put into the repository."""
    said = founder.inv("operator.add", "ci", "--output", "ci/bay.age").stdout
    assert said.rstrip().endswith("inv operator.join bay.age")
    root = tmp_path_factory.mktemp("runner")
    for name in FILES:
        source = founder.root / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / name)
    (root / "ci").mkdir()
    shutil.copy(founder.root / "ci" / "bay.age", root / "ci" / "bay.age")
    own = {"ARGOSY_BUNDLE_KEY": key, "DOCKER_HOST": empty_engine}
    lab = Lab(root, founder.system, founder.cluster, founder.third, environment=own)

    def standing_elsewhere(document: dict[str, Any]) -> None:
        """For the runner, the machines are somewhere: no tasks of `local`, nor what they run on this host."""
        section = document["clusters"][lab.cluster]
        section["provider"] = "static"
        # The database was this host's: its image, 370 MB, has no use there.
        del section["local"]["dependencies"], document["images"]["postgres"]
        section["settings"]["database/host"] = lab.host

    lab.configure(standing_elsewhere)
    return lab


def change(root: Path) -> None:
    """Change what the frontend serves: another commit."""
    page = next(path for path in sorted((root / "example" / "frontend").rglob("*.py")))
    page.write_text(f"{page.read_text()}\n# of the runner's commit\n")


def test_a_checkout_without_the_bundle_is_told_what_it_lacks(runner: Lab) -> None:
    assert "inv operator.join BUNDLE" in runner.refused(10, "cluster.rolling-upgrade", "--yes")


def test_a_wrong_key_opens_nothing(runner: Lab) -> None:
    guess = {"ARGOSY_BUNDLE_KEY": "guess"}
    wrong = Lab(runner.root, runner.system, runner.cluster, runner.third, environment=guess)
    assert "does not open it" in wrong.refused(10, "operator.join", "ci/bay.age")
    assert not (runner.root / "secrets").exists()


def test_the_runner_builds_pushes_and_upgrades(founder: Lab, runner: Lab) -> None:
    before = founder.json("cluster.status")["machines"][0]["release"]
    change(runner.root)
    runner.inv("operator.join", "ci/bay.age")
    assert not list((runner.root / "secrets").rglob("ca.key"))
    runner.inv("build.all", "registry.push", "cluster.rolling-upgrade", "--yes", timeout=800)
    after = runner.json("cluster.status")["machines"][0]["release"]
    assert after != before
    assert founder.json("cluster.status")["machines"][0]["release"] == after
    assert [row["name"] for row in runner.json("operator.list")] == ["ci"]


def test_the_runner_changes_nothing_but_releases(runner: Lab) -> None:
    line = runner.refused(11, "cluster.remove-machine", f"{runner.system}-01", f"{runner.system}-01", "--yes")
    assert line.startswith("operator ci has the rights deploy")
    assert "needs full" in runner.refused(11, "cluster.upload-secrets", "--yes")


def test_a_checkout_that_has_forgotten_its_machines_asks_the_cluster(runner: Lab) -> None:
    (runner.root / ".argosy" / runner.cluster / "machines.json").unlink()
    assert runner.run(f"{runner.system}-01", "echo here") == "here\n"


def test_a_runner_that_was_removed_is_shut_out(founder: Lab, runner: Lab) -> None:
    founder.inv("operator.remove", "ci", "--yes")
    assert "operator ci was removed" in runner.refused(11, "cluster.rolling-upgrade", "--yes")
    runner.refused(22, "cluster.run", "true")
    assert founder.inv("operator.remove", "ci", "--yes").stdout.strip() == "ci: nothing to do"
