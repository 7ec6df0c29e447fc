"""Letting an ssh key in and shutting it out: the scripts, in a real shell with a home of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_host import FakeMachine

from argosy.machine import authorized
from argosy.ssh.commands import Result
from argosy.ssh.shell import Script

pytestmark = pytest.mark.integration

FOUNDER, CI = "ssh-ed25519 AAAAfounder+/= air-test", "ssh-ed25519 AAAAci+/= air-test-ci"


class Machine:
    """What `authorized` takes for a host: the home of its user is a folder of the test's."""

    name = "air-01"

    def __init__(self, root: Path) -> None:
        self.fake = FakeMachine(root)
        self.home = root / "home"
        self.home.mkdir()

    def run(self, script: Script) -> Result:
        done = self.fake.run(list(script), check=True, env={"HOME": str(self.home)})
        return Result(self.name, script.title, done.stdout, done.stderr, done.returncode, 0.0)

    def file(self, name: str = "authorized_keys") -> Path:
        return self.home / ".ssh" / name


@pytest.fixture
def machine(tmp_path: Path) -> Any:
    return Machine(tmp_path)


def test_a_key_is_let_in_beside_the_others_once(machine: Any) -> None:
    machine.file().parent.mkdir(mode=0o700)
    machine.file().write_text(FOUNDER)  # without a line break at its end
    assert not authorized.has(machine, CI)
    for _ in range(2):
        authorized.let_in(machine, CI)
        assert machine.file().read_text().splitlines() == [FOUNDER, CI]
    assert authorized.has(machine, CI)
    assert machine.file().stat().st_mode & 0o777 == 0o600


def test_the_file_and_its_folder_are_made_for_their_owner_alone(machine: Any) -> None:
    authorized.let_in(machine, CI)
    assert machine.file().read_text() == f"{CI}\n"
    assert machine.file().parent.stat().st_mode & 0o777 == 0o700


def test_a_key_is_shut_out_whatever_stands_around_it(machine: Any) -> None:
    machine.file().parent.mkdir(mode=0o700)
    machine.file().write_text(f"{FOUNDER}\nno-pty {CI} by hand\n{CI}\n")
    for _ in range(2):
        authorized.shut_out(machine, CI)
        assert machine.file().read_text() == f"{FOUNDER}\n"
    assert not authorized.has(machine, CI)


def test_the_last_key_is_shut_out(machine: Any) -> None:
    authorized.let_in(machine, CI)
    authorized.shut_out(machine, CI)
    assert machine.file().read_text() == ""


def test_nothing_is_shut_out_of_nothing(machine: Any) -> None:
    authorized.shut_out(machine, CI)
    assert not machine.file().parent.exists()


def test_on_flatcar_it_outlives_the_file_being_made_anew(machine: Any) -> None:
    folder = machine.file("authorized_keys.d")
    folder.mkdir(parents=True)
    (folder / "ignition").write_text(f"{FOUNDER}\n{CI}\n")
    authorized.shut_out(machine, CI)
    assert (folder / "ignition").read_text() == f"{FOUNDER}\n"
    authorized.let_in(machine, CI)
    assert (folder / "argosy").read_text() == f"{CI}\n"
    authorized.shut_out(machine, CI)
    assert (folder / "argosy").read_text() == ""


@pytest.mark.parametrize("act", [authorized.has, authorized.let_in, authorized.shut_out])
def test_a_file_that_cant_be_read_is_no_file_without_the_key(machine: Any, act: Any) -> None:
    authorized.let_in(machine, CI)
    before = machine.file().read_text()
    machine.fake.program("grep", "echo 'grep: input/output error' >&2; exit 2")
    with pytest.raises(AssertionError, match="ended with 2: grep: input/output error"):
        act(machine, CI)
    assert machine.file().read_text() == before
