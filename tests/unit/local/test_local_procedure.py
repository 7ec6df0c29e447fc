from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from argosy.config.loading import Settings, load
from argosy.errors import Interrupted, LockHeld, Refused
from argosy.local import lock, record, ssh_config
from argosy.local.procedure import Phase, run_phases
from argosy.local.record import Record
from argosy.model import Image, Machine, Step

Log = list[str]


class Recorded(Phase[Log]):
    """A phase that writes down what happens to it."""

    def __init__(
        self, title: str, *, runs: bool = True, changed: bool = True, error: BaseException | None = None
    ) -> None:
        self.title = title  # type: ignore[misc]
        self._runs, self._changed, self._error = runs, changed, error

    def plan(self, _log: Log) -> list[Step]:
        return [Step(self.title, "do it")] if self._runs else []

    def run(self, log: Log) -> bool:
        log.append(f"run {self.title}")
        if self._error:
            raise self._error
        return self._changed


def silent(_subject: str, _message: str) -> None:
    pass


def settings(root: Path, **section: Any) -> Settings:
    return load({"clusters": {"here": {"provider": "vagrant", **section}}}, root=root)


def test_phases_run_in_order_and_say_what_they_changed() -> None:
    log: Log = []
    phases = [Recorded("one"), Recorded("two", runs=False), Recorded("three", changed=False)]
    timings = run_phases(phases, log, silent, "local.start 3")
    assert log == ["run one", "run three"]
    assert [(timing.title, timing.changed) for timing in timings] == [("one", True), ("two", False), ("three", False)]


def test_nothing_runs_after_a_phase_that_fails() -> None:
    log: Log = []
    with pytest.raises(Refused, match="no"):
        run_phases([Recorded("one"), Recorded("two", error=Refused("no")), Recorded("three")], log, silent, "x")
    assert log == ["run one", "run two"]


def test_ctrl_c_says_how_to_go_on() -> None:
    log: Log = []
    with pytest.raises(Interrupted, match=r"two: interrupted; `inv local\.start 3` resumes") as caught:
        run_phases([Recorded("one"), Recorded("two", error=KeyboardInterrupt())], log, silent, "local.start 3")
    assert caught.value.code == 130
    assert log == ["run one", "run two"]


def test_a_second_run_is_told_who_is_at_work(tmp_path: Path) -> None:
    said = r"local\.start \(process \d+\) is at work on cluster 'here'"
    with (
        lock.held(settings(tmp_path), "local.start"),
        pytest.raises(LockHeld, match=said),
        lock.held(settings(tmp_path), "local.stop"),
    ):
        pass
    with lock.held(settings(tmp_path), "local.stop"):
        pass


KILLED_HOLDER = """
import os, signal, sys
from pathlib import Path
from argosy.config.loading import load
from argosy.local import lock

with lock.held(load({"clusters": {"here": {}}}, root=Path(sys.argv[1])), "local.start"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_HOLDER, str(tmp_path)], check=False)
    assert killed.returncode == -9
    with lock.held(settings(tmp_path), "local.start"):
        pass


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    assert record.load(chosen) == Record()
    kept = Record("172.18.42.1/16", Image("installer", "air/installer", "0.1.3", "sha256:abc"))
    assert record.save(chosen, kept)
    assert not record.save(chosen, kept)
    assert record.load(chosen) == kept


def test_ssh_config_trusts_our_known_hosts_alone(tmp_path: Path) -> None:
    text = ssh_config.render(
        settings(tmp_path), [Machine("air-01", "192.168.55.101"), Machine("air-02", "192.168.55.102")]
    )
    first, second = text.split("\n\n")
    assert first.splitlines() == [
        "Host air-01",
        "    HostName 192.168.55.101",
        "    Port 22",
        "    User core",
        f"    IdentityFile {tmp_path}/secrets/here/ssh/id_ed25519",
        "    IdentitiesOnly yes",
        f"    UserKnownHostsFile {tmp_path}/.argosy/here/known_hosts",
        "    GlobalKnownHostsFile none",
        "    StrictHostKeyChecking yes",
    ]
    assert second.startswith("Host air-02\n")


def test_a_path_with_spaces_is_quoted_for_ssh(tmp_path: Path) -> None:
    folder = tmp_path / "a b%"
    folder.mkdir()
    text = ssh_config.render(settings(folder), [Machine("air-01", "192.168.55.101")])
    assert f'UserKnownHostsFile "{tmp_path}/a b%%/.argosy/here/known_hosts"' in text
