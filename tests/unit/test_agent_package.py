"""What goes into the agent's image: enough to run, and nothing that has no business there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

from argosy.agent_package import agent_files

ROOT = Path(__file__).resolve().parents[2]


def test_the_agent_runs_from_its_own_files_alone(tmp_path: Path) -> None:
    for name, source in agent_files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(source.read_bytes())
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import argosy, argosy.agent.__main__, argosy.agent.run"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; print(argosy.__file__)"], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(tmp_path / "argosy" / "__init__.py"), done.stderr


def test_nothing_of_the_provisioning_host_s_goes_along() -> None:
    parts = {name.split("/")[1] for name in agent_files()}
    assert not parts & {"settings.py", "config.py", "host.py", "engine.py", "operations", "tasks", "pki.py", "data"}


def test_the_wheels_are_the_locked_ones() -> None:
    def pinned(path: Path) -> dict[str, str]:
        lines = [line.rstrip(" \\") for line in path.read_text().splitlines() if "==" in line and line[0] not in " #"]
        return {requirement.name: str(requirement.specifier) for requirement in map(Requirement, lines)}

    own = pinned(ROOT / "images/agent/requirements.txt")
    locked = pinned(ROOT / "requirements.lock")
    assert "grpcio" in own
    assert own == {name: locked[name] for name in own}
