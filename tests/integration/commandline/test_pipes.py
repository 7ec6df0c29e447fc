"""Whoever reads a task's output leaves (`| head`): the task ends, quietly, and what it began on machines does too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from ssh_server import SshServer, requires_sshd, ssh_server
from waiting import until

from argosy import inventory
from argosy.config.loading import load
from argosy.model import Machine

pytestmark = [
    pytest.mark.integration,
    requires_sshd,
    pytest.mark.skipif(os.geteuid() != 0, reason="reads journals as root"),
]

ADDRESSES = ("127.0.0.1", "127.0.0.2")
BROKEN_PIPE = 141
TASKS = """
from invoke.tasks import task as invoke_task
from argosy import ns as namespace
from argosy import console
from argosy.fanout import fan_out
from argosy.tasking import task


@task
def report(c):
    '''Report from two threads, without an end.'''
    def without_end(name):
        while True:
            console.report(name, "on stderr")
    fan_out({"one": "one", "two": "two"}, without_end, max_parallel=2)


@task
def grumble(c):
    '''Meet a pipe that is not ours.'''
    raise BrokenPipeError("of a socket")


@invoke_task
def shout(c):
    '''Run a command whose output Invoke's threads print.'''
    c.run("yes")


for body in (report, grumble, shout):
    namespace.add_task(body)
"""
JOURNALCTL = """#!/bin/sh
echo $$ >>"$(dirname "$0")/followers"
number=0
while [ $number -lt LINES ]; do
    echo "line $number"
    number=$((number + 1))
done
"""


@dataclass
class Project:
    """A project in `root` whose cluster is machines of the test's own, each with a journalctl that it wrote."""

    root: Path
    bin: Path

    def journal_of(self, lines: int) -> None:
        """Let each machine's journal have so many lines."""
        (self.bin / "followers").unlink(missing_ok=True)
        (self.bin / "journalctl").write_text(JOURNALCTL.replace("LINES", str(lines)))
        (self.bin / "journalctl").chmod(0o755)

    def piped(self, line: str) -> tuple[list[int], str, str]:
        """Run a line of bash in the project. Return the codes of its pipe, and what it printed."""
        inv = f"{sys.executable} -m invoke"
        done = subprocess.run(
            ["bash", "-c", f'{line.replace("inv ", f"{inv} ")}; echo "codes ${{PIPESTATUS[*]}}"'],
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        shown, _, codes = done.stdout.rpartition("codes ")
        return [int(code) for code in codes.split()], shown, done.stderr

    def followers(self) -> list[int]:
        """Return the processes that still read a journal."""
        pids = [int(word) for word in (self.bin / "followers").read_text().split()]
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    folder = tmp_path_factory.mktemp("sshd")
    force = f'ForceCommand PATH={folder}:$PATH exec sh -c "$SSH_ORIGINAL_COMMAND"'
    with ssh_server(folder, addresses=ADDRESSES, options=(force,)) as running:
        yield running


@pytest.fixture(scope="module")
def project(server: SshServer, tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("project")
    ssh = {"user": "root", "port": server.port, "key": str(server.key)}
    document = {"ssh": ssh, "clusters": {"test": None}}
    (root / "invoke.yaml").write_text(yaml.safe_dump(document))
    (root / "tasks.py").write_text(TASKS)
    settings = load(document, root=root)
    inventory.save(settings, [Machine(f"air-{number}", address) for number, address in enumerate(ADDRESSES)])
    (settings.state_path / "known_hosts").write_bytes(server.pins.read_bytes())
    return Project(root, server.folder)


@pytest.mark.parametrize("line", ["inv --list", "inv --help cluster.status"])
def test_the_list_of_tasks_ends_with_its_reader(project: Project, line: str) -> None:
    codes, _, error = project.piped(f"{line} | true")
    assert (codes, error) == ([BROKEN_PIPE, 0], "")


def test_journals_that_end_do_so_with_their_reader(project: Project) -> None:
    project.journal_of(100_000)
    codes, shown, error = project.piped("inv cluster.logs | head -3")
    assert (codes, len(shown.splitlines()), error) == ([BROKEN_PIPE, 0], 3, "")


def test_journals_that_are_followed_end_on_the_machines_too(project: Project) -> None:
    project.journal_of(1_000_000_000)
    codes, shown, error = project.piped("inv cluster.logs -f | head -3")
    assert (codes, len(shown.splitlines()), error) == ([BROKEN_PIPE, 0], 3, "")
    until(lambda: not project.followers())


def test_a_job_that_ignores_ctrl_c_ends_as_well(project: Project) -> None:
    project.journal_of(1_000_000_000)
    codes, _, error = project.piped("trap '' INT; inv cluster.logs -f | head -1")
    assert (codes, error) == ([BROKEN_PIPE, 0], "")


def test_progress_that_nobody_reads_ends_the_task(project: Project) -> None:
    codes, _, _ = project.piped("inv report 2>&1 | head -3")
    assert codes == [BROKEN_PIPE, 0]


def test_what_invoke_prints_ends_with_its_reader(project: Project) -> None:
    codes, _, error = project.piped("inv shout | head -1")
    assert (codes, error) == ([BROKEN_PIPE, 0], "")


def test_a_pipe_of_somebody_elses_is_no_reader_of_ours(project: Project) -> None:
    codes, _, error = project.piped("inv grumble | cat")
    assert codes == [1, 0]
    assert "BrokenPipeError: of a socket" in error


def test_a_closed_stdout_is_no_fault(project: Project) -> None:
    codes, _, error = project.piped("inv --list >&-")
    assert (codes, error) == ([0], "")


def test_whoever_is_read_to_the_end_ends_as_ever(project: Project) -> None:
    project.journal_of(5)
    codes, shown, error = project.piped("inv cluster.logs | cat")
    assert (codes, len(shown.splitlines()), error) == ([0, 0], 10, "")
