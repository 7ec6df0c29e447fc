"""What goes into the images of the agent and the installer: enough to run, and nothing that has no business there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

from argosy.builds.own_modules import PACKAGE, agent_files, installer_files

ROOT = Path(__file__).resolve().parents[3]


def placed(files: dict[str, Path], folder: Path) -> Path:
    for name, source in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(source.read_bytes())
    return folder


def run(folder: Path, program: str, *options: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path.insert(0, {str(folder)!r}); {program}"
    return subprocess.run([sys.executable, *options, "-c", program], capture_output=True, text=True, check=False)


def test_the_agent_runs_from_its_own_files_alone(tmp_path: Path) -> None:
    placed(agent_files(), tmp_path)
    modules = "argosy, argosy.agent.__main__, argosy.agent.run"
    done = run(tmp_path, f"sys.modules['invoke'] = None; import {modules}; print(argosy.__file__)")
    assert done.stdout.strip() == str(tmp_path / "argosy" / "__init__.py"), done.stderr


def test_the_installer_runs_with_the_standard_library_alone(tmp_path: Path) -> None:
    placed(installer_files(ROOT / "installer"), tmp_path)
    shutil.copytree(ROOT / "installer/argosy_installer", tmp_path / "argosy_installer")
    done = run(tmp_path, "import argosy_installer.__main__", "-I", "-S")
    assert (done.returncode, done.stderr.split(":")[0]) == (64, "usage")


def test_the_installer_that_argosy_brings_along_needs_the_same() -> None:
    assert installer_files(PACKAGE / "data/installer").keys() == installer_files(ROOT / "installer").keys()


def test_an_installer_that_imports_nothing_of_ours_gets_nothing(tmp_path: Path) -> None:
    (tmp_path / "argosy_installer").mkdir()
    (tmp_path / "argosy_installer" / "__main__.py").write_text("import json\n")
    assert installer_files(tmp_path) == {}


def test_nothing_of_the_provisioning_host_s_goes_along() -> None:
    parts = {name.split("/")[1] for name in agent_files() if name.startswith("argosy/")}
    assert not parts & {"config", "ssh", "cluster", "services", "tasks", "pki", "builds", "data"}
    assert {name.split("/")[1] for name in installer_files(ROOT / "installer")} == {
        "__init__.py",
        "atomic.py",
        "engine",
        "errors.py",
    }


def test_the_wheels_are_the_locked_ones() -> None:
    def pinned(path: Path) -> dict[str, str]:
        lines = [line.rstrip(" \\") for line in path.read_text().splitlines() if "==" in line and line[0] not in " #"]
        return {requirement.name: str(requirement.specifier) for requirement in map(Requirement, lines)}

    own = pinned(ROOT / "images/agent/requirements.txt")
    locked = pinned(ROOT / "requirements.lock")
    assert "grpcio" in own
    assert own == {name: locked[name] for name in own}
