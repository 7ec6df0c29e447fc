"""What somebody at a terminal sees, and what the log of a CI gets."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from argosy.registry import push

pytestmark = pytest.mark.integration

TASKS = """
from datetime import UTC, datetime

from argosy import ns as namespace
from argosy.cluster.events import Said
from argosy.cluster.release import Release
from argosy.model import Step
from argosy.rollouts import events as told
from argosy.rollouts.plan import Findings, Found, begin_rollout
from argosy.rollouts.record import Options
from argosy.tasking import task
from argosy.tasks import upgrades

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@task
def upgrade(c, yes=False):
    '''Upgrade nothing, and show it.'''
    def plan(events):
        events(Said(at=NOW, machine="air-01", message="its clock is right"))
        return [Step("air-01", "upgrade it")]

    def run(events):
        found = Findings((Found("air-01", Release("0.1.2", "old")),))
        events(told.Planned(at=NOW, rollout=begin_rollout(
            "r1", Release("0.1.3", "new"), found, Options(), by="alice@here", now=NOW, total=1, whole=True)))

    upgrades.run(plan, run, yes=yes, json=False)


namespace.add_task(upgrade)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text(TASKS)
    (tmp_path / "invoke.yaml").write_text("clusters: {test: {}}\n")
    return tmp_path


def at_terminal(project: Path, answer: str, *words: str) -> tuple[int, str]:
    """Run inv on a terminal of its own and type the answer. Return its code and what stood there in the end."""
    ours, theirs = pty.openpty()
    try:
        command = [sys.executable, "-m", "invoke", *words]
        done = subprocess.Popen(command, cwd=project, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
        os.close(theirs)
        os.write(ours, answer.encode())
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        return done.wait(), shown.decode()
    finally:
        os.close(ours)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # so Linux says that the other end is closed
        return b""


def test_the_table_of_an_upgrade_comes_after_the_question(project: Path) -> None:
    code, shown = at_terminal(project, "y\n", "upgrade")
    assert code == 0, shown
    places = [shown.index(text) for text in ("its clock is right", "upgrade it", "Go ahead?", "0.1.2 -> 0.1.3")]
    assert places == sorted(places)
    assert shown.index("checks") > shown.index("Go ahead?")


def test_no_is_no_table(project: Path) -> None:
    code, shown = at_terminal(project, "n\n", "upgrade")
    assert (code, "Nothing was done" in shown, "checks" in shown) == (11, True, False)


@pytest.mark.parametrize(("watched", "lines"), [(True, 3), (False, 1)])
def test_a_long_push_is_one_line_where_nobody_watches(
    monkeypatch: pytest.MonkeyPatch, watched: bool, lines: int
) -> None:
    said: list[str] = []
    monkeypatch.setattr(push, "PROGRESS_SECONDS", 0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: watched, raising=False)
    tell = push._progress(lambda subject, message: said.append(f"{subject}: {message}"), "web")
    for done in range(3):
        tell(done * push.MEGABYTE, 3 * push.MEGABYTE)
    assert said[0] == "web: pushing 0 of 3 MB"
    assert len(said) == lines
