"""The wheel works away from this checkout, and another repository can mount the tasks beside a `lib/` of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.integration


def run(
    *argv: str | Path, cwd: Path, env: dict[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or result.returncode == 0, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel, and our locked dependencies by a path file."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    interpreter = folder / "bin" / "python"
    run(interpreter, "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=folder)
    (site,) = (folder / "lib").glob("python3*/site-packages")
    (dependencies,) = (Path(sys.prefix) / "lib").glob("python3*/site-packages")
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    return interpreter


@pytest.fixture
def consumer(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "own.py").write_text("VALUE = 42\n")
    (tmp_path / "tasks.py").write_text(
        "import sys; sys.path.insert(0, 'lib')\n"
        "import argosy\n"
        "from invoke import Collection, task\n"
        "from argosy.tasking import task as our_task\n"
        "import own\n"
        "@our_task\n"
        "def flood(c):\n"
        "    for number in range(100_000): print(number, flush=True)\n"
        "@task\n"
        "def answer(c):\n"
        "    from argosy.config.loading import load\n"
        "    s = load(c.config)\n"
        "    print(own.VALUE, s.system, s.cluster, s.ssh.port, s.root, argosy.__file__)\n"
        "namespace = Collection(answer, flood, *argosy.ns.collections.values())\n"
        "namespace.configure(argosy.ns.configuration())\n"
    )
    (tmp_path / "invoke.yaml").write_text("system: ship\nclusters: {bay: {ssh: {port: 2200}}, sea: {}}\n")
    return tmp_path


def test_the_wheel_holds_the_tasks_the_templates_and_the_types(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names))
    for wanted in ("argosy/tasks/local.py", "argosy/py.typed", "argosy/templates/systemd/service.service.j2"):
        assert wanted in names


def test_the_source_distribution_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    (other,) = tmp_path.glob("*.whl")
    assert zipfile.ZipFile(other).namelist() == zipfile.ZipFile(wheel).namelist()


def test_another_repository_mounts_the_tasks_and_overrides_the_settings(python: Path, consumer: Path) -> None:
    inv = (python, "-m", "invoke")
    listing = run(*inv, "--list", cwd=consumer).stdout
    assert "local.start" in listing
    assert "answer" in listing
    words = run(*inv, "answer", cwd=consumer, env={"INVOKE_CLUSTER": "bay"}).stdout.split()
    assert words[:4] == ["42", "ship", "bay", "2200"]
    assert Path(words[4]) == consumer
    assert str(ROOT) not in words[5]


def test_an_error_is_one_line_and_its_exit_code(python: Path, consumer: Path) -> None:
    failed = run(python, "-m", "invoke", "answer", cwd=consumer, check=False)
    assert failed.returncode == 10
    assert failed.stderr.count("\n") == 1
    assert "INVOKE_CLUSTER" in failed.stderr


def test_the_wheel_renders_a_template_away_from_the_checkout(python: Path, consumer: Path) -> None:
    program = (
        "from importlib.resources import files;"
        "print(files('argosy').joinpath('templates/systemd/service.service.j2').is_file())"
    )
    assert run(python, "-c", program, cwd=consumer).stdout.strip() == "True"


def test_a_reader_that_has_had_enough_is_no_error(python: Path, consumer: Path) -> None:
    piped = run("sh", "-c", f"{python} -m invoke flood | head -n 1", cwd=consumer)
    assert (piped.stdout, piped.stderr) == ("0\n", "")
