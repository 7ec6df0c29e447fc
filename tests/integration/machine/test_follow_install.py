"""Following installs over a real ssh server; the machine's systemd and journal are stand-ins."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from installing_machine import InstallingMachine, installing_machine
from ssh_server import requires_namespaces, requires_sshd

from argosy.errors import DeadlineExceeded, HostsFailed, Unhealthy
from argosy.machine.install import follow_install
from argosy.machine.install_progress import LOOK, parse_state
from argosy.ssh.host import Hosts
from argosy.ssh.shell import Script

pytestmark = [pytest.mark.integration, requires_sshd, requires_namespaces]

DEADLINE_SECONDS = 60


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[InstallingMachine]:
    with installing_machine(tmp_path) as made:
        yield made


class Follower:
    """Follows in a thread, so that the test can let things happen meanwhile."""

    def __init__(self, machine: InstallingMachine, pool: ThreadPoolExecutor, deadline_seconds: float) -> None:
        self.lines: list[str] = []
        self._machine = machine
        self._deadline = deadline_seconds
        self._result: Future[dict[str, str]] = pool.submit(self._follow)

    def _follow(self) -> dict[str, str]:
        with Hosts(self._machine.settings, self._machine.machines) as hosts:
            return follow_install(hosts, self._machine.settings, self._machine.machines, self._report, self._deadline)

    def _report(self, subject: str, message: str) -> None:
        self.lines.append(f"{subject}: {message}")

    def wait_for(self, line: str) -> None:
        eventually(lambda: line in self.lines)

    def result(self) -> dict[str, str]:
        return self._result.result(timeout=DEADLINE_SECONDS)


@contextmanager
def following(machine: InstallingMachine, deadline_seconds: float = DEADLINE_SECONDS) -> Iterator[Follower]:
    with ThreadPoolExecutor(1) as pool:
        yield Follower(machine, pool, deadline_seconds)


def eventually(passes: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not passes():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


def test_one_look_tells_how_far_it_got(machine: InstallingMachine) -> None:
    machine.units("failed")
    machine.record("failed")
    with Hosts(machine.settings, machine.machines) as hosts:
        said = hosts["air-01"].run(Script("look at the install", LOOK, "air"), sudo=True).stdout
    state = parse_state(said.removesuffix("\n"))
    assert state
    assert (state.installer, state.secrets, state.marker, state.release) == ("failed", "active", True, "0.1.3")
    assert state.record["state"] == "failed"


def test_an_install_is_shown_as_it_goes_and_ends_with_its_result(machine: InstallingMachine) -> None:
    machine.units("activating")
    machine.record("installing")
    machine.says("installing release 0.1.3")
    with following(machine) as follower:
        follower.wait_for("air-01: installing release 0.1.3")
        machine.says("raft: became leader", unit="etcd")
        machine.says("web: passes its check")
        follower.wait_for("air-01: web: passes its check")
        machine.record("active")
        machine.says("argosy-result {}")
        machine.units("inactive")
        assert follower.result() == {"air-01": "0.1.3"}
    assert follower.lines == [
        "air-01: installing release 0.1.3",
        "air-01: web: passes its check",
        "air-01: release 0.1.3 is installed (2.5 s)",
    ]


def test_an_install_that_was_over_is_told_without_its_history(machine: InstallingMachine) -> None:
    machine.record("active")
    machine.says("an old line")
    with following(machine) as follower:
        assert follower.result() == {"air-01": "0.1.3"}
    assert follower.lines == ["air-01: release 0.1.3 is installed (2.5 s)"]


def test_a_failed_install_is_told_with_the_service_s_last_lines(machine: InstallingMachine) -> None:
    machine.units("failed")
    machine.record("failed", failed=[{"service": "web", "reason": "answers 500", "log": ["I can't"]}])
    with (
        following(machine) as follower,
        pytest.raises(Unhealthy, match=r"^air-01: .*0\.1\.3 failed: web: answers 500$"),
    ):
        follower.result()
    assert follower.lines == ["air-01: failed: web: answers 500", "air-01:     I can't"]


def test_a_failure_that_was_shown_live_is_not_told_twice(machine: InstallingMachine) -> None:
    machine.units("activating")
    machine.says("failed: web: answers 500")
    with following(machine) as follower:
        follower.wait_for("air-01: failed: web: answers 500")
        machine.record("failed", failed=[{"service": "web", "reason": "answers 500", "log": []}])
        machine.says("argosy-result {}")
        machine.units("failed")
        with pytest.raises(Unhealthy):
            follower.result()
    assert follower.lines == ["air-01: failed: web: answers 500"]


def test_a_result_of_before_does_not_end_an_install_that_has_begun_again(machine: InstallingMachine) -> None:
    machine.record("failed", failed=[{"service": "", "reason": "no password", "log": []}])
    machine.units("activating")
    machine.says("argosy-result {}")
    with following(machine) as follower:
        machine.says("installing release 0.1.3")
        follower.wait_for("air-01: installing release 0.1.3")
        machine.record("active")
        machine.units("inactive")
        assert follower.result() == {"air-01": "0.1.3"}


def test_while_a_machine_boots_its_result_is_one_of_before(machine: InstallingMachine) -> None:
    machine.boots(True)
    machine.record("active", seconds=99)
    with following(machine) as follower:
        eventually(lambda: machine.asked() != [])
        machine.units("activating")
        machine.says("installing release 0.1.3")
        follower.wait_for("air-01: installing release 0.1.3")
        machine.record("active")
        machine.says("argosy-result {}")
        machine.units("inactive")
        assert follower.result() == {"air-01": "0.1.3"}


def test_at_the_deadline_it_says_what_is_not_up_and_why(machine: InstallingMachine) -> None:
    machine.units("activating")
    machine.status(
        state="installing",
        services=[
            {"name": "db", "unit": "active", "check": "passing"},
            {"name": "web", "unit": "active", "check": "failing", "reason": "answers 500"},
        ],
    )
    (machine.folder / "tail").write_text("web's last line\n")
    with following(machine, deadline_seconds=2) as follower, pytest.raises(DeadlineExceeded) as caught:
        follower.result()
    assert str(caught.value) == "air-01: not installed after 2 s: web: answers 500"
    assert follower.lines == ["air-01: not up: web: answers 500", "air-01:     web's last line"]
    assert any("--unit=air-web.service" in call for call in machine.asked())


def test_at_the_deadline_the_installer_s_last_word_is_the_reason_when_there_is_no_other(
    machine: InstallingMachine,
) -> None:
    machine.units("activating")
    machine.says("pull: no space left on device")
    with following(machine, deadline_seconds=2) as follower, pytest.raises(DeadlineExceeded, match="no space left"):
        follower.result()


def test_a_machine_where_nothing_runs_and_nothing_came_of_it_is_not_waited_for(machine: InstallingMachine) -> None:
    machine.units("failed")
    machine.record("installing", reason="the registry does not answer")
    with (
        following(machine) as follower,
        pytest.raises(Unhealthy, match="does not install itself: the registry does not"),
    ):
        follower.result()


def test_missing_secrets_are_named(machine: InstallingMachine) -> None:
    (machine.folder / "etc.all" / "air" / "secrets" / ".complete").unlink()
    machine.units("inactive", secrets="failed")
    machine.status(state="waiting", missing_secrets=["database-password"])
    with following(machine) as follower, pytest.raises(Unhealthy, match="lacks the secrets database-password"):
        follower.result()


def test_it_goes_on_where_it_was_when_ssh_drops(machine: InstallingMachine) -> None:
    machine.units("activating")
    machine.says("before")
    with following(machine) as follower:
        follower.wait_for("air-01: before")
        machine.server.signal_sessions(signal.SIGKILL)
        machine.says("meanwhile")
        follower.wait_for("air-01: meanwhile")
        machine.record("active")
        machine.units("inactive")
        assert follower.result() == {"air-01": "0.1.3"}
    assert [line for line in follower.lines if "trying again" in line]
    assert follower.lines.count("air-01: before") == 1


def test_several_machines_that_are_late_are_late_together(tmp_path: Path) -> None:
    with installing_machine(tmp_path, ("127.0.0.21", "127.0.0.22")) as machine:
        machine.units("activating")
        with (
            following(machine, deadline_seconds=2) as follower,
            pytest.raises(DeadlineExceeded, match=r"air-01.*air-02"),
        ):
            follower.result()


def test_one_failure_among_several_machines_names_each(tmp_path: Path) -> None:
    with installing_machine(tmp_path, ("127.0.0.21", "127.0.0.22")) as machine:
        machine.units("failed")
        machine.record("failed", failed=[{"service": "web", "reason": "answers 500", "log": []}])
        with following(machine) as follower, pytest.raises(HostsFailed, match="Installing failed on 2 of 2") as caught:
            follower.result()
    assert set(caught.value.failures) == {"air-01", "air-02"}
