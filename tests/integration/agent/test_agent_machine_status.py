"""The machine's status by its agent: the command on the machine, curl, the agent's HTTP and a real Docker engine."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import machine_examples
import pytest
from docker.models.containers import Container
from installer_examples import machine, write_release
from machine_programs import Place

from argosy.agent.machine_status import HEALTH, PATH, MachineStatus
from argosy.agent.options import Options, Tunables
from argosy.agent.telemetry import Telemetry
from argosy.config.builtin import with_builtin_services
from argosy.config.suites import base_image, host_suite
from argosy.machine.report import parse_report
from argosy_installer import record, release, status
from argosy_installer.machine import Machine

pytestmark = pytest.mark.integration

SOCKET = Path("/var/run/docker.sock")
BASE = base_image(host_suite())
OURS = f"-{os.getpid()}"
UP, REFUSING, LOST, AGENT = f"up{OURS}", f"refusing{OURS}", f"lost{OURS}", f"agent{OURS}"
SERVICES: dict[str, dict[str, Any]] = {
    UP: {"image": "web", "check": {"command": ["true"]}},
    REFUSING: {"image": "web", "check": {"tcp": {"port": 9}}},
    LOST: {"image": "web"},
    AGENT: {"image": "web", "check": {"command": list(HEALTH)}},
}
ASKED = {"asked": "the installer's container"}
UNITS = f"""\
Id=air-etcd.service
ActiveState=active
SubState=running

Id=air-{UP}.service
ActiveState=active
SubState=running
UnitFileState=enabled
NRestarts=0

Id=air-{REFUSING}.service
ActiveState=active
SubState=running

Id=air-{AGENT}.service
ActiveState=active
SubState=running

Id=air-{LOST}.service
ActiveState=activating
SubState=auto-restart
NRestarts=3
"""


class OnMachine:
    """A machine that has installed its release."""

    def __init__(self, root: Path) -> None:
        self.place = Place(root)
        (root / "host").mkdir()
        (root / "host/units").symlink_to(root / "etc/systemd/system")
        (root / "var/run").mkdir(parents=True)
        (root / "var/run/docker.sock").symlink_to(SOCKET)
        self.socket = root / "run/air/agent/agent.sock"
        self.socket.parent.mkdir(parents=True)
        # As the agent's container has it.
        (root / "run/agent").symlink_to(self.socket.parent)
        self.machine = machine(root)
        self.release = release.load(write_release(root / "release", SERVICES), "air-01")
        for name, text in self.release.units.items():
            self.place.write(f"/etc/systemd/system/{name}", text)
        for name in (root / "etc/air/required-secrets").read_text().split():
            self.place.write(f"/etc/air/secrets/{name}", "x")
        self.place.write("/etc/air/secrets/.complete", "")
        record.write_release(self.machine, self.release)
        record.write_result(self.machine, record.result(self.machine, "active"))
        self.place.allow("curl")
        self.place.program("id", "echo 0")
        self.place.write("/units", UNITS)
        self.place.program("systemctl", f"cat {root}/units")
        self.place.program("docker", f"case $1 in run) echo {shlex.quote(json.dumps(ASKED))} ;; esac")

    def says(self, *words: str) -> str:
        done = self.place.do("air", "status", *words)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.says("--json"))
        return found

    def agent(self) -> Telemetry:
        here: Machine = self.machine
        options = Options("air", "test", here.name, here.address, (), Tunables(root=str(self.place.root)))
        made = Telemetry(self.socket)
        made.route("POST", PATH, MachineStatus(options).answer)
        return made


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[OnMachine]:
    # A socket's path may have no more than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="s-", dir="/tmp") as folder:
        made = OnMachine(Path(folder))
        monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
        yield made


@pytest.fixture
def agent(here: OnMachine) -> Iterator[Telemetry]:
    made = here.agent()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def containers() -> Iterator[dict[str, Container]]:
    """The containers of all services but the lost one."""
    if not SOCKET.exists():
        pytest.skip("no Docker engine")
    labels = {"argosy.test": "1", "argosy.version": "0.1.2"}
    client = docker.from_env()
    made: dict[str, Container] = {}
    try:
        for name in (UP, REFUSING, AGENT):
            made[name] = client.containers.run(
                BASE, ["sleep", "60"], name=f"air-{name}", labels=labels, detach=True, init=True
            )
        yield made
    finally:
        for container in made.values():
            container.remove(force=True)
        client.close()


@pytest.mark.usefixtures("agent")
def test_the_agent_says_what_the_installer_says(here: OnMachine, containers: dict[str, Container]) -> None:
    # In which the installer would find no agent to ask.
    containers.pop(AGENT).remove(force=True)
    edited = f"air-{UP}.service"
    here.place.write(f"/etc/systemd/system/{edited}", "# by hand\n")
    here.place.write("/etc/systemd/system/air-old.service", f"{here.release.marker}\n")
    wanted = status.observe_machine(here.machine, here.release)
    found = here.status()
    assert found == wanted
    assert list(found) == list(wanted)
    assert [list(service) for service in found["services"]] == [list(service) for service in wanted["services"]]
    assert here.says().splitlines() == status.lines(wanted, as_json=False)
    # ... and both say it all.
    assert found["drifted"] == ["air-old.service", edited]
    services = {service["name"]: service for service in found["services"]}
    assert services[LOST]["reason"] == (
        "its container does not run, its unit is activating (auto-restart, restarted 3 times)"
    )
    assert services[UP]["reason"] == "runs 0.1.2, the release has 0.1.3"
    assert ":9: " in services[REFUSING]["reason"]
    report = parse_report(json.dumps(found))
    assert (report.state, report.release) == ("active", "0.1.3")
    assert {service.name: service.check for service in report.services} == {
        UP: "passing",
        REFUSING: "failing",
        LOST: "failing",
        AGENT: "failing",
    }


@pytest.mark.usefixtures("containers")
def test_the_agent_s_own_check_is_what_it_says_when_asked(here: OnMachine, agent: Telemetry) -> None:
    reasons = {"etcd": ""}
    agent.check("etcd", lambda: reasons["etcd"], ready_only=True)
    command = [sys.executable, "-m", "argosy.agent", "health", "--socket", str(here.socket)]

    def own() -> tuple[str, str]:
        found = next(service for service in here.status()["services"] if service["name"] == AGENT)
        return found["check"], found["reason"]

    assert own()[0] == "passing"
    reasons["etcd"] = "it does not answer"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "etcd: it does not answer\n")
    assert own() == ("failing", f"{' '.join(HEALTH)}: exit code 1 {done.stdout.strip()}")


def test_the_agent_knows_the_check_of_its_service() -> None:
    services = with_builtin_services(machine_examples.settings()).services
    check = services["agent"].check
    assert check is not None
    assert tuple(check.command[: len(HEALTH)]) == HEALTH


@pytest.mark.usefixtures("agent")
def test_what_the_installer_has_recorded_is_told(here: OnMachine) -> None:
    record.write_result(here.machine, record.result(here.machine, "failed"))
    assert here.status()["state"] == "failed"
    (here.machine.install_record).write_text('{"state": "active", "release": "0.1.2"}')
    assert here.status()["state"] == "installing"


class TestTheInstallerIsAsked:
    def test_where_no_agent_is(self, here: OnMachine) -> None:
        assert here.status() == ASKED

    def test_where_a_killed_agent_left_its_socket(self, here: OnMachine) -> None:
        agent = here.agent()
        agent.start()
        kept = here.socket.with_name("kept")
        os.link(here.socket, kept)
        agent.stop()
        kept.rename(here.socket)
        assert here.status() == ASKED

    def test_where_the_agent_is_older(self, here: OnMachine) -> None:
        older = Telemetry(here.socket)
        older.start()
        try:
            assert here.status() == ASKED
        finally:
            older.stop()

    @pytest.mark.usefixtures("agent")
    @pytest.mark.parametrize("text", ["", "{}", '{"version": "0.1.2"}', '{"version": "0.1.3"}'])
    def test_where_what_it_has_written_is_of_another_release(self, here: OnMachine, text: str) -> None:
        (here.machine.state / "release.json").write_text(text)
        assert here.status() == ASKED

    @pytest.mark.usefixtures("agent")
    @pytest.mark.parametrize("name", ["release.json", "install.json"])
    def test_where_it_has_written_nothing(self, here: OnMachine, name: str) -> None:
        (here.machine.state / name).unlink()
        assert here.status() == ASKED

    @pytest.mark.usefixtures("agent")
    def test_where_systemd_says_nothing(self, here: OnMachine) -> None:
        here.place.program("systemctl", "exit 1")
        assert here.status() == ASKED

    @pytest.mark.usefixtures("agent")
    def test_where_docker_does_not_answer(self, here: OnMachine) -> None:
        (here.place.root / "var/run/docker.sock").unlink()
        assert here.status() == ASKED

    @pytest.mark.usefixtures("agent")
    def test_where_secrets_are_not_complete(self, here: OnMachine) -> None:
        (here.machine.secrets / ".complete").unlink()
        assert here.status() == ASKED


@pytest.mark.usefixtures("agent")
def test_missing_secrets_are_told_by_the_machine_itself(here: OnMachine) -> None:
    (here.machine.secrets / "ca.crt").unlink()
    found = here.status()
    assert (found["state"], found["missing_secrets"]) == ("waiting", ["ca.crt"])
